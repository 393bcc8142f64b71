"""Pods that nobody would ever say the end of: their host is not there, or they have long ended and are too many (N6).

Rule: pure but for one memory, since when a node is missing. A pod whose node has no Node object is removed after 40 s,
and not before: the host may be about to join.
"""

from collections.abc import Iterable

from mesh.model.conditions import set_condition
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.kinds import key_of, revision_of
from mesh.model.pods import is_terminal
from mesh.model.times import SECOND, from_timestamp, whole_seconds
from mesh.reconcile.plan import NOTHING, Plan
from mesh.store.port import Event, Write
from mesh.v1.core_pb2 import Node, Pod
from mesh.view import View

QUARANTINE = 40  # seconds
PERIOD = 20.0  # seconds between two looks at those that have ended
MOST_ENDED = 12_500
_ENDED = Key("Pods", "", "ended")


class Leftovers:
    """`most_ended`: how many pods that have ended are kept, the newest."""

    name = "leftovers"

    def __init__(self, most_ended: int = MOST_ENDED) -> None:
        self._most_ended = most_ended
        self._missing: dict[str, int] = {}  # nodes that pods name, and since when they are missed

    def keys(self, event: Event) -> Iterable[Key]:
        """The pod of the event, when its host matters; the node that came or went."""
        obj = event.object
        if event.key.kind == "Node":
            return (event.key,) if (obj is None) != (event.previous is None) else ()
        if not isinstance(obj, Pod):
            return ()
        ended = (_ENDED,) if is_terminal(obj) else ()
        before = event.previous
        moved = not isinstance(before, Pod) or before.spec.node_name != obj.spec.node_name
        return (event.key, *ended) if moved or obj.metadata.HasField("deletion_timestamp") else ended

    def reconcile(self, key: Key, view: View, now_ns: int) -> Plan:
        """Removes what has waited long enough, and looks again as long as it may come to that."""
        if key == _ENDED:
            return self._thin_out(view)
        if key.kind == "Node":
            return self._orphans(key.name, view, now_ns)
        pod = view.pod(key.namespace, key.name)
        if pod is None or not pod.spec.node_name or view.node(pod.spec.node_name) is not None:
            return NOTHING
        left = self._left(pod, now_ns)
        return Plan((), left) if left > 0 else Plan(ended(pod, "PodGC: node no longer exists", now_ns))

    def _left(self, pod: Pod, now_ns: int) -> float:
        """Seconds that the pod may still wait for its node."""
        missed = self._missing.setdefault(pod.spec.node_name, now_ns)
        meta = pod.metadata
        if meta.HasField("deletion_timestamp"):
            asked = from_timestamp(meta.deletion_timestamp) - meta.deletion_grace_period_seconds * SECOND
            missed = min(missed, asked)
        return QUARANTINE - (now_ns - missed) / SECOND

    def _orphans(self, name: str, view: View, now_ns: int) -> Plan:
        if isinstance(view.node(name), Node):
            self._missing.pop(name, None)
            return NOTHING
        plans = [self.reconcile(key_of(pod), view, now_ns) for pod in view.pods_on(name)]
        waits = [p.requeue_after for p in plans if p.requeue_after is not None]
        return Plan([w for p in plans for w in p.writes], min(waits, default=None))

    def _thin_out(self, view: View) -> Plan:
        if view.count("Pod") <= self._most_ended:
            return NOTHING
        over = [p for p in view.pods() if is_terminal(p) and not p.metadata.HasField("deletion_timestamp")]
        over.sort(key=lambda p: (from_timestamp(p.metadata.creation_timestamp), p.metadata.name))
        doomed = [p for p in over[: max(0, len(over) - self._most_ended)] if not p.metadata.finalizers]
        return Plan([Write(key_of(p), None, revision_of(p)) for p in doomed[:1000]], PERIOD)


def ended(pod: Pod, why: str, now_ns: int) -> list[Write]:
    """The pod has ended with its host, and nobody will come to say so: it is removed, or waits for its finalizers."""
    if not pod.metadata.finalizers:
        return [Write(key_of(pod), None, revision_of(pod))]
    over = copy_of(pod)
    if not over.metadata.HasField("deletion_timestamp"):
        over.metadata.deletion_timestamp.CopyFrom(whole_seconds(now_ns))
    over.metadata.deletion_grace_period_seconds = 0
    if not is_terminal(over):
        over.status.phase = "Failed"
        set_condition(over.status.conditions, "DisruptionTarget", "True", now=now_ns, reason="DeletionByPodGC",
                      message=why)  # fmt: skip
    return [Write(key_of(pod), over, revision_of(pod))] if over != pod else []
