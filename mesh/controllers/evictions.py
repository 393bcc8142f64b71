"""Pods leave nodes whose NoExecute taints they do not tolerate, or no longer do (N3); those of a host known to be
off have ended (N5).

Rule: pure. A pod that says nothing of not-ready and unreachable hosts stays on one for the mesh's own few seconds; what
it says itself counts. A pod on a silent host is only asked to go: its object stays until the host, or who confirms that
the host is off, says that it has ended, so that a pod with a name is never up twice.
"""

from collections.abc import Iterable

from mesh.admission.admit import Stamp, delete
from mesh.controllers.leftovers import ended
from mesh.controllers.nodekeys import NodeKeys
from mesh.controllers.nodes import NOT_READY, OUT_OF_SERVICE, UNREACHABLE, ready_of
from mesh.model import fit
from mesh.model.conditions import set_condition
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.kinds import key_of, revision_of
from mesh.model.pods import is_deleting, is_mirror, is_terminal
from mesh.model.times import SECOND, from_timestamp
from mesh.reconcile.plan import NOTHING, Plan
from mesh.reconcile.record import record
from mesh.store.port import Event, Write
from mesh.v1.core_pb2 import Node, Pod, Taint
from mesh.view import View

DELAY = 5.0  # seconds that pods without a word of their own stay on a host that is not ready
_WHY = "Taint manager: deleting due to NoExecute taint"


class Evictions:
    """`delay`: seconds, see DELAY."""

    name = "evictions"

    def __init__(self, delay: float = DELAY) -> None:
        self._delay = delay
        self._nodes = NodeKeys(lambda node: bool(_taints(node)))

    def keys(self, event: Event) -> Iterable[Key]:
        """The node of the event, when it drives pods away; of a pod's event, only if it did so before."""
        return self._nodes.of(event)

    def reconcile(self, key: Key, view: View, now_ns: int) -> Plan:
        """Asks pods to go whose time is over; removes those of a host that is off."""
        node = view.node(key.name)
        taints = _taints(node) if node is not None else []
        if node is None or not taints:
            return NOTHING
        off = ready_of(node) != "True" and any(t.key == OUT_OF_SERVICE for t in node.spec.taints)
        writes: list[Write] = []
        waits: list[float] = []
        for pod in view.pods_on(key.name):
            if is_mirror(pod):
                continue
            if is_deleting(pod):
                writes += ended(pod, "PodGC: node is out of service", now_ns) if off else []
            elif not is_terminal(pod) and (due := self._due(pod, taints)) is not None:
                if due <= now_ns:
                    writes += _evicted(pod, view, now_ns)
                else:
                    waits.append((due - now_ns) / SECOND)
        return Plan(writes, min(waits, default=None))

    def _due(self, pod: Pod, taints: list[Taint]) -> int | None:
        """When the pod has to go, in nanoseconds since the epoch; None: it may stay."""
        born = from_timestamp(pod.metadata.creation_timestamp)
        ends = []
        for taint in taints:
            seconds = self._tolerated(pod, taint)
            if seconds is not None:
                ends.append(max(from_timestamp(taint.time_added), born) + round(seconds * SECOND))
        return min(ends, default=None)

    def _tolerated(self, pod: Pod, taint: Taint) -> float | None:
        """For how many seconds the pod bears the taint: of the first toleration that covers it; None for ever."""
        for toleration in pod.spec.tolerations:
            if fit.tolerates(toleration, taint):
                given = toleration.HasField("toleration_seconds")
                return max(0.0, float(toleration.toleration_seconds)) if given else None
        return self._delay if taint.key in (NOT_READY, UNREACHABLE) else 0.0


def _taints(node: Node) -> list[Taint]:
    return [t for t in node.spec.taints if t.effect == "NoExecute"]


def _evicted(pod: Pod, view: View, now_ns: int) -> list[Write]:
    told = copy_of(pod)
    set_condition(told.status.conditions, "DisruptionTarget", "True", now=now_ns, reason="DeletionByTaintManager",
                  message=_WHY)  # fmt: skip
    wanted = delete(told, None, view, Stamp(now_ns, "", "")).object
    name = f"{pod.metadata.namespace}/{pod.metadata.name}"
    said = record(view, pod, "TaintManagerEviction", f"Marking for deletion Pod {name}", now_ns)
    return [Write(key_of(pod), wanted, revision_of(pod)), *said]
