"""The scheduler: gives every pod that waits for a node its node, or says in words why there is none (K4).

Rule: pure, a controller with one key: all pending pods are placed in one pass and bound in one commit. It looks again
when a node or what takes room on one has changed, never by the clock.
"""

from collections.abc import Iterable

from mesh.admission.admit import bind
from mesh.model.conditions import find, set_condition
from mesh.model.keys import Key
from mesh.model.kinds import key_of, revision_of
from mesh.model.pods import is_terminal
from mesh.reconcile.plan import NOTHING, Plan
from mesh.reconcile.record import record
from mesh.scheduler.pipeline import Placement, place
from mesh.store.port import Event, Write
from mesh.v1.core_pb2 import Node, Pod
from mesh.view import View

ALL = Key("Scheduler", "", "all")


class Scheduler:
    """See the module."""

    name = "scheduler"

    def keys(self, event: Event) -> Iterable[Key]:
        """The one key, when the event may change where a pod can go."""
        return (ALL,) if _matters(event) else ()

    def reconcile(self, _key: Key, view: View, now_ns: int) -> Plan:
        """Binds what can be placed; says of the rest why not, once per reason."""
        writes = [write for placement in place(view) for write in _writes(placement, view, now_ns)]
        return Plan(writes) if writes else NOTHING


def _writes(placement: Placement, view: View, now_ns: int) -> list[Write]:
    pod = placement.pod
    name = f"{pod.metadata.namespace}/{pod.metadata.name}"
    if placement.node:
        bound = bind(pod, placement.node, now_ns)
        told = record(view, pod, "Scheduled", f"Successfully assigned {name} to {placement.node}", now_ns)
        return [Write(key_of(pod), bound, revision_of(pod)), *told]
    said = find(pod.status.conditions, "PodScheduled")
    if said is not None and said.status == "False" and said.message == placement.why_not:
        return []
    waiting = Pod()
    waiting.CopyFrom(pod)
    set_condition(
        waiting.status.conditions,
        "PodScheduled",
        "False",
        now=now_ns,
        reason="Unschedulable",
        message=placement.why_not,
    )
    told = record(view, pod, "FailedScheduling", placement.why_not, now_ns, warning=True)
    return [Write(key_of(pod), waiting, revision_of(pod)), *told]


def _matters(event: Event) -> bool:
    now, before = event.object, event.previous
    if isinstance(now, Node) or isinstance(before, Node):
        return _of_node(now) != _of_node(before)
    if isinstance(now, Pod) and not now.spec.node_name:
        return not isinstance(before, Pod) or before.spec != now.spec
    if isinstance(before, Pod) and before.spec.node_name and not is_terminal(before):
        return not isinstance(now, Pod) or is_terminal(now)
    return False


def _of_node(node: object) -> object:
    """What of a node decides who may go there."""
    if not isinstance(node, Node):
        return None
    ready = find(node.status.conditions, "Ready")
    room = dict(node.status.allocatable) or dict(node.status.capacity)
    return dict(node.metadata.labels), node.spec, room, ready.status if ready is not None else ""
