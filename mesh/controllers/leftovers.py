"""Pods that wait for a host that is not there: once deleted, nobody would ever say that they are gone (N6).

Rule: pure. A pod whose node has no Node object is removed 40 s after its deletion was asked for, and not before: the
host may be about to join.
"""

from collections.abc import Iterable

from mesh.model.keys import Key
from mesh.model.kinds import revision_of
from mesh.model.times import SECOND, from_timestamp
from mesh.reconcile.plan import NOTHING, Plan
from mesh.store.port import Event, Write
from mesh.v1.core_pb2 import Pod
from mesh.view import View

QUARANTINE = 40  # seconds


class Leftovers:
    """See the module."""

    name = "leftovers"

    def keys(self, event: Event) -> Iterable[Key]:
        """The pod of the event, when it is being deleted."""
        pod = event.object
        return (event.key,) if isinstance(pod, Pod) and pod.metadata.HasField("deletion_timestamp") else ()

    def reconcile(self, key: Key, view: View, now_ns: int) -> Plan:
        """Removes the pod once it has waited long enough, and looks again as long as it may come to that."""
        pod = view.pod(key.namespace, key.name)
        if pod is None or not pod.metadata.HasField("deletion_timestamp") or pod.metadata.finalizers:
            return NOTHING
        if pod.spec.node_name and view.node(pod.spec.node_name) is not None:
            return Plan((), QUARANTINE)
        asked = from_timestamp(pod.metadata.deletion_timestamp) - pod.metadata.deletion_grace_period_seconds * SECOND
        left = QUARANTINE - (now_ns - asked) / SECOND
        return Plan((), left) if left > 0 else Plan([Write(key, None, revision_of(pod))])
