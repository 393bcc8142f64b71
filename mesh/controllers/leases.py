"""Deletes pods whose lease has run out: who wanted them has ended without a word (`model.leases`).

Rule: pure but for one value, since when there is a meshd to renew leases with: none runs out before that was possible.
"""

from collections.abc import Iterable

from mesh.admission.admit import Stamp, delete
from mesh.model import leases
from mesh.model.keys import Key
from mesh.model.kinds import key_of, revision_of
from mesh.model.pods import is_deleting
from mesh.model.times import SECOND
from mesh.reconcile.plan import NOTHING, Plan
from mesh.reconcile.record import record
from mesh.store.port import Event, Write
from mesh.v1.core_pb2 import Pod
from mesh.view import View


class Leases:
    """`began`: when this meshd did, in nanoseconds since the epoch."""

    name = "leases"

    def __init__(self, began: int) -> None:
        self._began = began

    def keys(self, event: Event) -> Iterable[Key]:
        """The pod, when it has a lease."""
        has = isinstance(event.object, Pod) and leases.SECONDS in event.object.metadata.annotations
        return (event.key,) if has else ()

    def reconcile(self, key: Key, view: View, now_ns: int) -> Plan:
        """Deletes the pod, or waits until it may come to that."""
        pod = view.pod(key.namespace, key.name)
        if pod is None or is_deleting(pod) or (end := leases.runs_out(pod)) is None:
            return NOTHING
        granted = leases.seconds(pod.metadata.annotations[leases.SECONDS]) * SECOND
        left = (max(end, self._began + granted) - now_ns) / SECOND
        if left > 0:
            return Plan((), left)
        wanted = delete(pod, None, view, Stamp(now_ns, "", "")).object
        said = record(view, pod, "LeaseExpired", "Whoever made the pod no longer says that it is wanted", now_ns)
        return Plan([Write(key_of(pod), wanted, revision_of(pod)), *said])
