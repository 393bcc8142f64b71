"""Pods about other pods: affinity, anti-affinity and topology spread, as counts by domain (K1, K2, K3).

Rule: a domain is a value of a topology key among the nodes; a node without the key is in none (code -1). Counts are of
one moment of one pass: pods placed in it count too.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mesh.model.fields import copy_of
from mesh.model.pods import is_deleting
from mesh.model.selectors import matches
from mesh.model.workloads import controller_of
from mesh.scheduler.cluster import Cluster, Ints, Placed
from mesh.scheduler.scores import Floats, low_is_good
from mesh.v1.core_pb2 import Namespace, Pod, PodAffinityTerm, TopologySpreadConstraint
from mesh.v1.meta_pb2 import LabelSelector, LabelSelectorRequirement

Bools = npt.NDArray[np.bool_]
HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
_DEFAULT_SPREAD = ((HOSTNAME, 3), (ZONE, 5))  # (K3)
_HARD_WEIGHT = 1  # what a required term of a pod that is there counts for others


@dataclass(frozen=True, slots=True)
class Eligible:
    """Which nodes a pod may go to: `matches` by its selector and node affinity, `borne` by its tolerations."""

    matches: Bools
    borne: Bools

    def by(self, constraint: TopologySpreadConstraint) -> Bools:
        """The nodes that count as domains: those that it matches unless it ignores that, and if it honours taints those
        alone that it tolerates."""
        counts = np.ones_like(self.matches) if constraint.node_affinity_policy == "Ignore" else self.matches
        honours: Bools = counts & self.borne
        return honours if constraint.node_taints_policy == "Honor" else counts


@dataclass(slots=True)
class Relations:
    """The pods of one pass: those of the Cluster and those placed since, each on a row."""

    cluster: Cluster
    namespaces: Mapping[str, Namespace]
    placed: list[tuple[Placed, int]] = field(default_factory=list)
    _codes: dict[str, Ints] = field(default_factory=dict)
    _opinions: bool = False

    @property
    def choosy(self) -> bool:
        """Whether a pod that is there has an opinion of others."""
        return self._opinions or bool(self.cluster.choosy)

    def add(self, placed: Placed, row: int) -> None:
        """A pod that this pass has placed."""
        self.placed.append((placed, row))
        self._opinions = self._opinions or placed.pod.spec.HasField("affinity")

    # ---- what a pod may not do

    def against(self, pod: Pod) -> list[tuple[Bools, str]]:
        """For each reason, on which nodes it speaks against the pod."""
        affinity = pod.spec.affinity
        found: list[tuple[Bools, str]] = [
            (~self._near(pod, term), "node(s) didn't match pod affinity rules")
            for term in affinity.pod_affinity.required_during_scheduling_ignored_during_execution
        ]
        for term in affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution:
            counts = self.count(term.topology_key, self._chosen_by(pod, term))
            found.append((counts > 0, "node(s) didn't match pod anti-affinity rules"))
        if (refused := self._refused_by_others(pod)) is not None:
            found.append((refused, "node(s) didn't satisfy existing pods anti-affinity rules"))
        return found

    def _near(self, pod: Pod, term: PodAffinityTerm) -> Bools:
        """Nodes with a matching pod in their domain; with the key alone for the first of a group that likes itself."""
        chooses, codes = self._chosen_by(pod, term), self.codes(term.topology_key)
        counts = self.count(term.topology_key, chooses)
        if not counts.any() and chooses(pod):
            return codes >= 0
        near: Bools = (counts > 0) & (codes >= 0)
        return near

    def _refused_by_others(self, pod: Pod) -> Bools | None:
        refused: Bools | None = None
        for other, row in self._choosy():
            terms = other.pod.spec.affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution
            for term in terms:
                codes = self.codes(term.topology_key)
                if codes[row] >= 0 and self._chosen_by(other.pod, term)(pod):
                    mine = codes == codes[row]
                    refused = mine if refused is None else refused | mine
        return refused

    # ---- what a pod would rather

    def liking(self, pod: Pod) -> Floats | None:
        """How well the pod and those that are there like to be together on each node, 0 to 100; None: no opinion."""
        total: Floats | None = None
        for weight, row_codes, counts in self._wishes(pod):
            add = weight * np.where(row_codes >= 0, counts, 0).astype(float)
            total = add if total is None else total + add
        if total is None:
            return None
        low, high = total.min(), total.max()
        scaled: Floats = (total - low) * 100 / (high - low) if high > low else np.zeros_like(total)
        return scaled

    def _wishes(self, pod: Pod) -> Iterable[tuple[int, Ints, Ints]]:
        affinity = pod.spec.affinity
        for sign, soft in (
            (1, affinity.pod_affinity.preferred_during_scheduling_ignored_during_execution),
            (-1, affinity.pod_anti_affinity.preferred_during_scheduling_ignored_during_execution),
        ):
            for wish in soft:
                term = wish.pod_affinity_term
                counts = self.count(term.topology_key, self._chosen_by(pod, term))
                yield sign * wish.weight, self.codes(term.topology_key), counts
        for other, row in self._choosy():
            yield from self._wishes_of(other, row, pod)

    def _wishes_of(self, other: Placed, row: int, pod: Pod) -> Iterable[tuple[int, Ints, Ints]]:
        theirs = other.pod.spec.affinity
        terms = [(_HARD_WEIGHT, t) for t in theirs.pod_affinity.required_during_scheduling_ignored_during_execution]
        preferred = theirs.pod_affinity.preferred_during_scheduling_ignored_during_execution
        terms += [(w.weight, w.pod_affinity_term) for w in preferred]
        dislikes = theirs.pod_anti_affinity.preferred_during_scheduling_ignored_during_execution
        terms += [(-w.weight, w.pod_affinity_term) for w in dislikes]
        for weight, term in terms:
            codes = self.codes(term.topology_key)
            if codes[row] >= 0 and self._chosen_by(other.pod, term)(pod):
                yield weight, codes, (codes == codes[row]).astype(np.int64)

    # ---- spreading

    def skewed(self, pod: Pod, eligible: Eligible) -> list[tuple[Bools, str]]:
        """Where the pod would make its group more uneven than it allows (DoNotSchedule)."""
        hard = [c for c in pod.spec.topology_spread_constraints if c.when_unsatisfiable == "DoNotSchedule"]
        found: list[tuple[Bools, str]] = []
        words = "node(s) didn't match pod topology spread constraints"
        for constraint in hard:
            codes = self.codes(constraint.topology_key)
            found.append((codes < 0, f"{words} (missing required label)"))
            counts, least = self._spread(pod, constraint, eligible)
            mine = int(_selector(constraint, pod)(pod))
            found.append(((codes >= 0) & (counts + mine - least > constraint.max_skew), words))
        return found

    def evenness(self, pod: Pod, eligible: Eligible) -> Floats | None:
        """How even the pod's group would be with it on each node, 0 to 100; None: it has no group."""
        soft = [c for c in pod.spec.topology_spread_constraints if c.when_unsatisfiable == "ScheduleAnyway"]
        costs: list[Floats] = []
        for constraint in soft:
            counts, _ = self._spread(pod, constraint, eligible)
            costs.append(self._cost(constraint.topology_key, counts, constraint.max_skew))
        if not pod.spec.topology_spread_constraints and (owner := controller_of(pod.metadata)) is not None:
            rows = self._rows_of_owner(owner.uid)
            for key, skew in _DEFAULT_SPREAD:
                if (self.codes(key) >= 0).any():
                    costs.append(self._cost(key, self._by_domain(key, rows), skew))
        if not costs:
            return None
        return low_is_good(np.sum(costs, axis=0))

    def _cost(self, key: str, counts: Ints, skew: int) -> Floats:
        codes = self.codes(key)
        domains = int(codes.max(initial=-1)) + 1
        cost = counts * np.log(domains + 2) + (skew - 1)
        result: Floats = np.where(codes >= 0, cost, cost.max(initial=0.0))
        return result

    def _spread(self, pod: Pod, constraint: TopologySpreadConstraint, eligible: Eligible) -> tuple[Ints, int]:
        """Of each node's domain how many of the group are there, and the fewest of any domain that counts."""
        codes = self.codes(constraint.topology_key)
        counts_too = eligible.by(constraint)
        chooses = _selector(constraint, pod)
        rows = [
            row
            for placed, row in self._pods(pod.metadata.namespace)
            if counts_too[row] and not is_deleting(placed.pod) and chooses(placed.pod)
        ]
        counts = self._by_domain(constraint.topology_key, rows)
        seen = counts_too & (codes >= 0)
        domains = len(np.unique(codes[seen]))
        least = int(counts[seen].min(initial=2**31)) if domains else 0
        return counts, 0 if domains < constraint.min_domains else least

    # ---- counting

    def codes(self, key: str) -> Ints:
        """For each node, which domain of the key it is in; -1 without."""
        if key not in self._codes:
            values = [node.metadata.labels.get(key) for node in self.cluster.nodes]
            known = {value: code for code, value in enumerate(sorted({v for v in values if v is not None}))}
            self._codes[key] = np.array([-1 if v is None else known[v] for v in values], np.int64)
        return self._codes[key]

    def count(self, key: str, chooses: Callable[[Pod], bool]) -> Ints:
        """For each node, how many chosen pods are in its domain."""
        return self._by_domain(key, [row for placed, row in self._pods("") if chooses(placed.pod)])

    def _by_domain(self, key: str, rows: list[int]) -> Ints:
        codes = self.codes(key)
        if not rows:
            return np.zeros(len(codes), np.int64)
        there = codes[np.array(rows)]
        counts = np.bincount(there[there >= 0], minlength=max(1, int(codes.max(initial=-1)) + 1))
        return np.where(codes >= 0, counts[np.maximum(codes, 0)], 0)

    def _pods(self, namespace: str) -> Iterable[tuple[Placed, int]]:
        held = self.cluster.by_namespace.get(namespace, {}) if namespace else self.cluster.pods
        for placed in held.values():
            if (row := self.cluster.index.get(placed.node)) is not None:
                yield placed, row
        for placed, row in self.placed:
            if namespace in ("", placed.pod.metadata.namespace):
                yield placed, row

    def _choosy(self) -> Iterable[tuple[Placed, int]]:
        for placed in self.cluster.choosy.values():
            if (row := self.cluster.index.get(placed.node)) is not None:
                yield placed, row
        for placed, row in self.placed if self._opinions else ():
            if placed.pod.spec.HasField("affinity"):
                yield placed, row

    def _rows_of_owner(self, uid: str) -> list[int]:
        held = self.cluster.by_owner.get(uid, {})
        rows = [self.cluster.index[p.node] for p in held.values() if p.node in self.cluster.index]
        for placed, row in self.placed:
            owner = controller_of(placed.pod.metadata)
            if owner is not None and owner.uid == uid:
                rows.append(row)
        return rows

    def _chosen_by(self, pod: Pod, term: PodAffinityTerm) -> Callable[[Pod], bool]:
        """Whether a term of `pod` means another pod."""
        namespaces = set(term.namespaces)
        if term.HasField("namespace_selector"):
            chosen = term.namespace_selector
            namespaces |= {n for n, held in self.namespaces.items() if matches(chosen, held.metadata.labels)}
        elif not namespaces:
            namespaces = {pod.metadata.namespace}
        selector = _with_keys(term.label_selector, pod, term.match_label_keys, term.mismatch_label_keys)
        has = term.HasField("label_selector")
        return lambda other: (
            has and other.metadata.namespace in namespaces and matches(selector, other.metadata.labels)
        )  # fmt: skip


def _selector(constraint: TopologySpreadConstraint, pod: Pod) -> Callable[[Pod], bool]:
    selector = _with_keys(constraint.label_selector, pod, constraint.match_label_keys, ())
    has, namespace = constraint.HasField("label_selector"), pod.metadata.namespace
    return lambda other: has and other.metadata.namespace == namespace and matches(selector, other.metadata.labels)


def _with_keys(selector: LabelSelector, pod: Pod, same: Iterable[str], other: Iterable[str]) -> LabelSelector:
    """The selector with the pod's own values of some labels required, and of others refused."""
    keys = [(key, "In") for key in same] + [(key, "NotIn") for key in other]
    present = [(key, operator) for key, operator in keys if key in pod.metadata.labels]
    if not present:
        return selector
    made = copy_of(selector)
    for key, operator in present:
        value = pod.metadata.labels[key]
        made.match_expressions.append(LabelSelectorRequirement(key=key, operator=operator, values=[value]))
    return made
