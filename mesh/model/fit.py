"""Whether a pod may run on a node: what the scheduler asks before it binds and the agent before it starts (K1, K7).

Rule: each check returns why not, in Kubernetes' words, or "" (or nothing) when the pod fits.
"""

from collections.abc import Iterable, Mapping

from mesh.model import quantity
from mesh.model.pods import effective_requests, held_requests, is_sidecar, is_terminal, qos_class
from mesh.model.selectors import requirement_met
from mesh.v1.core_pb2 import Node, NodeSelectorTerm, Pod, Taint, Toleration

DEFAULT_MAX_PODS = 110  # (R8)
UNSCHEDULABLE_TAINT = "node.kubernetes.io/unschedulable"
Port = tuple[str, int, str]  # protocol, number, address of the host ("" for all of them)
UNREACHABLE_TAINT = "node.kubernetes.io/unreachable"
MEMORY_PRESSURE_TAINT = "node.kubernetes.io/memory-pressure"


def node_name(pod: Pod, node: Node) -> str:
    """spec.nodeName, when set, names the node."""
    wanted = pod.spec.node_name
    return "" if wanted in ("", node.metadata.name) else "node(s) didn't match the requested node name"


def unschedulable(pod: Pod, node: Node) -> str:
    """A cordoned node takes only pods that tolerate it (N7)."""
    cordoned = Taint(key=UNSCHEDULABLE_TAINT, effect="NoSchedule")
    if not node.spec.unschedulable or any(tolerates(t, cordoned) for t in pod.spec.tolerations):
        return ""
    return "node(s) were unschedulable"


def taints(pod: Pod, node: Node) -> str:
    """NoSchedule and NoExecute taints must be tolerated; memory pressure keeps BestEffort pods away alone (N2)."""
    for taint in node.spec.taints:
        if taint.key == MEMORY_PRESSURE_TAINT and taint.effect == "NoSchedule" and qos_class(pod.spec) != "BestEffort":
            continue
        if taint.effect in ("NoSchedule", "NoExecute") and not any(tolerates(t, taint) for t in pod.spec.tolerations):
            return f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
    return ""


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Whether a toleration covers a taint; an empty key with Exists covers every key, an empty effect every effect."""
    if toleration.effect not in ("", taint.effect):
        return False
    if toleration.operator == "Exists":
        return toleration.key in ("", taint.key)
    if toleration.key != taint.key:
        return False
    if toleration.operator in ("Lt", "Gt"):
        try:
            have, bound = int(taint.value), int(toleration.value)
        except ValueError:
            return False
        return have < bound if toleration.operator == "Lt" else have > bound
    return toleration.value == taint.value


def affinity(pod: Pod, node: Node) -> str:
    """nodeSelector and required nodeAffinity match the node's labels."""
    labels = node.metadata.labels
    matched = all(labels.get(key) == value for key, value in pod.spec.node_selector.items())
    required = pod.spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution
    if pod.spec.affinity.node_affinity.HasField("required_during_scheduling_ignored_during_execution"):
        matched = matched and any(term_matches(t, node) for t in required.node_selector_terms)
    return "" if matched else "node(s) didn't match Pod's node affinity/selector"


def term_matches(term: NodeSelectorTerm, node: Node) -> bool:
    """All requirements of a term hold; an empty term matches nothing."""
    if not term.match_expressions and not term.match_fields:
        return False
    fields = {"metadata.name": node.metadata.name}
    return all(requirement_met(r, node.metadata.labels) for r in term.match_expressions) and all(
        requirement_met(r, fields) for r in term.match_fields
    )


def ports_of(pod: Pod) -> list[Port]:
    """The ports of its host that a pod takes."""
    return [
        (port.protocol or "TCP", port.host_port, "" if port.host_ip in ("", "0.0.0.0") else port.host_ip)  # noqa: S104
        for container in (*filter(is_sidecar, pod.spec.init_containers), *pod.spec.containers)
        for port in container.ports
        if port.host_port
    ]


def clash(mine: Iterable[Port], theirs: Iterable[Port]) -> bool:
    """Whether two pods want the same port of one host; an address of its own clashes with all addresses."""
    taken = list(theirs)
    return any(
        (a[0], a[1]) == (b[0], b[1]) and (not a[2] or not b[2] or a[2] == b[2]) for a in mine for b in taken
    )  # fmt: skip


def used_by(pods: Iterable[Pod]) -> dict[str, int]:
    """What pods that are not over take together, and how many they are ("pods"); units as `quantity.amount`."""
    total: dict[str, int] = {"pods": 0}
    for pod in pods:
        if is_terminal(pod):
            continue
        total["pods"] += 1
        for name, amount in held_requests(pod).items():
            total[name] = total.get(name, 0) + amount
    return total


def allocatable_of(node: Node) -> dict[str, int]:
    """What a node has to give; units as `quantity.amount`; 110 pods when it does not say."""
    given = node.status.allocatable or node.status.capacity
    found = {"pods": DEFAULT_MAX_PODS}
    for name, text in given.items():
        try:
            found[name] = quantity.amount(name, text)
        except ValueError:
            found[name] = 0
    return found


def too_many_pods(used: Mapping[str, int], allocatable: Mapping[str, int]) -> str:
    """One more pod stays within maxPods."""
    return "Too many pods" if used.get("pods", 0) + 1 > allocatable.get("pods", DEFAULT_MAX_PODS) else ""


def insufficient(pod: Pod, used: Mapping[str, int], allocatable: Mapping[str, int]) -> tuple[str, ...]:
    """The resources whose requests no longer fit, one reason each: ("Insufficient cpu", "Insufficient memory")."""
    return tuple(
        f"Insufficient {name}"
        for name, amount in sorted(effective_requests(pod).items())
        if amount > 0 and used.get(name, 0) + amount > allocatable.get(name, 0)
    )


def why_not(pod: Pod, node: Node, used: Mapping[str, int]) -> tuple[str, ...]:
    """Every reason against this pod on this node, `used` by the pods that are there already (`used_by`)."""
    allocatable = allocatable_of(node)
    reasons = (node_name(pod, node), unschedulable(pod, node), affinity(pod, node), taints(pod, node))
    return (
        *filter(None, (*reasons, too_many_pods(used, allocatable))),
        *insufficient(pod, used, allocatable),
    )
