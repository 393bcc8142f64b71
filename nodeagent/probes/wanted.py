"""Which probes a pod wants now, and what exactly each of them checks (P1, P6, P9, P12, P16).

Rule: pure; a check is complete: ports are numbers, references are resolved, times are seconds. What can't be resolved
is Unresolved, which is an error at each run and no failure of the application (P18).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mesh.v1.core_pb2 import Container, GRPCAction, HTTPGetAction, LifecycleHandler, Pod, Probe, TCPSocketAction
from mesh.v1.meta_pb2 import IntOrString
from nodeagent.probes.state import Kind, Verdict
from nodeagent.runtime.seen import SeenContainer, State

USER_AGENT = "kube-probe/1.36"
Expand = Callable[[str, Mapping[str, str]], str]


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """GET; header names as given, an empty value removes one of the standard headers."""

    host: str
    port: int
    path: str = "/"
    tls: bool = False
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """Connect and close."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class GrpcCheck:
    """grpc.health.v1 Check, plaintext."""

    host: str
    port: int
    service: str = ""


@dataclass(frozen=True, slots=True)
class ExecCheck:
    """A command in the container, without a shell."""

    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SleepCheck:
    """Of hooks only: a while."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Unresolved:
    """What can't be checked, and why."""

    why: str


Check = HttpCheck | TcpCheck | GrpcCheck | ExecCheck | SleepCheck | Unresolved


@dataclass(frozen=True, slots=True)
class Wanted:
    """One probe of one container instance; times in seconds, `started_at` in nanoseconds since the epoch."""

    container: SeenContainer
    kind: Kind
    check: Check
    initial_delay: float
    period: float
    timeout: float
    success_threshold: int
    failure_threshold: int

    @property
    def key(self) -> tuple[str, Kind]:
        """There is one loop for each."""
        return self.container.id, self.kind


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pod is: its address, or its host's on the host's network."""

    pod: Pod
    ip: str


PROBES = ((Kind.STARTUP, "startup_probe"), (Kind.LIVENESS, "liveness_probe"), (Kind.READINESS, "readiness_probe"))


def probe_of(container: Container, kind: Kind) -> Probe | None:
    """The container's probe of this kind."""
    name = dict(PROBES)[kind]
    return getattr(container, name) if container.HasField(name) else None  # type: ignore[arg-type] # one of three


def wanted_probes(
    place: Place, running: Mapping[str, SeenContainer], verdicts: Mapping[str, Verdict], *, ending: bool, expand: Expand
) -> list[Wanted]:
    """Probes that run now: startup alone until it succeeds (P6); none once condemned (P7); while the pod ends,
    readiness only (P9). `running` and `verdicts` by container name.
    """
    wanted: list[Wanted] = []
    spec = place.pod.spec
    for container in (*spec.init_containers, *spec.containers):
        seen = running.get(container.name)
        if seen is None or seen.state is not State.RUNNING:
            continue
        verdict = verdict_of(verdicts, seen)
        if verdict.failed or not has_greeted(container, verdict):
            kinds: tuple[Kind, ...] = ()
        elif not has_started(container, verdict):
            kinds = () if ending else (Kind.STARTUP,)
        else:
            kinds = (Kind.READINESS,) if ending else (Kind.LIVENESS, Kind.READINESS)
        for kind in kinds:
            probe = probe_of(container, kind)
            if probe is not None:
                wanted.append(_wanted(place, container, seen, kind, probe, expand))
    return wanted


def verdict_of(verdicts: Mapping[str, Verdict], seen: SeenContainer) -> Verdict:
    """What is decided of this instance; nothing of an earlier one counts."""
    verdict = verdicts.get(seen.name)
    return verdict if verdict and verdict.container_id == seen.id else Verdict(seen.id)


def has_greeted(container: Container, verdict: Verdict) -> bool:
    """Whether no postStart hook is awaited (L7)."""
    return verdict.greeted or not container.lifecycle.HasField("post_start")


def has_started(container: Container, verdict: Verdict) -> bool:
    """Whether a running container counts as started: without a startup probe, at once (P10)."""
    return has_greeted(container, verdict) and (verdict.started or not container.HasField("startup_probe"))


def is_ready(container: Container, verdict: Verdict) -> bool:
    """Whether a running container is ready: without a readiness probe, as soon as it is started (P10)."""
    return has_started(container, verdict) and (verdict.ready or not container.HasField("readiness_probe"))


def _wanted(
    place: Place, container: Container, seen: SeenContainer, kind: Kind, probe: Probe, expand: Expand
) -> Wanted:  # fmt: skip
    return Wanted(
        container=seen,
        kind=kind,
        check=_check(place, container, probe, expand),
        initial_delay=float(probe.initial_delay_seconds),
        period=probe.period_milliseconds / 1000 or float(probe.period_seconds or 10),
        timeout=probe.timeout_milliseconds / 1000 or float(probe.timeout_seconds or 1),
        success_threshold=(probe.success_threshold or 1) if kind is Kind.READINESS else 1,
        failure_threshold=probe.failure_threshold or 3,
    )


# ---- checks


def _check(place: Place, container: Container, probe: Probe, expand: Expand) -> Check:
    if probe.HasField("http_get"):
        return _http(place, container, probe.http_get)
    if probe.HasField("tcp_socket"):
        return _tcp(place, container, probe.tcp_socket)
    if probe.HasField("grpc"):
        return _grpc(place, probe.grpc)
    literal = {e.name: e.value for e in container.env if not e.HasField("value_from")}
    return ExecCheck(tuple(expand(word, literal) for word in probe.exec.command))


def hook_check(place: Place, container: Container, hook: LifecycleHandler) -> Check:
    """What a lifecycle hook does (L7, L8); its command is taken as it is written."""
    if hook.HasField("http_get"):
        return _http(place, container, hook.http_get)
    if hook.HasField("sleep"):
        return SleepCheck(float(hook.sleep.seconds))
    if hook.HasField("tcp_socket"):
        return _tcp(place, container, hook.tcp_socket)
    return ExecCheck(tuple(hook.exec.command))


def _http(place: Place, container: Container, action: HTTPGetAction) -> Check:
    port = port_of(container, action.port)
    if isinstance(port, Unresolved):
        return port
    path = action.path if action.path.startswith("/") else f"/{action.path}"
    headers = tuple((h.name, h.value) for h in action.http_headers)
    return HttpCheck(action.host or place.ip, port, path, action.scheme.upper() == "HTTPS", headers)


def _tcp(place: Place, container: Container, action: TCPSocketAction) -> Check:
    port = port_of(container, action.port)
    return port if isinstance(port, Unresolved) else TcpCheck(action.host or place.ip, port)


def _grpc(place: Place, action: GRPCAction) -> Check:
    return GrpcCheck(place.ip, action.port, action.service)


def port_of(container: Container, port: IntOrString) -> int | Unresolved:
    """A number, or the name of one of this container's ports; a text of digits counts as a number."""
    number = port.int_value if port.WhichOneof("kind") == "int_value" else 0
    name = port.string_value
    if not number and name.isdigit():
        number = int(name)
    if not number and name:
        number = next((p.container_port for p in container.ports if p.name == name), 0)
        if not number:
            return Unresolved(f'couldn\'t find port "{name}" in container {container.name}')
    if not 0 < number < 65536:
        return Unresolved(f"invalid port number: {number}")
    return number
