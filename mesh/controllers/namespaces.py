"""The end of a namespace: everything in it is deleted, then it is itself.

Rule: pure. Pods go the graceful way; what waits for a host or for a finalizer is waited for, events go last.
"""

from collections.abc import Iterable

from mesh.controllers.children import deletion
from mesh.model.keys import Key
from mesh.model.kinds import key_of, revision_of, served_kinds
from mesh.reconcile.plan import NOTHING, Plan
from mesh.store.port import Event, Write
from mesh.view import View

_MOST = 1000  # objects of one commit


class Namespaces:
    """See the module."""

    name = "namespaces"

    def keys(self, event: Event) -> Iterable[Key]:
        """The namespace, when it or something in it has changed."""
        if event.key.kind == "Namespace":
            return (event.key,)
        return (Key("Namespace", "", event.key.namespace),) if event.key.namespace else ()

    def reconcile(self, key: Key, view: View, now_ns: int) -> Plan:
        """The next step to the end of a namespace that is being deleted."""
        held = view.namespace(key.name)
        if held is None or not held.metadata.HasField("deletion_timestamp"):
            return NOTHING
        left = [obj for kind in served_kinds() if kind.namespaced for obj in view.of_kind(kind.name, key.name)]
        last = [obj for obj in left if key_of(obj).kind == "Event"]
        first = [obj for obj in left if key_of(obj).kind != "Event"]
        if first:
            return Plan([write for obj in first[:_MOST] for write in deletion(obj, view, now_ns)])
        if len(last) > _MOST:
            return Plan([Write(key_of(obj), None, revision_of(obj)) for obj in last[:_MOST]])
        if held.metadata.finalizers:
            return NOTHING
        return Plan([Write(key_of(obj), None, revision_of(obj)) for obj in (*last, held)])
