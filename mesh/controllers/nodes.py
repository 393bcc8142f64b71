"""Readiness of nodes: what silence means, and the taints that follow from a node's conditions (N1, N2).

Rule: pure. Ready is the host's own word as long as it speaks; here it only becomes Unknown. Taints of these two keys
are ours alone: they follow the condition, whoever wrote them. A silent host's pods are left alone (N5); moving them
comes with workload controllers.
"""

from collections.abc import Iterable

from mesh.model.conditions import find
from mesh.model.keys import Key
from mesh.model.kinds import key_of, revision_of
from mesh.model.times import whole_seconds
from mesh.reconcile.plan import NOTHING, Plan
from mesh.reconcile.record import record
from mesh.store.port import Event, Write
from mesh.v1.core_pb2 import Node, NodeSpec, Taint
from mesh.view import View

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
_OURS = (NOT_READY, UNREACHABLE)
_EFFECTS = ("NoSchedule", "NoExecute")


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
    _taint(node.spec, "Unknown", now_ns)
    told = record(view, node, "NodeNotReady", f"Node {name} status is now: NodeNotReady", now_ns, warning=True)
    return [Write(key_of(node), node, revision_of(held)), *told]


class Nodes:
    """Makes the taints of nodes say what their Ready conditions say."""

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
        _taint(node.spec, _ready(held), now_ns)
        if node == held:
            return NOTHING
        writes = [Write(key, node, revision_of(held))]
        if _ready(held) == "True":
            writes += record(view, node, "NodeReady", f"Node {key.name} status is now: NodeReady", now_ns)
        return Plan(writes)


def _ready(node: Node) -> str:
    """The status of Ready; a node that says nothing of it is not ready."""
    condition = find(node.status.conditions, "Ready")
    return condition.status if condition is not None else "False"


def _taint(spec: NodeSpec, ready: str, now_ns: int) -> None:
    key = {"True": "", "Unknown": UNREACHABLE}.get(ready, NOT_READY)
    held = [t for t in spec.taints if t.key == key]
    wanted = held if {t.effect for t in held} >= set(_EFFECTS) else []
    if key and not wanted:
        time = whole_seconds(now_ns)
        wanted = [Taint(key=key, effect=effect, time_added=time) for effect in _EFFECTS]
    kept = [t for t in spec.taints if t.key not in _OURS]
    fresh = [*kept, *wanted] if key else kept
    copies = [Taint.FromString(t.SerializeToString()) for t in fresh]
    del spec.taints[:]
    spec.taints.extend(copies)
