"""Making room for a pod that matters more: on which node, and who has to go (K5).

Rule: a function of the view and a Cluster. Only pods of lower priority go; least harm decides: budgets broken, then the
highest priority among the victims, their sum, their number, then who has run the shortest.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from mesh.model import fit
from mesh.model.budgets import selects
from mesh.model.kinds import Object
from mesh.model.pods import effective_requests, is_deleting
from mesh.model.selectors import matches
from mesh.model.times import from_timestamp
from mesh.scheduler import volumes
from mesh.scheduler.cluster import Cluster, Placed
from mesh.scheduler.filters import why_not
from mesh.scheduler.pipeline import Pass
from mesh.v1.core_pb2 import Pod
from mesh.v1.policy_pb2 import PodDisruptionBudget


@dataclass(frozen=True, slots=True)
class Eviction:
    """Where room is made, and who goes."""

    node: str
    victims: tuple[Pod, ...]


def may_preempt(pod: Pod, cluster: Cluster) -> bool:
    """Whether others may have to go for the pod: some matter less, it says nothing against it, and does not wait
    already."""
    if pod.spec.preemption_policy == "Never" or not any(p < pod.spec.priority for p in cluster.priorities):
        return False
    chosen = pod.status.nominated_node_name
    if not chosen or chosen not in cluster.index:
        return True
    there = (p.pod for p in cluster.by_node.get(chosen, {}).values())
    return not any(is_deleting(p) and p.spec.priority < pod.spec.priority for p in there)


class Rooms:
    """The rooms that can be made in one pass; what could not be made for a pod is not tried again for its like."""

    def __init__(self, run: Pass, budgets: Iterable[Object]) -> None:
        self._run = run
        self._allowed = Allowed(budgets)
        self._hopeless: set[object] = set()

    def find(self, pod: Pod) -> Eviction | None:
        """The least harmful way to make room, or None when even all of lower priority would not do."""
        alike = _alike(pod)
        if alike in self._hopeless:
            return None
        cluster, view = self._run.cluster, self._run.view
        best: tuple[tuple[float, ...], Eviction] | None = None
        for name, placed in cluster.by_node.items():
            lesser = [p for p in placed.values() if p.pod.spec.priority < pod.spec.priority and not is_deleting(p.pod)]
            node = cluster.nodes[cluster.index[name]] if lesser and name in cluster.index else None
            if node is None or why_not(pod, node) or (view is not None and volumes.bars(pod, node, view)):
                continue
            if victims := _Room(pod, name, self._run).victims(lesser, self._allowed):
                harm = (*_harm(victims, self._allowed), float(cluster.index[name]))
                if best is None or harm < best[0]:
                    best = (harm, Eviction(name, tuple(victims)))
        if best is None:
            self._hopeless.add(alike)
            return None
        return best[1]


class _Room:
    """A node as the pod would find it when some of those there are gone: counted once, then pod by pod."""

    def __init__(self, pod: Pod, node: str, run: Pass) -> None:
        cluster, row = run.cluster, run.cluster.index[node]
        self._cluster = cluster
        asked = {0: 1, **dict(cluster.columns(effective_requests(pod)))}
        room, used = cluster.room()[row], run.tally.used[row]
        self._lacks = {column: int(used[column]) + amount - int(room[column]) for column, amount in asked.items()}
        ports = fit.ports_of(pod)
        there = cluster.by_node[node].values()
        choosy = pod.spec.HasField("affinity")
        self._unbearable = {
            p.pod.metadata.uid
            for p in there
            if (ports and fit.clash(ports, fit.ports_of(p.pod)))
            or (choosy and _dislikes(pod, p.pod))
            or (p.pod.spec.HasField("affinity") and _dislikes(p.pod, pod))
        }

    def victims(self, lesser: list[Placed], allowed: "Allowed") -> list[Pod]:
        """Of the lesser pods as few as will do, those that matter least; none when all of them are not enough."""
        if self._unbearable - {p.pod.metadata.uid for p in lesser}:
            return []
        for placed in lesser:
            self._change(placed, -1)
        if not self._has_room():
            return []
        gone = []
        breaking = allowed.breaking(p.pod for p in lesser)
        # who matters most, or whose budget forbids it, is kept first if that can be
        for placed in sorted(lesser, key=lambda p: (p.pod.metadata.uid not in breaking, *_rank(p.pod))):
            self._change(placed, 1)
            if placed.pod.metadata.uid in self._unbearable or not self._has_room():
                self._change(placed, -1)
                gone.append(placed.pod)
        return gone

    def _has_room(self) -> bool:
        return all(lack <= 0 for lack in self._lacks.values())

    def _change(self, placed: Placed, sign: int) -> None:
        for column, amount in ((0, 1), *self._cluster.columns(placed.requests)):
            if column in self._lacks:
                self._lacks[column] += sign * amount


def _alike(pod: Pod) -> object:
    """Pods of which this is equal find the same room."""
    labels = tuple(sorted(pod.metadata.labels.items()))
    return pod.metadata.namespace, labels, pod.spec.SerializeToString(deterministic=True)


def _dislikes(pod: Pod, other: Pod) -> bool:
    """Whether a required anti-affinity of one pod means the other on the same node."""
    terms = pod.spec.affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution
    return any(
        term.HasField("label_selector")
        and other.metadata.namespace in (list(term.namespaces) or [pod.metadata.namespace])
        and matches(term.label_selector, other.metadata.labels)
        for term in terms
    )


def _harm(victims: list[Pod], allowed: "Allowed") -> tuple[float, ...]:
    broken = len(allowed.breaking(victims))
    highest = max(p.spec.priority for p in victims)
    youngest = max(_born(p) for p in victims if p.spec.priority == highest)
    return broken, highest, sum(p.spec.priority for p in victims), len(victims), -youngest


def _born(pod: Pod) -> int:
    return from_timestamp(pod.status.start_time) or from_timestamp(pod.metadata.creation_timestamp)


class Allowed:
    """What the disruption budgets still let go."""

    def __init__(self, found: Iterable[Object]) -> None:
        self._budgets = [b for b in found if isinstance(b, PodDisruptionBudget)]

    def breaking(self, pods: Iterable[Pod]) -> set[str]:
        """Uids of those whose going together breaks a budget; who matters most has the first claim on what is left."""
        left = [b.status.disruptions_allowed for b in self._budgets]
        broken: set[str] = set()
        for pod in sorted(pods, key=_rank) if self._budgets else ():
            mine = [i for i, b in enumerate(self._budgets) if selects(b, pod)]
            for i in mine:
                left[i] -= 1
            if any(left[i] < 0 for i in mine):
                broken.add(pod.metadata.uid)
        return broken


def _rank(pod: Pod) -> tuple[int, int]:
    return -pod.spec.priority, _born(pod)
