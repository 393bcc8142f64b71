"""A change of the store that is computed from the view: compute, commit, and again when someone else was faster.

Rule: whoever awaits `change` sees its own write in the view afterwards.
"""

from collections.abc import Callable, Sequence

from mesh.errors import AlreadyExists, Conflict, NotFound
from mesh.store.feed import Feed
from mesh.store.port import Store, Write
from mesh.view import View

ATTEMPTS = 20


async def change(store: Store, feed: Feed, compute: Callable[[View], Sequence[Write]]) -> int:
    """Commits what `compute` says of the newest view; returns the revision, or the view's when there is nothing to do.

    `compute` is called again when an object that it read has changed meanwhile. Its writes carry the revisions that
    they rest on (`Write.expect`).

    Raises:
        Conflict: others were faster every time.
        Unavailable: the store can't write.
    """
    await feed.reached(0)
    for left in reversed(range(ATTEMPTS)):
        writes = compute(feed.view)
        if not writes:
            return feed.view.revision
        try:
            revision = await store.commit(writes)
        except (Conflict, NotFound, AlreadyExists) as error:
            if not left:
                raise Conflict(f"cannot write: the objects keep changing ({error})") from error
            await feed.reached(await store.wait(-1))
        else:
            await feed.reached(revision)
            return revision
    raise AssertionError("unreachable")
