"""What `mesh describe pod` tells.

Rule: pure; kubectl's words and order, so that eyes trained on it find everything.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from mesh.cli.sheets import NONE, Sheet
from mesh.model import manifest, pods
from mesh.sdk.words import seconds_of, summary
from mesh.v1.core_pb2 import Container, ContainerState, ContainerStatus, EnvVar, Pod, PodSpec, Probe, Toleration, Volume

_LAST_APPLIED = "mesh/last-applied-configuration"


def describe_pod(sheet: Sheet, pod: Pod) -> None:
    """Adds everything below the pod's name and namespace."""
    meta, status = pod.metadata, pod.status
    sheet.maybe("Priority", pod.spec.priority)
    sheet.maybe("Service Account", pod.spec.service_account_name)
    sheet.add("Node", f"{pod.spec.node_name}/{status.host_ip}".rstrip("/"))
    sheet.maybe("Start Time", moment(status.start_time) if status.HasField("start_time") else "")
    sheet.map("Labels", meta.labels)
    sheet.map("Annotations", {k: v for k, v in meta.annotations.items() if k != _LAST_APPLIED})
    if meta.HasField("deletion_timestamp"):
        sheet.add("Status", f"Terminating (since {moment(meta.deletion_timestamp)})")
        sheet.add("Termination Grace Period", f"{pods.grace_seconds(pod)}s")
    else:
        sheet.add("Status", _status(pod))
    sheet.maybe("Reason", status.reason).maybe("Message", status.message)
    sheet.add("IP", status.pod_ip)
    sheet.many("IPs", [ip.ip for ip in status.pod_ips])
    owner = next((o for o in meta.owner_references if o.controller), None)
    sheet.maybe("Controlled By", f"{owner.kind}/{owner.name}" if owner else "")
    if pod.spec.init_containers:
        sheet.below("Init Containers", _containers(pod.spec.init_containers, status.init_container_statuses))
    sheet.below("Containers", _containers(pod.spec.containers, status.container_statuses))
    rows = [(c.type, c.status, c.reason, " ".join(c.message.split())) for c in status.conditions]
    told = any(reason or message for *_, reason, message in rows)
    titles = ("Type", "Status", "Reason", "Message") if told else ("Type", "Status")
    sheet.columns("Conditions", titles, [row[: len(titles)] for row in rows])
    sheet.below("Volumes", _volumes(pod.spec.volumes))
    sheet.maybe("QoS Class", status.qos_class)
    sheet.map("Node-Selectors", pod.spec.node_selector)
    sheet.many("Tolerations", [_toleration(t) for t in pod.spec.tolerations])


def _status(pod: Pod) -> str:
    """The phase, and the word of `mesh get` when it says more."""
    phase, word = pod.status.phase or "Pending", summary(pod).status
    return phase if word in (phase, "") else f"{phase} ({word})"


def describe_template(sheet: Sheet, spec: PodSpec) -> None:
    """Adds what the pods of a template will be."""
    if spec.init_containers:
        sheet.below("Init Containers", _containers(spec.init_containers, None))
    sheet.below("Containers", _containers(spec.containers, None))
    sheet.below("Volumes", _volumes(spec.volumes))
    sheet.map("Node-Selectors", spec.node_selector)
    sheet.many("Tolerations", [_toleration(t) for t in spec.tolerations])


def _containers(containers: Iterable[Container], statuses: Sequence[ContainerStatus] | None) -> Sheet:
    """A sheet for each container; without statuses they are those of a template."""
    sheet = Sheet()
    for container in containers:
        status = None
        if statuses is not None:
            status = pods.status_named(statuses, container.name) or ContainerStatus()
        sheet.below(container.name, _container(container, status))
    return sheet


def _container(container: Container, status: ContainerStatus | None) -> Sheet:
    sheet = Sheet()
    sheet.maybe("Container ID", status.container_id if status is not None else "").add("Image", container.image)
    sheet.maybe("Image ID", status.image_id if status is not None else "")
    ports = [f"{p.container_port}/{p.protocol or 'TCP'}" + (f" ({p.name})" if p.name else "") for p in container.ports]
    sheet.add("Ports" if len(ports) > 1 else "Port", ", ".join(ports))
    host_ports = [f"{p.host_port}/{p.protocol or 'TCP'}" for p in container.ports if p.host_port]
    sheet.maybe("Host Ports" if len(host_ports) > 1 else "Host Port", ", ".join(host_ports))
    if container.command:
        sheet.many("Command", [line for word in container.command for line in word.splitlines() or [""]])
    if container.args:
        sheet.many("Args", [line for word in container.args for line in word.splitlines() or [""]])
    if status is not None:
        _state(sheet, "State", status.state)
        if _state_name(status.last_state):
            _state(sheet, "Last State", status.last_state)
        sheet.add("Ready", str(status.ready)).add("Restart Count", str(status.restart_count))
    if container.resources.limits:
        sheet.below("Limits", _pairs(container.resources.limits))
    if container.resources.requests:
        sheet.below("Requests", _pairs(container.resources.requests))
    for title, field in (
        ("Liveness", "liveness_probe"),
        ("Readiness", "readiness_probe"),
        ("Startup", "startup_probe"),
    ):
        if container.HasField(field):  # type: ignore[arg-type]  # each is a field of Container
            sheet.add(title, _probe(getattr(container, field)))
    sheet.maybe("Working Dir", container.working_dir)
    _environment(sheet, container)
    mounts = [
        f"{m.mount_path} from {m.name} ({'ro' if m.read_only else 'rw'}{',path=' + m.sub_path if m.sub_path else ''})"
        for m in container.volume_mounts
    ]
    return sheet.many("Mounts", mounts)


def _environment(sheet: Sheet, container: Container) -> None:
    sources = []
    for source in container.env_from:
        kind, ref = (
            ("ConfigMap", source.config_map_ref) if source.HasField("config_map_ref") else ("Secret", source.secret_ref)
        )
        prefix = f" with prefix {source.prefix!r}" if source.prefix else ""
        sources.append(f"{ref.name}  {kind}{prefix}  Optional: {str(ref.optional).lower()}")
    if sources:
        sheet.many("Environment Variables from", sources)
    env = Sheet()
    for variable in container.env:
        env.lines.append((variable.name, _env_value(variable)))
    sheet.below("Environment", env)


def _env_value(variable: EnvVar) -> str:
    if not variable.HasField("value_from"):
        return variable.value
    source = variable.value_from
    for kind, field in (("config map", "config_map_key_ref"), ("secret", "secret_key_ref")):
        if source.HasField(field):  # type: ignore[arg-type]  # each is a field of EnvVarSource
            ref = getattr(source, field)
            return f"<set to the key '{ref.key}' in {kind} '{ref.name}'>  Optional: {str(ref.optional).lower()}"
    if source.HasField("field_ref"):
        return f"({source.field_ref.api_version or 'v1'}:{source.field_ref.field_path})"
    if source.HasField("resource_field_ref"):
        return f"({source.resource_field_ref.resource})"
    return "<set from a file of a volume>"


def _state_name(state: ContainerState) -> str:
    return next((n for n in ("running", "waiting", "terminated") if state.HasField(n)), "")


def _state(sheet: Sheet, label: str, state: ContainerState) -> None:
    name = _state_name(state) or "waiting"
    sheet.add(label, name.capitalize())
    if name == "running":
        sheet.add("  Started", moment(state.running.started_at))
    elif name == "waiting":
        sheet.maybe("  Reason", state.waiting.reason).maybe("  Message", state.waiting.message)
    else:
        ended = state.terminated
        sheet.maybe("  Reason", ended.reason).maybe("  Message", ended.message)
        sheet.add("  Exit Code", str(ended.exit_code)).maybe("  Signal", ended.signal)
        sheet.add("  Started", moment(ended.started_at)).add("  Finished", moment(ended.finished_at))


def _probe(probe: Probe) -> str:
    period = f"{probe.period_milliseconds}ms" if probe.period_milliseconds else f"{probe.period_seconds or 10}s"
    timing = (
        f"delay={probe.initial_delay_seconds}s timeout={probe.timeout_seconds or 1}s period={period} "
        f"#success={probe.success_threshold or 1} #failure={probe.failure_threshold or 3}"
    )  # what is in force where nothing is said (P2)
    kind = next((f for f in ("exec", "http_get", "tcp_socket", "grpc") if probe.HasField(f)), "")
    if kind == "exec":
        return f"exec {list(probe.exec.command)} {timing}"
    if kind == "http_get":
        get = probe.http_get
        return f"http-get {(get.scheme or 'HTTP').lower()}://{get.host}:{_port(get.port)}{get.path or '/'} {timing}"
    if kind == "tcp_socket":
        return f"tcp-socket {probe.tcp_socket.host}:{_port(probe.tcp_socket.port)} {timing}"
    return f"grpc <pod>:{probe.grpc.port} {probe.grpc.service} {timing}"


def _port(port: Any) -> str:
    return str(getattr(port, port.WhichOneof("kind") or "int_value"))


def _volumes(volumes: Iterable[Volume]) -> Sheet:
    sheet = Sheet()
    for volume in volumes:
        fields = {k: v for k, v in manifest.to_dict(volume).items() if k != "name"}
        inner = Sheet()
        for kind, settings in fields.items():
            inner.add("Type", kind[:1].upper() + kind[1:])
            for name, value in settings.items():
                inner.add(name[:1].upper() + name[1:], value if isinstance(value, str) else _flat(value))
        sheet.below(volume.name, inner)
    return sheet


def _flat(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(_flat(v) for v in value)
    if isinstance(value, dict):
        return " ".join(f"{k}={_flat(v)}" for k, v in value.items())
    return str(value)


def _toleration(toleration: Toleration) -> str:
    text = toleration.key + (f"={toleration.value}" if toleration.value else "")
    text += f":{toleration.effect}" if toleration.effect else ""
    text += f" op={toleration.operator}" if toleration.operator not in ("", "Equal") else ""
    return text + (f" for {toleration.toleration_seconds}s" if toleration.HasField("toleration_seconds") else "")


def _pairs(values: Any) -> Sheet:
    sheet = Sheet()
    for key in sorted(values):
        sheet.add(key, values[key])
    return sheet


def moment(stamp: Timestamp) -> str:
    """A time for people: "Sat, 31 Jan 2026 12:00:00 +0000"."""
    at = seconds_of(stamp)
    return datetime.fromtimestamp(at, UTC).strftime("%a, %d %b %Y %H:%M:%S +0000") if at else NONE
