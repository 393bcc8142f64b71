"""Places pending pods in one pass: which nodes will do, which is best; each choice counts for the next pod (K1, K2).

Rule: a function of a Cluster and pods; the same gives the same placements, many at once or one by one. What only
nodes decide is worked out once for all pods of one shape; what is taken is counted in arrays.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mesh.model import fit
from mesh.model.claims import claims_of
from mesh.model.pods import containers, effective_requests, is_deleting, is_terminal
from mesh.model.times import from_timestamp
from mesh.scheduler import scores, volumes
from mesh.scheduler.cluster import Cluster, Placed, Tally, hash_of
from mesh.scheduler.filters import why_not
from mesh.scheduler.relations import Bools, Eligible, Relations
from mesh.scheduler.scores import Floats, weights
from mesh.v1.core_pb2 import Namespace, Pod
from mesh.view import View

SCHEDULER = "default-scheduler"
_SHAPES = 256  # kept from pass to pass
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a pod goes, or with an empty `node` in words why nowhere."""

    pod: Pod
    node: str
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """What nodes alone decide for all pods that ask alike: which will do, why not the others, and fixed scores."""

    fits: Bools
    reasons: Counter[str]
    matches: Eligible
    taints: Floats
    affinity: Floats
    images: Floats

    @property
    def differs(self) -> bool:
        """Whether nodes differ in any fixed score."""
        return bool(self.taints.any() or self.affinity.any() or self.images.any())


@dataclass(slots=True)
class Pass:
    """One pass over a Cluster; `shapes` may be kept for the next while the Cluster's version is the same."""

    cluster: Cluster
    namespaces: Mapping[str, Namespace]
    view: View | None = None  # of claims; without one no pod has any
    shapes: dict[object, Shape] = field(default_factory=dict)
    tally: Tally = field(init=False)
    relations: Relations = field(init=False)
    _asks: dict[object, "_Ask"] = field(default_factory=dict)
    _refused: dict[object, str] = field(default_factory=dict)
    _shares: Floats = field(init=False)  # of cpu and memory that are taken, as they count when nodes are compared
    _unit: Floats = field(init=False)  # what one more of each is of a node's

    def __post_init__(self) -> None:
        self.tally = self.cluster.tally().copy()
        self.relations = Relations(self.cluster, self.namespaces)
        columns = [self.cluster.resources.index(name) for name in scores.ASSUMED]
        room = self.cluster.room()[:, columns].T
        self._unit = np.where(room > 0, 1.0 / np.maximum(room, 1), 1.0)
        self._shares = np.where(room > 0, self.tally.weight.T * self._unit, 1.0)

    def place(self, pod: Pod) -> Placement:
        """The best node for the pod, which counts as there from now on; or why there is none."""
        key = _key_of(pod)
        tied = bool(claims_of(pod.spec)) and self.view is not None
        if tied and self.view is not None and (why := volumes.nowhere(pod, self.view)):
            return Placement(pod, "", f"0/{len(self.cluster.names)} nodes are available: {why}.")
        plain = not tied and not _is_choosy(pod) and not self.relations.choosy
        if plain and (known := self._refused.get(key)):
            return Placement(pod, "", known)  # nothing gets freer in a pass
        ask = self._asks.get(key)
        if ask is None:
            ask = self._asks[key] = self._ask(pod)
        against = self._against(pod, ask)
        fits = ask.shape.fits.copy()
        for mask, _ in against:
            fits &= ~mask
        if not fits.any():
            reason = self._explain(ask.shape, against)
            if not tied:
                self._refused[key] = reason
            return Placement(pod, "", reason)
        row = self._best(pod, fits, ask)
        self.take(Placed(pod, self.cluster.names[row], ask.requests, ask.weights), row)
        return Placement(pod, self.cluster.names[row])

    def take(self, placed: Placed, row: int) -> None:
        """Counts a pod on a node from now on."""
        self.tally.used[row, 0] += 1
        for column, amount in self._columns(placed.requests):
            self.tally.used[row, column] += amount
        self._shares[:, row] += np.array(placed.weights) * self._unit[:, row]
        self.relations.add(placed, row)

    def _ask(self, pod: Pod) -> "_Ask":
        requests = effective_requests(pod)
        counted = weights(requests)
        column = np.array(counted, float)[:, None]
        return _Ask(requests, counted, self._columns(requests), self._shape(pod), fit.ports_of(pod), column)

    # ---- which will do

    def _shape(self, pod: Pod) -> Shape:
        key = _shape_key(pod)
        if key not in self.shapes:
            if len(self.shapes) >= _SHAPES:
                self.shapes.clear()
            self.shapes[key] = _shape_of(pod, self.cluster)
        return self.shapes[key]

    def _against(self, pod: Pod, ask: "_Ask") -> list[tuple[Bools, str]]:
        room, used = self.cluster.room(), self.tally.used
        found: list[tuple[Bools, str]] = [(used[:, 0] + 1 > room[:, 0], "Too many pods")]
        for column, amount in ask.columns:
            found.append((used[:, column] + amount > room[:, column], f"Insufficient {self.cluster.resources[column]}"))
        if ask.ports:
            found.append((self._ports_taken(ask.ports), "node(s) didn't have free ports for the requested pod ports"))
        found += self.relations.skewed(pod, ask.shape.matches)
        found += self.relations.against(pod)
        if self.view is not None and claims_of(pod.spec):
            found += self._far_from_claims(pod, self.view)
        return found

    def _far_from_claims(self, pod: Pod, view: View) -> list[tuple[Bools, str]]:
        """Nodes to which the pod's claims do not let it go (V17)."""
        each = [set(volumes.reasons(pod, node, view)) for node in self.cluster.nodes]
        return [(np.array([words in one for one in each], bool), words) for words in sorted(set().union(*each))]

    def _ports_taken(self, mine: list[tuple[str, int, str]]) -> Bools:
        taken = np.zeros(len(self.cluster.names), bool)
        held = [(p, self.cluster.index.get(p.node)) for p in self.cluster.pods.values()]
        for placed, row in [*held, *self.relations.placed]:
            if row is not None and fit.clash(mine, fit.ports_of(placed.pod)):
                taken[row] = True
        return taken

    def _columns(self, requests: dict[str, int]) -> list[tuple[int, int]]:
        columns = self.cluster.columns(requests)
        missing = len(self.cluster.resources) - self.tally.used.shape[1]
        if missing:  # somebody asks for what nobody has heard of
            self.tally.used = np.pad(self.tally.used, ((0, 0), (0, missing)))
        return columns

    def _explain(self, shape: Shape, against: list[tuple[Bools, str]]) -> str:
        counts = Counter(shape.reasons)
        left = shape.fits.copy()
        # as filters: the first that speaks against a node ends the questions for it; lack of room is told together
        of_room = [a for a in against if not a[1].startswith("node(s)")]
        for stage in (of_room, *([a] for a in against if a[1].startswith("node(s)"))):
            hit = np.zeros_like(left)
            for mask, words in stage:
                counts[words] += int((mask & left).sum())
                hit |= mask & left
            left &= ~hit
        return explain(len(self.cluster.names), counts)

    # ---- which is best

    def _best(self, pod: Pod, fits: Bools, ask: "_Ask") -> int:
        rows, shape = np.flatnonzero(fits), ask.shape
        if len(rows) == 1:
            return int(rows[0])
        if len(rows) == len(fits):
            total = scores.fullness(self._shares + ask.column * self._unit)
        else:
            total = scores.fullness(self._shares[:, rows] + ask.column * self._unit[:, rows])
        if shape.differs:
            total = total + scores.TAINTS * scores.low_is_good(shape.taints[rows])
            total = total + scores.AFFINITY * scores.high_is_good(shape.affinity[rows]) + shape.images[rows]
        if (liking := self.relations.liking(pod)) is not None:
            total = total + scores.TOGETHER * liking[rows]
        if (even := self.relations.evenness(pod, shape.matches)) is not None:
            total = total + scores.SPREAD * even[rows]
        best = rows[total >= total.max() - 1e-9]
        if len(best) == 1:
            return int(best[0])
        mixed = (self.cluster.hashes()[best] ^ np.uint64(hash_of(pod.metadata.uid))) * _MIX
        return int(best[int(mixed.argmax())])


@dataclass(frozen=True, slots=True)
class _Ask:
    """What pods of one key ask for."""

    requests: dict[str, int]
    weights: tuple[int, ...]
    columns: list[tuple[int, int]]
    shape: Shape
    ports: list[tuple[str, int, str]]
    column: Floats


def pending(view: View) -> list[Pod]:
    """The pods that wait for a node, in the order they are served."""
    waiting = [p for p in view.pods_on("") if _is_ours(p)]
    return sorted(waiting, key=lambda p: (-p.spec.priority, from_timestamp(p.metadata.creation_timestamp)))


def place(view: View) -> list[Placement]:
    """A placement for every pending pod of a view."""
    waiting = pending(view)
    if not waiting:
        return []
    run = Pass(Cluster.of(view), namespaces_of(view), view)
    return [run.place(pod) for pod in waiting]


def namespaces_of(view: View) -> dict[str, Namespace]:
    """The namespaces of a view by name."""
    return {n.metadata.name: n for n in view.of_kind("Namespace") if isinstance(n, Namespace)}


def explain(nodes: int, against: Mapping[str, int]) -> str:
    """K4: "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable." """
    if not nodes:
        return "0/0 nodes are available: no host has joined yet."
    told = sorted(f"{n} {why}" for why, n in against.items() if n)
    return f"0/{nodes} nodes are available: " + ", ".join(told) + "."


def _shape_of(pod: Pod, cluster: Cluster) -> Shape:
    reasons: Counter[str] = Counter()
    fits = np.ones(len(cluster.names), bool)
    for row, node in enumerate(cluster.nodes):
        against = why_not(pod, node)
        reasons.update(against)
        fits[row] = not against
    matching = np.array([not why_not(pod, node, affinity_alone=True) for node in cluster.nodes], bool)
    borne = np.array([not (fit.unschedulable(pod, n) or fit.taints(pod, n)) for n in cluster.nodes], bool)
    return Shape(
        fits,
        reasons,
        Eligible(matching, borne),
        np.array([scores.preferred_taints(pod, node) for node in cluster.nodes], float),
        np.array([scores.preferred_affinity(pod, node) for node in cluster.nodes], float),
        scores.images_there(pod, cluster.nodes),
    )


def _shape_key(pod: Pod) -> object:
    spec = pod.spec
    return (
        any(c.resources.requests or c.resources.limits for c in spec.containers),
        spec.node_name,
        tuple(sorted(spec.node_selector.items())),
        tuple(t.SerializeToString() for t in spec.tolerations),
        spec.affinity.node_affinity.SerializeToString(deterministic=True) if spec.HasField("affinity") else b"",
        tuple(c.image for c in spec.containers),
    )


def _key_of(pod: Pod) -> object:
    """Pods of one key ask for the same, and get the same answer as long as nothing is taken."""
    spec = pod.spec
    asked = [(c.resources.SerializeToString(deterministic=True), c.restart_policy) for c in containers(spec)]
    more = spec.resources.SerializeToString(deterministic=True), tuple(sorted(spec.overhead.items()))
    return _shape_key(pod), len(spec.containers), tuple(asked), more, tuple(fit.ports_of(pod))


def _is_choosy(pod: Pod) -> bool:
    affinity = pod.spec.affinity
    return bool(pod.spec.topology_spread_constraints) or any(
        affinity.HasField(name) for name in ("pod_affinity", "pod_anti_affinity")
    )


def gated(view: View) -> list[Pod]:
    """The pods that somebody holds back."""
    return [p for p in view.pods_on("") if p.spec.scheduling_gates and not is_deleting(p)]


def _is_ours(pod: Pod) -> bool:
    return (
        not is_deleting(pod)
        and not is_terminal(pod)
        and not pod.spec.scheduling_gates
        and pod.spec.scheduler_name in ("", SCHEDULER)
    )
