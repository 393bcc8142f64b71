"""What the scheduler knows of the nodes: who has how much, who is where, as arrays, kept in step with events.

Rule: a value of the view alone: whatever the order of events that led to a view, the Cluster of it is the same. A pass
works on a copy of the numbers (`Tally`), for its own choices come back as events.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mesh.model import fit
from mesh.model.conditions import status_of
from mesh.model.keys import Key
from mesh.model.pods import held_requests, is_terminal
from mesh.model.workloads import controller_of
from mesh.scheduler.scores import ASSUMED, weights
from mesh.store.port import Event
from mesh.v1.core_pb2 import Node, Pod
from mesh.view import View

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Placed:
    """A pod that takes room on a node."""

    pod: Pod
    node: str
    requests: dict[str, int]
    weights: tuple[int, ...]


@dataclass(slots=True)
class Tally:
    """What is taken, in the order of the Cluster's nodes and resources; a pass counts its own choices in a copy."""

    used: Ints  # nodes x resources
    weight: Ints  # nodes x ASSUMED

    def copy(self) -> "Tally":
        """An independent tally."""
        return Tally(self.used.copy(), self.weight.copy())


@dataclass(slots=True)
class Cluster:
    """As of `revision`. `names`, `nodes` and the rows of every array are in one order, that of the nodes' names.

    `version` counts changes of what decides which nodes a pod may go to, apart from what is taken there.
    """

    names: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    index: dict[str, int] = field(default_factory=dict)
    resources: list[str] = field(default_factory=lambda: ["pods", "cpu", "memory"])
    version: int = 0
    revision: int = 0
    pods: dict[Key, Placed] = field(default_factory=dict)
    by_namespace: dict[str, dict[Key, Placed]] = field(default_factory=lambda: defaultdict(dict))
    by_owner: dict[str, dict[Key, Placed]] = field(default_factory=lambda: defaultdict(dict))
    choosy: dict[Key, Placed] = field(default_factory=dict)  # pods with terms about other pods
    _held: dict[str, Node] = field(default_factory=dict)
    _tally: Tally | None = None
    _room: Ints | None = None
    _hashes: npt.NDArray[np.uint64] | None = None

    @staticmethod
    def of(view: View) -> "Cluster":
        """The Cluster of a view."""
        made = Cluster(revision=view.revision)
        made.on(Event(view.revision, Key("Node", "", n.metadata.name), n, None) for n in view.nodes())
        made.on(Event(view.revision, Key("Pod", p.metadata.namespace, p.metadata.name), p, None) for p in view.pods())
        return made

    def on(self, events: Iterable[Event]) -> None:
        """Moves on by events."""
        for event in events:
            if event.key.kind == "Node":
                self._node(event)
            elif event.key.kind == "Pod":
                self._pod(event.key, event.object if isinstance(event.object, Pod) else None)
            self.revision = event.revision

    # ---- numbers

    def tally(self) -> Tally:
        """What is taken now: not to be changed, but in a copy."""
        if self._tally is None:
            self._tally = Tally(
                np.zeros((len(self.names), len(self.resources)), np.int64),
                np.zeros((len(self.names), len(ASSUMED)), np.int64),
            )
            for placed in self.pods.values():
                self._count(placed, 1)
        return self._tally

    def room(self) -> Ints:
        """What the nodes have to give: nodes x resources."""
        if self._room is None:
            self._room = np.zeros((len(self.names), len(self.resources)), np.int64)
            for row, node in enumerate(self.nodes):
                given = fit.allocatable_of(node)
                self._room[row] = [given.get(name, 0) for name in self.resources]
        return self._room

    def hashes(self) -> npt.NDArray[np.uint64]:
        """A number for each node, by its name, to tell equals apart."""
        if self._hashes is None:
            self._hashes = np.array([hash_of(name) for name in self.names], np.uint64)
        return self._hashes

    def columns(self, requests: dict[str, int]) -> list[tuple[int, int]]:
        """(column, amount) of each resource asked for; a resource nobody has heard of gets a column."""
        for name in requests:
            if name not in self.resources:
                self.resources.append(name)
                self._tally = self._room = None
        return [(self.resources.index(name), amount) for name, amount in requests.items() if amount > 0]

    # ---- events

    def _node(self, event: Event) -> None:
        name, node = event.key.name, event.object if isinstance(event.object, Node) else None
        held = self._held.get(name)
        if node is not None and node.metadata.HasField("deletion_timestamp"):
            node = None
        if node is None:
            if self._held.pop(name, None) is not None:
                self._reindex()
            return
        self._held[name] = node
        if held is None:
            self._reindex()
            return
        self.nodes[self.index[name]] = node
        if eligibility(node) != eligibility(held):
            self.version += 1
        if fit.allocatable_of(node) != fit.allocatable_of(held):
            self._room = None

    def _reindex(self) -> None:
        self.names = sorted(self._held)
        self.nodes = [self._held[name] for name in self.names]
        self.index = {name: row for row, name in enumerate(self.names)}
        self.version += 1
        self._tally = self._room = self._hashes = None

    def _pod(self, key: Key, pod: Pod | None) -> None:
        before = self.pods.get(key)
        wanted = pod if pod is not None and pod.spec.node_name and not is_terminal(pod) else None
        if before is not None and wanted is not None and _same(before.pod, wanted):
            self._keep(key, Placed(wanted, before.node, before.requests, before.weights))
            return
        if before is not None:
            self._drop(key, before)
        if wanted is not None:
            requests = held_requests(wanted)
            self.columns(requests)
            placed = Placed(wanted, wanted.spec.node_name, requests, weights(requests))
            self._keep(key, placed)
            self._count(placed, 1)

    def _keep(self, key: Key, placed: Placed) -> None:
        self.pods[key] = self.by_namespace[key.namespace][key] = placed
        if (owner := controller_of(placed.pod.metadata)) is not None:
            self.by_owner[owner.uid][key] = placed
        affinity = placed.pod.spec.affinity
        if affinity.HasField("pod_affinity") or affinity.HasField("pod_anti_affinity"):
            self.choosy[key] = placed

    def _drop(self, key: Key, placed: Placed) -> None:
        del self.pods[key], self.by_namespace[key.namespace][key]
        self.choosy.pop(key, None)
        if (owner := controller_of(placed.pod.metadata)) is not None:
            self.by_owner[owner.uid].pop(key, None)
            if not self.by_owner[owner.uid]:
                del self.by_owner[owner.uid]
        self._count(placed, -1)

    def _count(self, placed: Placed, sign: int) -> None:
        row = self.index.get(placed.node)
        if self._tally is None or row is None:
            return
        self._tally.used[row, 0] += sign
        for column, amount in self.columns(placed.requests):
            self._tally.used[row, column] += sign * amount
        self._tally.weight[row] += sign * np.array(placed.weights, np.int64)


def eligibility(node: Node) -> object:
    """What of a node decides who may go there, apart from how much it has."""
    ready = status_of(node.status.conditions, "Ready")
    images = tuple(sorted(name for image in node.status.images for name in image.names))
    return dict(node.metadata.labels), node.spec.SerializeToString(deterministic=True), ready, images


def hash_of(text: str) -> int:
    """64 bits of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _granted(pod: Pod) -> object:
    """What a resize has come to, cheap to compare (L20)."""
    statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    waits = [c.reason for c in pod.status.conditions if c.type == "PodResizePending"]
    return waits, [(dict(s.allocated_resources), dict(s.resources.requests)) for s in statuses]


def _same(one: Pod, other: Pod) -> bool:
    """Whether two states of a pod take the same room in the same place."""
    mine, theirs = one.metadata, other.metadata
    return (
        mine.uid == theirs.uid
        and mine.generation == theirs.generation
        and one.spec.node_name == other.spec.node_name
        and mine.labels == theirs.labels
        and _granted(one) == _granted(other)
        and [r.uid for r in mine.owner_references] == [r.uid for r in theirs.owner_references]
    )
