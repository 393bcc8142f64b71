"""meshd's own figures: its store, controllers, calls and links to hosts (docs/metrics.md).

Rule: asked for, nothing is kept but what others count; looking costs the loop less than a millisecond.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from mesh import __version__
from mesh.errors import AlreadyExists, Conflict, NotFound
from mesh.exposition.process import process
from mesh.exposition.tally import Tally, timed
from mesh.exposition.text import Family, Page, labels
from mesh.exposition.web import Answer, Request
from mesh.model.kinds import served_kinds
from mesh.store.feed import Feed
from mesh.store.port import Store

COMMITS = Family("mesh_store_commits_total", "counter", "Commits, by how they ended; a conflict is tried again.")
COMMIT_TOOK = Family("mesh_store_commit_duration_seconds", "histogram", "How long commits took.")
_BUILD = Family("mesh_build_info", "gauge", "The version of meshd.")
_REVISION = Family("mesh_store_revision", "counter", "The newest revision that meshd knows.")
_OBJECTS = Family("apiserver_storage_objects", "gauge", "Objects, by kind.")
_DEPTH = Family("workqueue_depth", "gauge", "Keys that wait for a controller.")
_PENDING = Family("scheduler_pending_pods", "gauge", "Pods without a node.")
_RAY = Family("mesh_ray_connected", "gauge", "1 when meshd reaches Ray.")
_CONNECTED = Family("mesh_host_connected", "gauge", "1 when the host's agent answers.")
_SEEN = Family("mesh_host_last_seen_seconds", "gauge", "When the host's agent last answered.")
_SETTLED = Family("mesh_host_settled", "gauge", "1 when the host holds the newest order.")
PATHS = ("/metrics",)


class Host(Protocol):
    """What the roster says of one host; `last_seen` in nanoseconds since the epoch, 0 for never."""

    @property
    def name(self) -> str: ...
    @property
    def connected(self) -> bool: ...
    @property
    def last_seen(self) -> int: ...
    @property
    def settled(self) -> bool: ...


class Hosts(Protocol):
    """The roster."""

    @property
    def state(self) -> str: ...
    def hosts(self) -> Sequence[Host]: ...


class Figures:
    """Of one meshd."""

    def __init__(self, feed: Feed, tally: Tally) -> None:
        self._feed = feed
        self._tally = tally
        self.roster: Hosts | None = None
        self.depths: Callable[[], Mapping[str, int]] = dict
        self.port = 0  # where they are read, once they are
        self.open = asyncio.Event()

    def opened(self, port: int) -> None:
        """They can be read there."""
        self.port = port
        self.open.set()

    async def answer(self, request: Request) -> Answer:
        """What a reader gets; raises NotFound."""
        return Answer(await self.raw(request.path))

    async def raw(self, path: str) -> bytes:
        """What is said under a path; raises NotFound."""
        if path.rstrip("/") not in PATHS:
            raise NotFound(f'there are no figures of meshd at "{path}"; there are: {" ".join(PATHS)}')
        page = Page()
        process(page)
        self._own(page)
        self._tally.show(page)
        self._hosts(page)
        return page.render()

    def _own(self, page: Page) -> None:
        view = self._feed.view
        page.one(_BUILD, 1, labels({"version": __version__}))
        page.one(_REVISION, view.revision)
        page.put(_OBJECTS, [(labels({"resource": kind.plural}), view.count(kind.name)) for kind in served_kinds()])
        page.put(_DEPTH, [(labels({"name": name}), depth) for name, depth in self.depths().items()])
        page.one(_PENDING, len(view.pods_on("")))

    def _hosts(self, page: Page) -> None:
        if self.roster is None:
            return
        page.one(_RAY, int(self.roster.state.startswith("connected")))
        hosts = [(labels({"node": host.name}), host) for host in self.roster.hosts()]
        page.put(_CONNECTED, [(of, int(host.connected)) for of, host in hosts])
        page.put(_SEEN, [(of, host.last_seen / 1e9) for of, host in hosts if host.last_seen])
        page.put(_SETTLED, [(of, int(host.settled)) for of, host in hosts])


def counted(store: Store, tally: Tally) -> Store:
    """The same store, whose commits are counted."""

    def told(_: str, seconds: float, failure: BaseException | None) -> None:
        lost = isinstance(failure, Conflict | AlreadyExists | NotFound)
        result = "ok" if failure is None else "conflict" if lost else "error"
        tally.add(COMMITS, labels({"result": result}))
        tally.observe(COMMIT_TOOK, "", seconds)

    return timed(store, ("commit",), told)
