"""Whether writes may go through: the one compare-and-set of all stores.

Rule: a store asks here with what it holds and nowhere decides by itself, so that all bodies refuse alike.
"""

from collections.abc import Sequence

from mesh.errors import AlreadyExists, Conflict, Invalid, NotFound
from mesh.model.kinds import key_of
from mesh.store.port import Write


def check_commit(writes: Sequence[Write]) -> None:
    """Raises Invalid when two writes of a commit share a key, or an object lies under a key that isn't its own."""
    seen = set()
    for write in writes:
        if write.key in seen:
            raise Invalid(f"cannot write {write.key} twice in one commit")
        if write.object is not None and key_of(write.object) != write.key:
            raise Invalid(f"cannot write {key_of(write.object)} as {write.key}")
        seen.add(write.key)


def check_write(write: Write, held: int | None) -> None:
    """Holds one write against the revision `held` of its key, None when there is no such object.

    Raises:
        AlreadyExists, NotFound, Conflict: as `Store.commit` says.
    """
    if held is None:
        if write.expect or (write.object is None and write.expect is None):
            raise NotFound(f"{write.key} does not exist")
        if write.object is None:
            raise Invalid(f"cannot remove {write.key} and expect that it does not exist")
    elif write.expect == 0:
        raise AlreadyExists(f"{write.key} already exists")
    elif write.expect is not None and write.expect != held:
        raise Conflict(
            f"{write.key} is at revision {held}, not {write.expect}: it was changed meanwhile; read it again and retry"
        )
