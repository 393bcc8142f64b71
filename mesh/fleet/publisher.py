"""What all links share of Services: the table, how far each host's proxy has followed it, and who is let go.

Rules: a change after a quiet moment is told at once, what follows it soon gathers. A pod that is being deleted is held
on its host until every proxy has left it: no proxy would still give it something new, and none carries anything of it.
Only hosts that are ready are waited for; what a host's proxy holds and carries is the host's own word.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mesh.exposition.tally import Tally
from mesh.exposition.text import Family
from mesh.fleet.lag import Lag
from mesh.fleet.needs import HostsOf, LinksOf, hosts_of, links_of
from mesh.fleet.news import reached
from mesh.model.conditions import is_true
from mesh.model.pods import drain_seconds, is_deleting
from mesh.model.services import KUBERNETES
from mesh.network.table import Table
from mesh.store.feed import Feed
from mesh.store.port import Event
from mesh.v1.core_pb2 import Node, Pod
from mesh.v1.net_pb2 import Service
from mesh.v1.node_pb2 import Fence, Observed, ServiceTable

SETTLE = 0.02  # seconds between two tables that anyone is told of
PROGRAMMED = Family(
    "kubeproxy_network_programming_duration_seconds", "histogram",
    "From the commit of a change of Services or their pods until the last host's proxy serves it.",
)  # fmt: skip
PROXIES, CONNECTIONS = "proxies", "connections"  # what a held pod waits for


@dataclass(frozen=True, slots=True)
class Route:
    """What a host last said of its proxy. `proxied`: it has had one since this meshd hears it."""

    digest: str = ""
    boot: str = ""
    draining: frozenset[str] = frozenset()
    proxied: bool = False


class Publisher:
    """One for all links; it follows the feed from its making on."""

    def __init__(self, feed: Feed, epoch: int, settle: float = SETTLE, tally: Tally | None = None) -> None:
        self._feed = feed
        self._tally = tally or Tally()
        self._lag = Lag()
        self._since = 0.0  # when the first change came that nobody is told of yet
        self._told = -settle  # when everyone was told last
        self._number = 0
        self._epoch = epoch
        self._settle = settle
        self._table = Table(feed.view)
        self._routes: dict[str, Route] = {}
        self._released: set[str] = set()
        self._deleting = {p.metadata.uid for p in feed.view.pods() if is_deleting(p)}
        self._links: dict[str, LinksOf] = {}
        self._hosts: HostsOf | None = None
        self._listeners: list[Callable[[], None]] = []
        self._holders: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        feed.on_events(self._on_events)

    @property
    def wanted(self) -> str:
        """The digest of the newest table."""
        return self._table.version.digest

    def pieces(self, held: str) -> list[ServiceTable]:
        """What leads a proxy from the table of this digest to the newest."""
        fence = Fence(epoch=self._epoch, revision=self._feed.view.revision)
        return self._table.pieces(held, fence)

    def listen(self, table: Callable[[], None], held: Callable[[], None]) -> Callable[[], None]:
        """`table` is called when there is a new one, `held` when a pod may be held no longer; returns the way out."""
        self._listeners.append(table)
        self._holders.append(held)

        def leave() -> None:
            self._listeners.remove(table)
            self._holders.remove(held)

        return leave

    def links(self, namespace: str) -> LinksOf:
        """What pods of a namespace are told of its Services; made once for each change of them."""
        if namespace not in self._links:
            self._links[namespace] = links_of(namespace, self._feed.view)
        return self._links[namespace]

    def hosts(self) -> HostsOf:
        """Every host and how its pods are reached; made once for each change of them."""
        if self._hosts is None:
            self._hosts = hosts_of(self._feed.view)
        return self._hosts

    # ---- what happens

    def _on_events(self, events: Sequence[Event]) -> None:
        letting_go = False
        for event in events:
            obj = event.object
            if isinstance(obj if obj is not None else event.previous, Service):
                self._links.pop(event.key.namespace, None)
                if event.key == KUBERNETES:
                    self._links.pop("", None)
            elif isinstance(obj, Pod) and is_deleting(obj):
                self._deleting.add(obj.metadata.uid)
            elif obj is None and isinstance(event.previous, Pod):
                self._deleting.discard(event.previous.metadata.uid)
                self._released.discard(event.previous.metadata.uid)
            elif isinstance(obj, Node) or isinstance(event.previous, Node):
                letting_go = True  # a host that is lost is not waited for
                if reached(obj) != reached(event.previous):
                    self._hosts = None
        if self._table.note(events) and self._timer is None:
            loop = asyncio.get_running_loop()
            self._since = loop.time()
            self._timer = loop.call_at(max(self._since, self._told + self._settle), self._tell)
        if letting_go:
            self._measure()
            self._let_go()

    def _tell(self) -> None:
        self._timer, self._told = None, asyncio.get_running_loop().time()
        number = self._table.version.number
        if number > self._number:
            self._number = number
            self._lag.changed(number, self._since)
        for listener in tuple(self._listeners):
            listener()

    def _let_go(self) -> None:
        if self._deleting - self._released:
            for holder in tuple(self._holders):
                holder()

    def hear(self, node: str, observed: Observed) -> None:
        """What a host says of its proxy."""
        before = self._routes.get(node)
        said = Route(
            observed.route_digest,
            observed.proxy_boot,
            frozenset(observed.draining),
            bool(observed.proxy_boot) or (before is not None and before.proxied),
        )
        if said != before:
            self._routes[node] = said
            self._measure()
            self._let_go()

    def route(self, node: str) -> Route:
        """What a host last said of its proxy."""
        return self._routes.get(node, Route())

    def part(self, node: str) -> None:
        """The host has no link any more."""
        if self._routes.pop(node, None) is not None:
            self._let_go()

    def _measure(self) -> None:
        """Takes the time of changes that every ready host's proxy serves by now."""
        if not self._lag:
            return
        routes = [self.route(n.metadata.name) for n in self._feed.view.nodes() if is_true(n.status.conditions, "Ready")]
        held = [self._table.number_of(route.digest) for route in routes if route.proxied]
        if held:
            for seconds in self._lag.followed(min(held), asyncio.get_running_loop().time()):
                self._tally.observe(PROGRAMMED, "", seconds)

    # ---- who is held

    def held_on(self, node: str) -> dict[str, str]:
        """Pods of a host that must not be stopped yet, by uid: PROXIES or CONNECTIONS."""
        leaving = [p for p in self._feed.view.pods_on(node) if is_deleting(p)]
        return {p.metadata.uid: why for p in leaving if (why := self._waits_for(p))}

    def _waits_for(self, pod: Pod) -> str:
        uid = pod.metadata.uid
        if uid in self._released or not drain_seconds(pod):
            return ""
        left = self._table.left_at(uid)
        why = "" if left is None else self._not_left(uid, left)
        if not why:
            self._released.add(uid)
        return why

    def _not_left(self, uid: str, left: int) -> str:
        carrying = False
        for node in self._feed.view.nodes():
            if not is_true(node.status.conditions, "Ready"):
                continue
            route = self._routes.get(node.metadata.name)
            if route is None:
                return PROXIES  # it has not spoken to this meshd yet
            if route.proxied and self._table.number_of(route.digest) < left:
                return PROXIES
            carrying = carrying or uid in route.draining
        return CONNECTIONS if carrying else ""
