"""Readiness of nodes: what silence means, and the taints that follow from a node's conditions (N1, N2).

Rule: pure. Ready is the host's own word as long as it speaks; here it only becomes Unknown. Taints of these keys are
ours alone: they follow the conditions, whoever wrote them. A silent host's pods are left alone (N5); moving them comes
with workload controllers.
"""

from collections.abc import Iterable

from mesh.model import fit
from mesh.model.conditions import find, is_true
from mesh.model.keys import Key
from mesh.model.kinds import key_of, revision_of
from mesh.model.times import whole_seconds
from mesh.reconcile.plan import NOTHING, Plan
from mesh.reconcile.record import record
from mesh.store.port import Event, Write
from mesh.v1.core_pb2 import Node, Taint
from mesh.view import View

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
_EFFECTS = ("NoSchedule", "NoExecute")
# A condition that is true keeps new pods away, and no more (N2).
_PRESSURES = {
    "MemoryPressure": fit.MEMORY_PRESSURE_TAINT,
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_OURS = (NOT_READY, UNREACHABLE, *_PRESSURES.values())


def silent(name: str, view: View, now_ns: int) -> list[Write]:
    """Every condition of a node that no longer answers becomes Unknown (N1); nothing when that is said already."""
    held = view.node(name)
    if held is None or _ready(held) == "Unknown":
        return []
    node = Node()
    node.CopyFrom(held)
    if find(node.status.conditions, "Ready") is None:
        node.status.conditions.add(type="Ready")
    for condition in node.status.conditions:
        if condition.status != "Unknown":
            condition.status = "Unknown"
            condition.reason = "NodeStatusUnknown"
            condition.message = "The host's agent stopped answering."
            condition.last_transition_time.CopyFrom(whole_seconds(now_ns))
    _taint(node, now_ns)
    told = record(view, node, "NodeNotReady", f"Node {name} status is now: NodeNotReady", now_ns, warning=True)
    return [Write(key_of(node), node, revision_of(held)), *told]


class Nodes:
    """Makes the taints of nodes say what their conditions say."""

    name = "nodes"

    def keys(self, event: Event) -> Iterable[Key]:
        """The node that the event is about."""
        return (event.key,) if event.key.kind == "Node" and event.object is not None else ()

    def reconcile(self, key: Key, view: View, now_ns: int) -> Plan:
        """The taints of one node, and word of a node that is ready again."""
        held = view.node(key.name)
        if held is None:
            return NOTHING
        node = Node()
        node.CopyFrom(held)
        _taint(node, now_ns)
        if node == held:
            return NOTHING
        writes = [Write(key, node, revision_of(held))]
        if _ready(held) == "True" and _blocked(held) and not _blocked(node):
            writes += record(view, node, "NodeReady", f"Node {key.name} status is now: NodeReady", now_ns)
        return Plan(writes)


def _ready(node: Node) -> str:
    """The status of Ready; a node that says nothing of it is not ready."""
    condition = find(node.status.conditions, "Ready")
    return condition.status if condition is not None else "False"


def _blocked(node: Node) -> bool:
    """It bears a taint of a node that is not ready."""
    return any(t.key in (NOT_READY, UNREACHABLE) for t in node.spec.taints)


def _taint(node: Node, now_ns: int) -> None:
    wanted = _wanted(node)
    held = {(t.key, t.effect): t for t in node.spec.taints if t.key in _OURS}
    time = whole_seconds(now_ns)
    ours = [held.get(w) or Taint(key=w[0], effect=w[1], time_added=time) for w in wanted]
    fresh = [t for t in node.spec.taints if t.key not in _OURS] + ours
    copies = [Taint.FromString(t.SerializeToString()) for t in fresh]
    if sorted(wanted) != sorted((t.key, t.effect) for t in node.spec.taints if t.key in _OURS):
        del node.spec.taints[:]
        node.spec.taints.extend(copies)


def _wanted(node: Node) -> list[tuple[str, str]]:
    key = {"True": "", "Unknown": UNREACHABLE}.get(_ready(node), NOT_READY)
    return [
        *((key, effect) for effect in _EFFECTS if key),
        *((taint, "NoSchedule") for name, taint in _PRESSURES.items() if is_true(node.status.conditions, name)),
    ]
