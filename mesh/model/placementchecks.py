"""What must hold of where a pod says it may go: tolerations, affinity, spreading (K1, A3, A5).

Rule: pure questions of one spec; every violation is reported by its path.
"""

from collections.abc import Iterable, Iterator

from mesh.errors import Violation
from mesh.model import formats, selectors
from mesh.v1.core_pb2 import NodeSelectorTerm, PodAffinityTerm, PodSpec


def check(spec: PodSpec, path: str) -> Iterator[Violation]:
    """Everything wrong with where a pod says it may go."""
    yield from _check_relations(spec, path)
    yield from _check_spread(spec, path)
    for index, toleration in enumerate(spec.tolerations):
        where = f"{path}.tolerations[{index}]"
        if toleration.operator == "Exists" and toleration.value:
            yield Violation(f"{where}.value", 'must be absent with operator "Exists"')
        if not toleration.key and toleration.operator != "Exists":
            yield Violation(f"{where}.operator", 'must be "Exists" when there is no key')
        if toleration.HasField("toleration_seconds") and toleration.effect != "NoExecute":
            yield Violation(f"{where}.effect", 'must be "NoExecute" when tolerationSeconds is given')
    affinity = spec.affinity.node_affinity
    if affinity.HasField("required_during_scheduling_ignored_during_execution"):
        where = f"{path}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
        terms = affinity.required_during_scheduling_ignored_during_execution.node_selector_terms
        if not terms:
            yield Violation(where, "is required")
        for index, term in enumerate(terms):
            yield from _check_term(term, f"{where}[{index}]")


def _check_term(term: NodeSelectorTerm, path: str) -> Iterator[Violation]:
    for group, requirements in (("matchExpressions", term.match_expressions), ("matchFields", term.match_fields)):
        for index, requirement in enumerate(requirements):
            where, operator, count = (f"{path}.{group}[{index}]", requirement.operator, len(requirement.values))
            if group == "matchFields" and requirement.key != "metadata.name":
                yield Violation(f"{where}.key", f'must be "metadata.name", is "{requirement.key}"')
            if group == "matchExpressions" and requirement.key and (reason := formats.label_key(requirement.key)):
                yield Violation(f"{where}.key", reason)
            if operator in ("In", "NotIn") and not count:
                yield Violation(f"{where}.values", f'must have a value with operator "{operator}"')
            if operator in ("Exists", "DoesNotExist") and count:
                yield Violation(f"{where}.values", f'must be absent with operator "{operator}"')
            if operator in ("Gt", "Lt") and not (count == 1 and requirement.values[0].lstrip("-").isdigit()):
                yield Violation(f"{where}.values", f'must be one whole number with operator "{operator}"')


def _check_relations(spec: PodSpec, path: str) -> Iterator[Violation]:
    for name, held in (
        ("podAffinity", spec.affinity.pod_affinity),
        ("podAntiAffinity", spec.affinity.pod_anti_affinity),
    ):
        where = f"{path}.affinity.{name}"
        required = held.required_during_scheduling_ignored_during_execution
        yield from _check_terms(required, f"{where}.requiredDuringSchedulingIgnoredDuringExecution[{{}}]")
        preferred = [w.pod_affinity_term for w in held.preferred_during_scheduling_ignored_during_execution]
        within = f"{where}.preferredDuringSchedulingIgnoredDuringExecution[{{}}].podAffinityTerm"
        yield from _check_terms(preferred, within)


def _check_terms(terms: Iterable[PodAffinityTerm], path: str) -> Iterator[Violation]:
    for index, term in enumerate(terms):
        where = path.format(index)
        yield from selectors.check(term.label_selector, f"{where}.labelSelector")
        yield from selectors.check(term.namespace_selector, f"{where}.namespaceSelector")
        for number, namespace in enumerate(term.namespaces):
            if reason := formats.dns_label(namespace):
                yield Violation(f"{where}.namespaces[{number}]", reason)
        if set(term.match_label_keys) & set(term.mismatch_label_keys):
            yield Violation(f"{where}.matchLabelKeys", "may not have a key of mismatchLabelKeys")


def _check_spread(spec: PodSpec, path: str) -> Iterator[Violation]:
    seen: set[tuple[str, str]] = set()
    for index, constraint in enumerate(spec.topology_spread_constraints):
        where = f"{path}.topologySpreadConstraints[{index}]"
        yield from selectors.check(constraint.label_selector, f"{where}.labelSelector")
        if constraint.HasField("min_domains") and constraint.when_unsatisfiable != "DoNotSchedule":
            yield Violation(f"{where}.minDomains", 'needs whenUnsatisfiable "DoNotSchedule"')
        pair = (constraint.topology_key, constraint.when_unsatisfiable)
        if pair in seen:
            yield Violation(where, f'is there twice: topologyKey "{pair[0]}" with whenUnsatisfiable "{pair[1]}"')
        seen.add(pair)
