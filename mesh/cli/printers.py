"""How objects look in a table: kubectl's columns, per kind, in one registry. A kind's columns are added here.

Rule: pure; `now` is seconds since the epoch. A kind without an entry prints its name and age.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mesh.cli.columns import AGE, NAME, NONE, Cell, Column, name_of, pairs
from mesh.cli.ingressdetails import INGRESSES
from mesh.cli.scaledetails import COLUMNS as AUTOSCALERS
from mesh.cli.workloadcolumns import WORKLOADS
from mesh.model.claims import host_of
from mesh.model.kinds import Kind, Object
from mesh.sdk.words import duration, seconds_of, summary
from mesh.v1.auth_pb2 import RoleBinding
from mesh.v1.core_pb2 import Event, Node, Pod
from mesh.v1.meta_pb2 import IntOrString
from mesh.v1.net_pb2 import Endpoints, EndpointSlice, Service
from mesh.v1.policy_pb2 import PodDisruptionBudgetSpec


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text below titles."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Look:
    """What a person asked to see beside the kind's columns."""

    wide: bool = False
    namespaces: bool = False
    labels: bool = False
    label_columns: tuple[str, ...] = ()  # keys of labels that have a column of their own
    prefix: str = ""  # before each name: "pod/"


def table(kind: Kind, objects: Iterable[Object], now: float, look: Look = Look()) -> Table:
    """The objects of one kind as a table."""
    columns = columns_of(kind.name, look)
    rows = tuple(tuple(column.cell(obj, now) for column in columns) for obj in objects)
    return Table(tuple(column.title for column in columns), rows)


def columns_of(kind: str, look: Look) -> list[Column]:
    """The columns of a kind, as looked at."""
    columns = [c for c in _COLUMNS.get(kind, _GENERIC) if look.wide or not c.wide]
    if look.prefix:
        columns = [Column(c.title, _prefixed(c.cell, look.prefix)) if c.title == "NAME" else c for c in columns]
    if look.namespaces:
        columns.insert(0, Column("NAMESPACE", lambda o, _: o.metadata.namespace))
    columns += [_label_column(key) for key in look.label_columns]
    if look.labels:
        columns.append(Column("LABELS", lambda o, _: pairs(o.metadata.labels)))
    return columns


def _label_column(key: str) -> Column:
    """As kubectl's -L: the key without its prefix is the title."""
    return Column(key.rpartition("/")[2].upper(), lambda o, _: o.metadata.labels.get(key, ""))


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def modes(access: Iterable[str]) -> str:
    """kubectl's short names: "RWO,ROX"."""
    return ",".join(_MODES.get(mode, mode) for mode in access)


def tone(title: str, cell: str) -> str:
    """How a cell is coloured on a terminal: "good", "busy", "bad" or nothing."""
    if title == "TYPE":
        return "busy" if cell == "Warning" else ""
    if title == "READY" and "/" in cell:
        ready, _, total = cell.partition("/")
        return "" if ready == total else "busy"
    if title != "STATUS" or not cell:
        return ""
    if cell in _GOOD:
        return "good"
    return "busy" if cell in _BUSY or _initializing(cell) else "bad"


_GOOD = frozenset(("Active", "Available", "Bound", "Completed", "Complete", "Ready", "Running", "Succeeded"))
_BUSY = frozenset((
    "ContainerCreating", "Pending", "PodInitializing", "NotReady", "Terminating", "SchedulingGated",
    "Ready,SchedulingDisabled",
))  # fmt: skip


def _initializing(cell: str) -> bool:
    return cell.startswith("Init:") and cell[5:6].isdigit()


def _prefixed(cell: Cell, prefix: str) -> Cell:
    return lambda obj, now: prefix + cell(obj, now)


# ---- pods ---------------------------------------------------------------------------------------------------------


def _ready(pod: Pod, _now: float) -> str:
    found = summary(pod)
    return f"{found.ready}/{found.total}"


def _gates(pod: Pod, _now: float) -> str:
    gates = [g.condition_type for g in pod.spec.readiness_gates]
    met = sum(c.type in gates and c.status == "True" for c in pod.status.conditions)
    return f"{met}/{len(gates)}" if gates else NONE


# ---- nodes --------------------------------------------------------------------------------------------------------

_ROLE = "node-role.kubernetes.io/"


def node_status(node: Node) -> str:
    """Ready, NotReady or Unknown, and whether pods may be scheduled there."""
    ready = [c.status for c in node.status.conditions if c.type == "Ready"]
    word = {"True": "Ready"}.get(ready[0], "NotReady") if ready else "Unknown"
    return f"{word},SchedulingDisabled" if node.spec.unschedulable else word


def node_roles(node: Node) -> str:
    """Roles by the labels node-role.kubernetes.io/NAME."""
    labels = node.metadata.labels
    roles = {key.removeprefix(_ROLE) for key in labels if key.startswith(_ROLE)}
    roles |= {labels[key] for key in labels if key == "kubernetes.io/role"}
    return ",".join(sorted(role for role in roles if role)) or NONE


def _address(kind: str) -> Cell:
    return lambda node, _: next((a.address for a in node.status.addresses if a.type == kind), NONE)


def _info(field: str) -> Cell:
    return lambda node, _: getattr(node.status.node_info, field) or "<unknown>"


# ---- events -------------------------------------------------------------------------------------------------------


def last_seen(event: Event) -> float:
    """When an event happened the last time, in seconds since the epoch."""
    stamps = (event.last_timestamp, event.event_time, event.first_timestamp, event.metadata.creation_timestamp)
    return next((at for at in map(seconds_of, stamps) if at), 0.0)


def first_seen(event: Event) -> float:
    """When an event happened first, in seconds since the epoch."""
    return seconds_of(event.first_timestamp) or seconds_of(event.event_time) or last_seen(event)


def event_age(event: Event, now: float) -> str:
    """How long ago; with a count as kubectl has it: "5s (x3 over 2m)"."""
    at = last_seen(event)
    if not at:
        return "<unknown>"
    text = duration(now - at)
    return f"{text} (x{event.count} over {duration(now - first_seen(event))})" if event.count > 1 else text


def event_object(event: Event) -> str:
    """Whom an event is about: pod/web."""
    return f"{event.involved_object.kind.lower()}/{event.involved_object.name}"


def event_source(event: Event) -> str:
    """Who tells an event: "agent, host1"."""
    names = (event.source.component or event.reporting_component, event.source.host)
    return ", ".join(n for n in names if n)


def _since(at: float, now: float) -> str:
    return duration(now - at) if at else "<unknown>"


# ---- Services ------------------------------------------------------------------------------------------------------


def _external_ips(service: Service, _now: float) -> str:
    if service.spec.type == "ExternalName":
        return service.spec.external_name or NONE
    balanced = [i.ip or i.hostname for i in service.status.load_balancer.ingress]
    if service.spec.type == "LoadBalancer" and not balanced and not service.spec.external_ips:
        return "<pending>"
    return ",".join([*balanced, *service.spec.external_ips]) or NONE


def service_ports(service: Service) -> str:
    """As kubectl has it: "80:30080/TCP,53/UDP"."""
    texts = [f"{p.port}{f':{p.node_port}' if p.node_port else ''}/{p.protocol or 'TCP'}" for p in service.spec.ports]
    return ",".join(texts) or NONE


def subset_addresses(endpoints: Endpoints, most: int = 3) -> str:
    """The first addresses with ports of ready endpoints, and how many more there are."""
    found = [
        f"{address.ip}{port}"
        for subset in endpoints.subsets
        for port in ([f":{p.port}" for p in subset.ports] or [""])
        for address in subset.addresses
    ]
    more = f" + {len(found) - most} more..." if len(found) > most else ""
    return ",".join(found[:most]) + more if found else NONE


def _slice_addresses(slice_: EndpointSlice, _now: float) -> str:
    found = [address for endpoint in slice_.endpoints for address in endpoint.addresses]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return ",".join(found[:3]) + more if found else "<unset>"


def _share(spec: PodDisruptionBudgetSpec, name: str) -> str:
    """A number or a percentage of pods, as written."""
    value: IntOrString = getattr(spec, name)
    return str(getattr(value, str(value.WhichOneof("kind")))) if spec.HasField(name) else "N/A"  # type: ignore[arg-type]


def _subjects(kind: str) -> Cell:
    """The subjects of a binding that are of this kind."""

    def cell(binding: RoleBinding, _now: float) -> str:
        found = [f"{s.namespace}/{s.name}" if s.namespace else s.name for s in binding.subjects if s.kind == kind]
        return ", ".join(found)

    return cell


_GENERIC: Sequence[Column] = (NAME, AGE)
_COLUMNS: dict[str, Sequence[Column]] = {
    **WORKLOADS,
    **INGRESSES,
    "Pod": (
        NAME,
        Column("READY", _ready),
        Column("STATUS", lambda pod, _: summary(pod).status),
        Column("RESTARTS", lambda pod, now: summary(pod).restarts_text(now)),
        AGE,
        Column("IP", lambda pod, _: pod.status.pod_ip or NONE, wide=True),
        Column("NODE", lambda pod, _: pod.spec.node_name or NONE, wide=True),
        Column("NOMINATED NODE", lambda pod, _: pod.status.nominated_node_name or NONE, wide=True),
        Column("READINESS GATES", _gates, wide=True),
    ),
    "Node": (
        NAME,
        Column("STATUS", lambda node, _: node_status(node)),
        Column("ROLES", lambda node, _: node_roles(node)),
        AGE,
        Column("VERSION", _info("kubelet_version")),
        Column("INTERNAL-IP", _address("InternalIP"), wide=True),
        Column("EXTERNAL-IP", _address("ExternalIP"), wide=True),
        Column("OS-IMAGE", _info("os_image"), wide=True),
        Column("KERNEL-VERSION", _info("kernel_version"), wide=True),
        Column("CONTAINER-RUNTIME", _info("container_runtime_version"), wide=True),
    ),
    "Namespace": (NAME, Column("STATUS", lambda namespace, _: namespace.status.phase or "Active"), AGE),
    "Event": (
        Column("LAST SEEN", lambda event, now: _since(last_seen(event), now)),
        Column("TYPE", lambda event, _: event.type),
        Column("REASON", lambda event, _: event.reason),
        Column("OBJECT", lambda event, _: event_object(event)),
        Column("SUBOBJECT", lambda event, _: event.involved_object.field_path, wide=True),
        Column("SOURCE", lambda event, _: event_source(event), wide=True),
        Column("MESSAGE", lambda event, _: " ".join(event.message.split())),
        Column("FIRST SEEN", lambda event, now: _since(first_seen(event), now), wide=True),
        Column("COUNT", lambda event, _: str(event.count or 1), wide=True),
        Column("NAME", name_of, wide=True),
    ),
    "Service": (
        NAME,
        Column("TYPE", lambda service, _: service.spec.type),
        Column("CLUSTER-IP", lambda service, _: service.spec.cluster_ip or NONE),
        Column("EXTERNAL-IP", _external_ips),
        Column("PORT(S)", lambda service, _: service_ports(service)),
        AGE,
        Column("SELECTOR", lambda service, _: pairs(service.spec.selector), wide=True),
    ),
    "Endpoints": (NAME, Column("ENDPOINTS", lambda endpoints, _: subset_addresses(endpoints)), AGE),
    "EndpointSlice": (
        NAME,
        Column("ADDRESSTYPE", lambda slice_, _: slice_.address_type),
        Column("PORTS", lambda slice_, _: ",".join(str(p.port) for p in slice_.ports) or "<unset>"),
        Column("ENDPOINTS", _slice_addresses),
        AGE,
    ),
    "AddressReservation": (
        NAME,
        Column("KIND", lambda reservation, _: reservation.spec.type),
        Column("ADDRESS", lambda reservation, _: reservation.spec.address),
        AGE,
    ),
    "HorizontalPodAutoscaler": AUTOSCALERS,
    "PodDisruptionBudget": (
        NAME,
        Column("MIN AVAILABLE", lambda o, _: _share(o.spec, "min_available")),
        Column("MAX UNAVAILABLE", lambda o, _: _share(o.spec, "max_unavailable")),
        Column("ALLOWED DISRUPTIONS", lambda o, _: str(o.status.disruptions_allowed)),
        AGE,
    ),
    "PriorityClass": (
        NAME,
        Column("VALUE", lambda o, _: str(o.value)),
        Column("GLOBAL-DEFAULT", lambda o, _: str(o.global_default).lower()),
        AGE,
        Column("PREEMPTIONPOLICY", lambda o, _: o.preemption_policy or "PreemptLowerPriority", wide=True),
    ),
    "PersistentVolumeClaim": (
        NAME,
        Column("STATUS", lambda o, _: "Terminating" if o.metadata.HasField("deletion_timestamp") else o.status.phase),
        Column("VOLUME", lambda o, _: o.spec.volume_name),
        Column("CAPACITY", lambda o, _: o.status.capacity.get("storage", "")),
        Column("ACCESS MODES", lambda o, _: modes(o.spec.access_modes)),
        Column("STORAGECLASS", lambda o, _: o.spec.storage_class_name),
        AGE,
    ),
    "PersistentVolume": (
        NAME,
        Column("CAPACITY", lambda o, _: o.spec.capacity.get("storage", "")),
        Column("ACCESS MODES", lambda o, _: modes(o.spec.access_modes)),
        Column("RECLAIM POLICY", lambda o, _: o.spec.persistent_volume_reclaim_policy),
        Column("STATUS", lambda o, _: "Terminating" if o.metadata.HasField("deletion_timestamp") else o.status.phase),
        Column("CLAIM", lambda o, _: "/".join(filter(None, (o.spec.claim_ref.namespace, o.spec.claim_ref.name)))),
        Column("STORAGECLASS", lambda o, _: o.spec.storage_class_name),
        Column("NODE", lambda o, _: host_of(o) or NONE, wide=True),
        AGE,
    ),
    "ConfigMap": (NAME, Column("DATA", lambda c, _: str(len(c.data) + len(c.binary_data))), AGE),
    "Secret": (
        NAME,
        Column("TYPE", lambda secret, _: secret.type or "Opaque"),
        Column("DATA", lambda secret, _: str(len(secret.data))),
        AGE,
    ),
    "RoleBinding": (
        NAME,
        Column("ROLE", lambda binding, _: f"{binding.role_ref.kind}/{binding.role_ref.name}"),
        AGE,
        Column("USERS", _subjects("User"), wide=True),
        Column("GROUPS", _subjects("Group"), wide=True),
        Column("SERVICEACCOUNTS", _subjects("ServiceAccount"), wide=True),
    ),
}  # fmt: skip
