"""How objects look in a table: kubectl's columns, per kind, in one registry. A kind's columns are added here.

Rule: pure; `now` is seconds since the epoch. A kind without an entry prints its name and age.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mesh.model.claims import host_of
from mesh.model.kinds import Kind, Object
from mesh.model.selectors import format_labels
from mesh.model.workloads import controller_of, selector_of, template_of
from mesh.sdk.words import age, duration, seconds_of, summary
from mesh.v1.auth_pb2 import RoleBinding
from mesh.v1.batch_pb2 import CronJob, Job
from mesh.v1.core_pb2 import Event, Node, Pod
from mesh.v1.net_pb2 import Endpoints, EndpointSlice, Service

NONE = "<none>"
Cell = Callable[[Any, float], str]  # (object of the kind, now) -> text


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `wide`: only with -o wide."""

    title: str
    cell: Cell
    wide: bool = False


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
    if look.labels:
        columns.append(Column("LABELS", lambda o, _: pairs(o.metadata.labels)))
    return columns


def pairs(values: Mapping[str, str]) -> str:
    """ "a=1,b=2", or <none>."""
    return ",".join(f"{k}={values[k]}" for k in sorted(values)) or NONE


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


def _name(obj: Object, _now: float) -> str:
    return obj.metadata.name


def _age(obj: Object, now: float) -> str:
    return age(obj.metadata.creation_timestamp, now)


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


def _subjects(kind: str) -> Cell:
    """The subjects of a binding that are of this kind."""

    def cell(binding: RoleBinding, _now: float) -> str:
        found = [f"{s.namespace}/{s.name}" if s.namespace else s.name for s in binding.subjects if s.kind == kind]
        return ", ".join(found)

    return cell


# ---- workloads ----------------------------------------------------------------------------------------------------


def _containers(title: str, field: str) -> Column:
    return Column(
        title, lambda o, _: ",".join(getattr(c, field) for c in template_of(o).spec.containers) or NONE, wide=True
    )


def _selector(obj: Any, _now: float) -> str:
    return format_labels(selector_of(obj))


def _job_status(job: Job, _now: float) -> str:
    kinds = [c.type for c in job.status.conditions if c.status == "True"]
    for kind in ("Complete", "Failed", "Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if kind in kinds:
            return kind
    return "Terminating" if job.metadata.HasField("deletion_timestamp") else "Running"


def _completions(job: Job, _now: float) -> str:
    if job.spec.HasField("completions"):
        return f"{job.status.succeeded}/{job.spec.completions}"
    return f"{job.status.succeeded}/1 of {job.spec.parallelism}" if job.spec.parallelism > 1 else "0/1"


def _job_duration(job: Job, now: float) -> str:
    if not job.status.HasField("start_time"):
        return ""
    end = seconds_of(job.status.completion_time) or now
    return duration(end - seconds_of(job.status.start_time))


def _last_schedule(cron: CronJob, now: float) -> str:
    return age(cron.status.last_schedule_time, now) if cron.status.HasField("last_schedule_time") else NONE


def _owner(obj: Object, _now: float) -> str:
    ref = controller_of(obj.metadata)
    return f"{ref.kind.lower()}.{ref.api_version.partition('/')[0]}/{ref.name}" if ref is not None else NONE


_NAME, _AGE = Column("NAME", _name), Column("AGE", _age)
_WIDE = (_containers("CONTAINERS", "name"), _containers("IMAGES", "image"), Column("SELECTOR", _selector, wide=True))
_GENERIC: Sequence[Column] = (_NAME, _AGE)
_COLUMNS: dict[str, Sequence[Column]] = {
    "Pod": (
        _NAME,
        Column("READY", _ready),
        Column("STATUS", lambda pod, _: summary(pod).status),
        Column("RESTARTS", lambda pod, now: summary(pod).restarts_text(now)),
        _AGE,
        Column("IP", lambda pod, _: pod.status.pod_ip or NONE, wide=True),
        Column("NODE", lambda pod, _: pod.spec.node_name or NONE, wide=True),
        Column("NOMINATED NODE", lambda pod, _: pod.status.nominated_node_name or NONE, wide=True),
        Column("READINESS GATES", _gates, wide=True),
    ),
    "Node": (
        _NAME,
        Column("STATUS", lambda node, _: node_status(node)),
        Column("ROLES", lambda node, _: node_roles(node)),
        _AGE,
        Column("VERSION", _info("kubelet_version")),
        Column("INTERNAL-IP", _address("InternalIP"), wide=True),
        Column("EXTERNAL-IP", _address("ExternalIP"), wide=True),
        Column("OS-IMAGE", _info("os_image"), wide=True),
        Column("KERNEL-VERSION", _info("kernel_version"), wide=True),
        Column("CONTAINER-RUNTIME", _info("container_runtime_version"), wide=True),
    ),
    "Namespace": (_NAME, Column("STATUS", lambda namespace, _: namespace.status.phase or "Active"), _AGE),
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
        Column("NAME", _name, wide=True),
    ),
    "Service": (
        _NAME,
        Column("TYPE", lambda service, _: service.spec.type),
        Column("CLUSTER-IP", lambda service, _: service.spec.cluster_ip or NONE),
        Column("EXTERNAL-IP", _external_ips),
        Column("PORT(S)", lambda service, _: service_ports(service)),
        _AGE,
        Column("SELECTOR", lambda service, _: pairs(service.spec.selector), wide=True),
    ),
    "Endpoints": (_NAME, Column("ENDPOINTS", lambda endpoints, _: subset_addresses(endpoints)), _AGE),
    "EndpointSlice": (
        _NAME,
        Column("ADDRESSTYPE", lambda slice_, _: slice_.address_type),
        Column("PORTS", lambda slice_, _: ",".join(str(p.port) for p in slice_.ports) or "<unset>"),
        Column("ENDPOINTS", _slice_addresses),
        _AGE,
    ),
    "AddressReservation": (
        _NAME,
        Column("KIND", lambda reservation, _: reservation.spec.type),
        Column("ADDRESS", lambda reservation, _: reservation.spec.address),
        _AGE,
    ),
    "ReplicationController": (
        _NAME,
        Column("DESIRED", lambda o, _: str(o.spec.replicas)),
        Column("CURRENT", lambda o, _: str(o.status.replicas)),
        Column("READY", lambda o, _: str(o.status.ready_replicas)),
        _AGE,
        *_WIDE,
    ),
    "ReplicaSet": (
        _NAME,
        Column("DESIRED", lambda o, _: str(o.spec.replicas)),
        Column("CURRENT", lambda o, _: str(o.status.replicas)),
        Column("READY", lambda o, _: str(o.status.ready_replicas)),
        _AGE,
        *_WIDE,
    ),
    "Deployment": (
        _NAME,
        Column("READY", lambda o, _: f"{o.status.ready_replicas}/{o.spec.replicas}"),
        Column("UP-TO-DATE", lambda o, _: str(o.status.updated_replicas)),
        Column("AVAILABLE", lambda o, _: str(o.status.available_replicas)),
        _AGE,
        *_WIDE,
    ),
    "DaemonSet": (
        _NAME,
        Column("DESIRED", lambda o, _: str(o.status.desired_number_scheduled)),
        Column("CURRENT", lambda o, _: str(o.status.current_number_scheduled)),
        Column("READY", lambda o, _: str(o.status.number_ready)),
        Column("UP-TO-DATE", lambda o, _: str(o.status.updated_number_scheduled)),
        Column("AVAILABLE", lambda o, _: str(o.status.number_available)),
        Column("NODE SELECTOR", lambda o, _: pairs(o.spec.template.spec.node_selector)),
        _AGE,
        *_WIDE,
    ),
    "StatefulSet": (
        _NAME,
        Column("READY", lambda o, _: f"{o.status.ready_replicas}/{o.spec.replicas}"),
        _AGE,
        *_WIDE[:2],
    ),
    "ControllerRevision": (
        _NAME,
        Column("CONTROLLER", _owner),
        Column("REVISION", lambda o, _: str(o.revision)),
        _AGE,
    ),
    "Job": (
        _NAME,
        Column("STATUS", _job_status),
        Column("COMPLETIONS", _completions),
        Column("DURATION", _job_duration),
        _AGE,
        *_WIDE,
    ),
    "CronJob": (
        _NAME,
        Column("SCHEDULE", lambda o, _: o.spec.schedule),
        Column("TIMEZONE", lambda o, _: o.spec.time_zone or NONE),
        Column("SUSPEND", lambda o, _: str(o.spec.suspend)),
        Column("ACTIVE", lambda o, _: str(len(o.status.active))),
        Column("LAST SCHEDULE", _last_schedule),
        _AGE,
        *_WIDE[:2],
    ),
    "PriorityClass": (
        _NAME,
        Column("VALUE", lambda o, _: str(o.value)),
        Column("GLOBAL-DEFAULT", lambda o, _: str(o.global_default).lower()),
        _AGE,
        Column("PREEMPTIONPOLICY", lambda o, _: o.preemption_policy or "PreemptLowerPriority", wide=True),
    ),
    "PersistentVolumeClaim": (
        _NAME,
        Column("STATUS", lambda o, _: "Terminating" if o.metadata.HasField("deletion_timestamp") else o.status.phase),
        Column("VOLUME", lambda o, _: o.spec.volume_name),
        Column("CAPACITY", lambda o, _: o.status.capacity.get("storage", "")),
        Column("ACCESS MODES", lambda o, _: modes(o.spec.access_modes)),
        Column("STORAGECLASS", lambda o, _: o.spec.storage_class_name),
        _AGE,
    ),
    "PersistentVolume": (
        _NAME,
        Column("CAPACITY", lambda o, _: o.spec.capacity.get("storage", "")),
        Column("ACCESS MODES", lambda o, _: modes(o.spec.access_modes)),
        Column("RECLAIM POLICY", lambda o, _: o.spec.persistent_volume_reclaim_policy),
        Column("STATUS", lambda o, _: "Terminating" if o.metadata.HasField("deletion_timestamp") else o.status.phase),
        Column("CLAIM", lambda o, _: "/".join(filter(None, (o.spec.claim_ref.namespace, o.spec.claim_ref.name)))),
        Column("STORAGECLASS", lambda o, _: o.spec.storage_class_name),
        Column("NODE", lambda o, _: host_of(o) or NONE, wide=True),
        _AGE,
    ),
    "ConfigMap": (_NAME, Column("DATA", lambda c, _: str(len(c.data) + len(c.binary_data))), _AGE),
    "Secret": (
        _NAME,
        Column("TYPE", lambda secret, _: secret.type or "Opaque"),
        Column("DATA", lambda secret, _: str(len(secret.data))),
        _AGE,
    ),
    "RoleBinding": (
        _NAME,
        Column("ROLE", lambda binding, _: f"{binding.role_ref.kind}/{binding.role_ref.name}"),
        _AGE,
        Column("USERS", _subjects("User"), wide=True),
        Column("GROUPS", _subjects("Group"), wide=True),
        Column("SERVICEACCOUNTS", _subjects("ServiceAccount"), wide=True),
    ),
}  # fmt: skip
