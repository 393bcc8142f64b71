"""What `mesh describe` tells of an object: kubectl's words and order, per kind.

Rule: pure; `now` is seconds since the epoch. A kind without words of its own is told field by field. Secrets' values
are never shown, only how long they are.
"""

from collections.abc import Callable, Sequence
from typing import Any

from mesh.cli.ingressdetails import describe_ingress
from mesh.cli.poddetails import describe_pod, moment
from mesh.cli.printers import event_age, event_source, last_seen, node_roles
from mesh.cli.scaledetails import describe_autoscaler
from mesh.cli.servicedetails import ServiceFacts, describe_service
from mesh.cli.sheets import Sheet
from mesh.cli.workloaddetails import WORKLOADS, describe_workload
from mesh.model import manifest, pods, quantity
from mesh.model.kinds import Object
from mesh.model.quantity import Quantity
from mesh.v1.core_pb2 import ConfigMap, Event, Namespace, Node, Pod, Secret
from mesh.v1.net_pb2 import Ingress, Service

_NO_FACTS = ServiceFacts()
_LAST_APPLIED = "mesh/last-applied-configuration"


def describe(
    obj: Object, events: Sequence[Event], related: Sequence[Pod], now: float, facts: ServiceFacts = _NO_FACTS
) -> str:
    """Everything worth telling. `events` are the object's own, `related` the pods on a node, `facts` of a Service."""
    sheet = Sheet().add("Name", obj.metadata.name)
    sheet.maybe("Namespace", obj.metadata.namespace)
    if isinstance(obj, Pod):
        describe_pod(sheet, obj)
    elif isinstance(obj, Node):
        _node(sheet, obj, related)
    elif isinstance(obj, Service):
        identity(sheet, obj)
        describe_service(sheet, obj, facts)
    elif isinstance(obj, Ingress):
        identity(sheet, obj)
        describe_ingress(sheet, obj, facts)
    else:
        identity(sheet, obj)
        _OTHERS.get(obj.DESCRIPTOR.name, _generic)(sheet, obj)
    if not isinstance(obj, ConfigMap | Secret) or events:
        _events(sheet, events, now)
    return "\n".join(sheet.render()) + "\n"


def identity(sheet: Sheet, obj: Object) -> None:
    """Labels and annotations, without what the service keeps for itself."""
    sheet.map("Labels", obj.metadata.labels)
    sheet.map("Annotations", {k: v for k, v in obj.metadata.annotations.items() if k != _LAST_APPLIED})


def _events(sheet: Sheet, events: Sequence[Event], now: float) -> None:
    rows = [
        (e.type, e.reason, event_age(e, now), event_source(e), " ".join(e.message.split()))
        for e in sorted(events, key=last_seen)
    ]
    sheet.columns("Events", ("Type", "Reason", "Age", "From", "Message"), rows)


# ---- nodes --------------------------------------------------------------------------------------------------------


def _node(sheet: Sheet, node: Node, on_it: Sequence[Pod]) -> None:
    sheet.add("Roles", node_roles(node))
    identity(sheet, node)
    sheet.add("CreationTimestamp", moment(node.metadata.creation_timestamp))
    sheet.many("Taints", [f"{t.key}{'=' + t.value if t.value else ''}:{t.effect}" for t in node.spec.taints])
    sheet.add("Unschedulable", str(node.spec.unschedulable).lower())
    rows = [
        (c.type, c.status, moment(c.last_heartbeat_time), moment(c.last_transition_time), c.reason, c.message)
        for c in node.status.conditions
    ]
    titles = ("Type", "Status", "LastHeartbeatTime", "LastTransitionTime", "Reason", "Message")
    sheet.columns("Conditions", titles, rows)
    sheet.below("Addresses", _pairs([(a.type, a.address) for a in node.status.addresses]))
    sheet.below("Capacity", _pairs(sorted(node.status.capacity.items())))
    sheet.below("Allocatable", _pairs(sorted(node.status.allocatable.items())))
    info = manifest.to_dict(node.status.node_info)
    sheet.below("System Info", _pairs([(_title(k), str(v)) for k, v in info.items()]))
    sheet.maybe("PodCIDR", node.spec.pod_cidr)
    _pods_on(sheet, node, [p for p in on_it if not pods.is_terminal(p)])


def _pods_on(sheet: Sheet, node: Node, running: Sequence[Pod]) -> None:
    rows = []
    for pod in running:
        asked = [str(_sum(pod, what, name)) for name in ("cpu", "memory") for what in ("requests", "limits")]
        rows.append((pod.metadata.namespace, pod.metadata.name, *asked))
    titles = ("Namespace", "Name", "CPU Requests", "CPU Limits", "Memory Requests", "Memory Limits")
    sheet.columns(f"Non-terminated Pods ({len(rows)} in total)", titles, rows)
    sums = []
    for name in ("cpu", "memory"):
        room = _amount(node.status.allocatable.get(name, ""))
        sums.append((name, *(_share(running, what, name, room) for what in ("requests", "limits"))))
    sheet.columns("Allocated resources", ("Resource", "Requests", "Limits"), sums)


def _share(running: Sequence[Pod], what: str, name: str, room: Quantity) -> str:
    total = quantity.total(_sum(pod, what, name) for pod in running)
    return str(Quantity(total.nanos, "binary" if name == "memory" else "decimal")) + (
        f" ({total.nanos * 100 / room.nanos:.0f}%)" if room.nanos else ""
    )


def _sum(pod: Pod, what: str, name: str) -> Quantity:
    total = quantity.total(_amount(getattr(c.resources, what).get(name, "")) for c in pod.spec.containers)
    return Quantity(total.nanos, "binary" if name == "memory" else "decimal")


def _amount(text: str) -> Quantity:
    try:
        return quantity.parse(text) if text else Quantity(0)
    except ValueError:
        return Quantity(0)


def _pairs(pairs: Sequence[tuple[str, str]]) -> Sheet:
    sheet = Sheet()
    for key, value in pairs:
        sheet.add(key, value)
    return sheet


# ---- the others ---------------------------------------------------------------------------------------------------


def _namespace(sheet: Sheet, obj: Any) -> None:
    namespace: Namespace = obj
    sheet.add("Status", namespace.status.phase or "Active")


def _config_map(sheet: Sheet, obj: Any) -> None:
    data = Sheet()
    for key in sorted(obj.data):
        data.many(key, obj.data[key].splitlines() or ["<empty>"])
    sheet.below("Data", data)
    sheet.below("BinaryData", _pairs([(k, f"{len(obj.binary_data[k])} bytes") for k in sorted(obj.binary_data)]))


def _secret(sheet: Sheet, obj: Any) -> None:
    sheet.add("Type", obj.type or "Opaque")
    sheet.below("Data", _pairs([(k, f"{len(obj.data[k])} bytes") for k in sorted(obj.data)]))


def _event(sheet: Sheet, obj: Any) -> None:
    sheet.add("Type", obj.type).add("Reason", obj.reason).add("Message", obj.message)
    sheet.add("Object", f"{obj.involved_object.kind.lower()}/{obj.involved_object.name}")
    sheet.add("From", event_source(obj)).add("Count", str(obj.count or 1))
    sheet.add("First Seen", moment(obj.first_timestamp)).add("Last Seen", moment(obj.last_timestamp))


def _generic(sheet: Sheet, obj: Object) -> None:
    fields = manifest.to_dict(obj)
    for name in fields:
        if name not in ("apiVersion", "kind", "metadata"):
            sheet.below(_title(name), _tree(fields[name]))


def _tree(value: Any) -> Sheet:
    sheet = Sheet()
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else [("", value)]
    for key, item in pairs:
        if isinstance(item, dict | list):
            sheet.below(_title(str(key)), _tree(item))
        else:
            sheet.add(_title(str(key)), str(item))
    return sheet


def _title(name: str) -> str:
    """ "hostIP" -> "Host IP", as kubectl titles a field."""
    words = "".join(f" {c}" if c.isupper() and i and not name[i - 1].isupper() else c for i, c in enumerate(name))
    return words[:1].upper() + words[1:]


_OTHERS: dict[str, Callable[[Sheet, Any], None]] = {
    **dict.fromkeys(WORKLOADS, describe_workload),
    "HorizontalPodAutoscaler": describe_autoscaler,
    "Namespace": _namespace,
    "ConfigMap": _config_map,
    "Secret": _secret,
    "Event": _event,
}
