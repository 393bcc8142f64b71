"""The View: every object at one revision, indexed for the questions that pure functions ask.

Rule: only `store.feed` calls `apply` and `replace`; between two calls a View does not change, and nobody mutates what
it returns.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mesh.model.keys import Key
from mesh.model.kinds import Object, key_of, revision_of
from mesh.model.services import claims_of
from mesh.store.port import Event, Snapshot
from mesh.v1.core_pb2 import Namespace, Node, Pod
from mesh.v1.net_pb2 import AddressReservation, EndpointSlice, Ingress, Service


class View:
    """Objects by key, with indexes by kind, namespace, node, label and controller, and by what only one may hold."""

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self.revision = 0
        self._kinds: dict[str, dict[Key, Object]] = defaultdict(dict)
        self._pods_on: dict[str, dict[Key, Pod]] = defaultdict(dict)
        self._sorted_on: dict[str, list[Pod]] = {}  # the same in order, of those that were asked for
        self._children: dict[str, dict[Key, Object]] = defaultdict(dict)
        self._labelled: dict[tuple[str, str, str], dict[Key, Pod]] = defaultdict(dict)
        self._networked: dict[tuple[str, str], dict[Key, Object]] = defaultdict(dict)  # Services, EndpointSlices
        self._holders: dict[str, dict[Key, Object]] = defaultdict(dict)
        if snapshot is not None:
            self.replace(snapshot)

    def get(self, key: Key) -> Object | None:
        """The object of this key, or None."""
        found = self._kinds.get(key.kind)
        return found.get(key) if found else None

    def objects(self) -> list[Object]:
        """Every object, unsorted."""
        return [obj for kind in self._kinds.values() for obj in kind.values()]

    def of_kind(self, kind: str, namespace: str = "") -> list[Object]:
        """Objects of a kind, in one namespace or all, sorted by key."""
        found = self._kinds.get(kind, {})
        keys = sorted(k for k in found if not namespace or k.namespace == namespace)
        return [found[k] for k in keys]

    def count(self, kind: str) -> int:
        """How many objects of a kind there are."""
        return len(self._kinds.get(kind, ()))

    def pod(self, namespace: str, name: str) -> Pod | None:
        """A pod by name."""
        found = self.get(Key("Pod", namespace, name))
        return found if isinstance(found, Pod) else None

    def pods(self) -> list[Pod]:
        """Every pod, unsorted."""
        return [p for p in self._kinds.get("Pod", {}).values() if isinstance(p, Pod)]

    def pods_on(self, node: str) -> list[Pod]:
        """Pods whose spec.nodeName is `node`, sorted by key; `pods_on("")` are the pods without a node."""
        if (pods := self._pods_on.get(node)) is None:
            return []
        if (found := self._sorted_on.get(node)) is None:
            found = self._sorted_on[node] = [pods[k] for k in sorted(pods)]
        return list(found)

    def node(self, name: str) -> Node | None:
        """A node by name."""
        found = self.get(Key("Node", "", name))
        return found if isinstance(found, Node) else None

    def nodes(self) -> list[Node]:
        """Every node, sorted by name."""
        return [n for n in self.of_kind("Node") if isinstance(n, Node)]

    def namespace(self, name: str) -> Namespace | None:
        """A namespace by name."""
        found = self.get(Key("Namespace", "", name))
        return found if isinstance(found, Namespace) else None

    def children(self, uid: str) -> list[Object]:
        """Objects that name `uid` in an ownerReference."""
        found = self._children.get(uid, {})
        return [found[k] for k in sorted(found)]

    def pods_with(self, namespace: str, selector: Mapping[str, str]) -> list[Pod]:
        """Pods of a namespace with all these labels, sorted by key; none for no labels at all."""
        sets = [self._labelled.get((namespace, k, v), {}) for k, v in selector.items()]
        if not sets:
            return []
        smallest = min(sets, key=len)
        return [smallest[k] for k in sorted(smallest) if all(k in other for other in sets)]

    def services(self, namespace: str) -> list[Service]:
        """Services of a namespace, sorted by name."""
        found = self._networked.get(("Service", namespace), {})
        return [s for k in sorted(found) if isinstance(s := found[k], Service)]

    def slices(self, namespace: str) -> list[EndpointSlice]:
        """EndpointSlices of a namespace that were made by hand, sorted by name."""
        found = self._networked.get(("EndpointSlice", namespace), {})
        return [s for k in sorted(found) if isinstance(s := found[k], EndpointSlice)]

    def holders(self, claim: str) -> list[Key]:
        """Who holds a claim (`model.services.claims_of`), sorted."""
        return sorted(self._holders.get(claim, ()))

    def apply(self, events: Iterable[Event]) -> None:
        """Moves on by the events of whole revisions, in order."""
        for event in events:
            self._drop(event.key)
            if event.object is not None:
                self._put(event.key, event.object)
            self.revision = event.revision

    def replace(self, snapshot: Snapshot) -> list[Event]:
        """Becomes the snapshot; returns the events that lead from what was there to it, all at its revision."""
        fresh = {key_of(obj): obj for obj in snapshot.objects}
        held = {key: obj for kind in self._kinds.values() for key, obj in kind.items()}
        events = [Event(snapshot.revision, key, None, obj) for key, obj in held.items() if key not in fresh]
        events += [
            Event(snapshot.revision, key, obj, held.get(key))
            for key, obj in fresh.items()
            if key not in held or revision_of(held[key]) != revision_of(obj)
        ]
        self.apply(events)
        self.revision = snapshot.revision
        return events

    def copy(self) -> "View":
        """An independent view of the same objects."""
        return View(Snapshot(self.revision, self.objects()))

    def _put(self, key: Key, obj: Object) -> None:
        self._kinds[key.kind][key] = obj
        if isinstance(obj, Pod):
            self._pods_on[obj.spec.node_name][key] = obj
            self._sorted_on.pop(obj.spec.node_name, None)
            for pair in _pairs(obj):
                self._labelled[pair][key] = obj
        for index, at in self._indexes(key, obj):
            index[at][key] = obj

    def _drop(self, key: Key) -> None:
        obj = self._kinds[key.kind].pop(key, None)
        if obj is None:
            return
        if isinstance(obj, Pod):
            self._discard(self._pods_on, obj.spec.node_name, key)
            self._sorted_on.pop(obj.spec.node_name, None)
            for pair in _pairs(obj):
                self._discard(self._labelled, pair, key)
        for index, at in self._indexes(key, obj):
            self._discard(index, at, key)

    def _indexes(self, key: Key, obj: Object) -> Iterator[tuple[dict[Any, dict[Key, Object]], Any]]:
        for owner in obj.metadata.owner_references:
            yield self._children, owner.uid
        if isinstance(obj, Service | EndpointSlice):
            yield self._networked, (key.kind, key.namespace)
        if isinstance(obj, Service | AddressReservation | Ingress):
            for claim in claims_of(obj):
                yield self._holders, claim

    @staticmethod
    def _discard(index: dict[Any, dict[Key, Pod]] | dict[Any, dict[Key, Object]], at: Any, key: Key) -> None:
        held = index.get(at)
        if held is None:
            return
        held.pop(key, None)
        if not held:
            del index[at]


def _pairs(pod: Pod) -> Iterator[tuple[str, str, str]]:
    namespace = pod.metadata.namespace
    return ((namespace, key, value) for key, value in pod.metadata.labels.items())
