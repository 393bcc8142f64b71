"""Status of Ingresses: where clients reach them, and word to the one that lost something to another.

Rule: pure. A reserved address is admission's to write; everything else of the status is written here. What an Ingress
lost is told as an event when it changes: the newest told is remembered in no object, so it is told again after a start
only as a count.
"""

from collections.abc import Iterable, Iterator

from mesh.model.conditions import status_of
from mesh.model.ingress import backends_of, class_of, is_ours, options_of
from mesh.model.keys import Key
from mesh.model.kinds import key_of, revision_of
from mesh.network import ingress
from mesh.reconcile.plan import NOTHING, Plan
from mesh.reconcile.record import record
from mesh.store.port import Event, Write
from mesh.v1.core_pb2 import Event as Told
from mesh.v1.core_pb2 import Node, Secret
from mesh.v1.net_pb2 import Ingress, IngressClass, IngressStatus, Service
from mesh.view import View

_ALL = Key("Ingresses", "", "all")  # what one wants another may have: one key for all
CONFLICT, MISSING = "IngressConflict", "IngressIncomplete"


class Ingresses:
    """See the module."""

    name = "ingress"

    def keys(self, event: Event) -> Iterable[Key]:
        """The one key, for whatever could change a status or a word."""
        some = event.object if event.object is not None else event.previous
        if isinstance(some, Node):
            return (_ALL,) if _reached(event.object) != _reached(event.previous) else ()
        if isinstance(some, Service | Secret):
            return (_ALL,) if event.object is None or event.previous is None else ()
        return (_ALL,) if isinstance(some, Ingress | IngressClass) else ()

    def reconcile(self, _key: Key, view: View, now_ns: int) -> Plan:
        """The statuses that are not as they should be, and what is to be said."""
        if not view.count("Ingress"):
            return NOTHING
        where, lost = ingress.addresses(view), ingress.routes(view).conflicts
        writes: list[Write] = []
        for obj in view.of_kind("Ingress"):
            if isinstance(obj, Ingress):
                writes += _status(obj, where, view)
                if ingress.is_ours(obj, view):
                    writes += _words(obj, lost.get(f"{obj.metadata.namespace}/{obj.metadata.name}", []), view, now_ns)
        return Plan(writes)


def _status(obj: Ingress, where: list[str], view: View) -> list[Write]:
    if ingress.reserved(obj):
        return []
    wanted = IngressStatus()
    if ingress.is_ours(obj, view):
        for address in where:
            entry = wanted.load_balancer.ingress.add(ip=address)
            for port in ingress.PORTS:
                entry.ports.add(port=port, protocol="TCP")
    elif not _was_ours(obj, view):
        return []
    if obj.status == wanted:
        return []
    changed = Ingress()
    changed.CopyFrom(obj)
    changed.status.CopyFrom(wanted)
    return [Write(key_of(obj), changed, revision_of(obj))]


def _was_ours(obj: Ingress, view: View) -> bool:
    """Whether nobody else writes its status: its class is not another engine's."""
    found = view.get(Key("IngressClass", "", class_of(obj)))
    return not (isinstance(found, IngressClass) and not is_ours(found))


def _words(obj: Ingress, lost: list[str], view: View, now_ns: int) -> list[Write]:
    writes: list[Write] = []
    for reason, words in ((CONFLICT, lost), (MISSING, list(missing(obj, view)))):
        if words and not _told(obj, reason, message := "; ".join(words), view):
            writes += record(view, obj, reason, message, now_ns, warning=True)
    return writes


def _told(obj: Ingress, reason: str, message: str, view: View) -> bool:
    return any(
        isinstance(e, Told) and (e.involved_object.uid, e.reason, e.message) == (obj.metadata.uid, reason, message)
        for e in view.of_kind("Event", obj.metadata.namespace)
    )


def missing(obj: Ingress, view: View) -> Iterator[str]:
    """What it names and is not there, or can't be served."""
    namespace = obj.metadata.namespace
    names = dict.fromkeys(backend.service.name for _, backend in backends_of(obj))
    options = options_of(obj.metadata.annotations)
    for name in (*names, *([options.canary] if options.canary else ())):
        found = view.get(Key("Service", namespace, name))
        if not isinstance(found, Service):
            yield f'there is no Service "{name}"'
        elif found.spec.type == "ExternalName":
            yield f'the Service "{name}" is another name, which is not honoured as a backend'
    for name in dict.fromkeys(tls.secret_name for tls in obj.spec.tls if tls.secret_name):
        secret = view.get(Key("Secret", namespace, name))
        if not isinstance(secret, Secret):
            yield f'there is no Secret "{name}"'
        elif not secret.data.get("tls.crt") or not secret.data.get("tls.key"):
            yield f'the Secret "{name}" has no tls.crt and tls.key'
    if options.passwords and not isinstance(view.get(Key("Secret", namespace, options.passwords)), Secret):
        yield f'there is no Secret "{options.passwords}"'


def _reached(node: object) -> tuple[object, ...]:
    if not isinstance(node, Node):
        return ()
    ready = status_of(node.status.conditions, "Ready")
    return ingress.serves(node), ready, [(a.type, a.address) for a in node.status.addresses]
