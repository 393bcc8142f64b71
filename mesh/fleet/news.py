"""What happened, handed to the links that it concerns: of thousands of changes a host cares for a few.

Rule: a pod concerns the host that it is on, a node its own link and, when the way to its pods changes, all of them,
who hear of one such change however many come at once; ConfigMaps and Secrets concern the hosts whose pods refer to
them; what else pods are told of concerns everybody, who looks for himself. Everything else concerns no host.
"""

from collections.abc import Callable, Collection, Sequence

from mesh.access.revoked import LIST as REVOKED
from mesh.fleet.needs import address_of
from mesh.fleet.referring import Referring
from mesh.model.kinds import key_of
from mesh.network import ingress
from mesh.store.feed import Feed
from mesh.store.port import Event
from mesh.v1.core_pb2 import Node, Pod

Follower = Callable[[Sequence[Event]], None]
_TOLD = (
    "ServiceAccount", "PersistentVolume", "PersistentVolumeClaim", "Service", "Ingress",
    "IngressClass",
)  # fmt: skip


class News:
    """One for all links; it follows the feed from its making on."""

    def __init__(self, feed: Feed) -> None:
        self._followers: dict[str, Follower] = {}
        self._feed = feed
        self._referring = Referring()
        for pod in feed.view.pods():
            self._referring.note(key_of(pod), pod, None)
        feed.on_events(self._on_events)

    def follow(self, node: str, follower: Follower) -> Callable[[], None]:
        """Calls `follower` with what concerns the host; returns the way out."""
        self._followers[node] = follower

        def leave() -> None:
            if self._followers.get(node) is follower:
                del self._followers[node]

        return leave

    def _on_events(self, events: Sequence[Event]) -> None:
        by_node: dict[str, list[Event]] = {}
        moved: Event | None = None
        for event in events:
            if event.key.kind == "Pod":
                self._referring.note(event.key, event.object, event.previous)
        for event in events:
            for node in self._whom(event):
                by_node.setdefault(node, []).append(event)
            if event.key.kind == "Node" and reached(event.object) != reached(event.previous):
                moved = event
        if moved is not None:  # a thousand hosts that join at once are not told a thousand times of each other
            for node in self._followers:
                if node != moved.key.name:
                    by_node.setdefault(node, []).append(moved)
        for node, mine in by_node.items():
            if (follower := self._followers.get(node)) is not None:
                follower(mine)

    def _whom(self, event: Event) -> Collection[str]:
        now, before = event.object, event.previous
        if event.key == REVOKED:
            return list(self._followers)
        if event.key.kind == "Pod":
            return {o.spec.node_name for o in (now, before) if isinstance(o, Pod)}
        if event.key.kind == "Node":
            return (event.key.name,)
        if event.key.kind == "ConfigMap":
            return self._referring.hosts(event.key)
        if event.key.kind == "Secret":
            serving = (n.metadata.name for n in self._feed.view.nodes() if ingress.serves(n))
            return {*self._referring.hosts(event.key), *serving}
        return list(self._followers) if event.key.kind in _TOLD else ()


def reached(node: object) -> tuple[str, str]:
    """How pods of a host are reached."""
    return (address_of(node), node.spec.pod_cidr) if isinstance(node, Node) else ("", "")
