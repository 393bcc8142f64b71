"""Making room for a pod that matters more: on which node, and who has to go (K5).

Rule: a function of the view and a Cluster. Only pods of lower priority go; least harm decides: budgets broken, then the
highest priority among the victims, their sum, their number, then who has run the shortest.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mesh.model import fit
from mesh.model.budgets import selects
from mesh.model.kinds import Object
from mesh.model.pods import effective_requests, held_requests, is_deleting
from mesh.model.selectors import matches
from mesh.model.times import from_timestamp
from mesh.scheduler import volumes
from mesh.scheduler.cluster import Cluster
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
    """Whether others may have to go for the pod: it matters, says nothing against it, and does not wait already."""
    if pod.spec.priority <= 0 or pod.spec.preemption_policy == "Never":
        return False
    chosen = pod.status.nominated_node_name
    if not chosen or chosen not in cluster.index:
        return True
    there = (p.pod for p in cluster.pods.values() if p.node == chosen)
    return not any(is_deleting(p) and p.spec.priority < pod.spec.priority for p in there)


def find_room(pod: Pod, run: Pass, budgets: Iterable[Object]) -> Eviction | None:
    """The least harmful way to make room, or None when even all of lower priority would not do."""
    cluster = run.cluster
    on: dict[str, list[Pod]] = {}
    for placed in cluster.pods.values():
        if placed.pod.spec.priority < pod.spec.priority and not is_deleting(placed.pod):
            on.setdefault(placed.node, []).append(placed.pod)
    allowed = Allowed(budgets)
    best: tuple[tuple[float, ...], Eviction] | None = None
    for name, lesser in on.items():
        node = cluster.nodes[cluster.index[name]] if name in cluster.index else None
        if node is None or why_not(pod, node) or (run.view is not None and volumes.bars(pod, node, run.view)):
            continue
        victims = _victims(pod, name, lesser, run, allowed)
        if victims:
            harm = (*_harm(victims, allowed), float(cluster.index[name]))
            if best is None or harm < best[0]:
                best = (harm, Eviction(name, tuple(victims)))
    return best[1] if best is not None else None


def _victims(pod: Pod, node: str, lesser: list[Pod], run: Pass, allowed: "Allowed") -> list[Pod]:
    """Of the lesser pods on a node as few as will do, those that matter least; none when all of them are not enough."""
    if not _fits(pod, node, lesser, run):
        return []
    gone = list(lesser)
    breaking = allowed.breaking(lesser)
    # who matters most, or whose budget forbids it, is kept first if that can be
    for candidate in sorted(lesser, key=lambda p: (p.metadata.uid not in breaking, *_rank(p))):
        kept = [p for p in gone if p is not candidate]
        if _fits(pod, node, kept, run):
            gone = kept
    return gone


def _fits(pod: Pod, node: str, without: list[Pod], run: Pass) -> bool:
    """Whether the pod has room on the node once some pods are gone, as far as room, ports and dislikes go."""
    cluster, row = run.cluster, run.cluster.index[node]
    used, room = run.tally.used[row].copy(), cluster.room()[row]
    for other in without:
        used[0] -= 1
        for column, amount in cluster.columns(held_requests(other)):
            used[column] -= amount
    for column, amount in cluster.columns(effective_requests(pod)):
        used[column] += amount
    if used[0] + 1 > room[0] or np.any((used > room) & _asked(pod, cluster)):
        return False
    gone = {p.metadata.uid for p in without}
    staying = [p.pod for p in cluster.pods.values() if p.node == node and p.pod.metadata.uid not in gone]
    mine = fit.ports_of(pod)
    if mine and any(fit.clash(mine, fit.ports_of(p)) for p in staying):
        return False
    return not any(_dislikes(pod, p) or _dislikes(p, pod) for p in staying)


def _asked(pod: Pod, cluster: Cluster) -> "np.ndarray[tuple[int], np.dtype[np.bool_]]":
    mask = np.zeros(len(cluster.resources), bool)
    for column, _ in cluster.columns(effective_requests(pod)):
        mask[column] = True
    return mask


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
