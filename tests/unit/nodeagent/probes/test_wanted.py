"""Which probes are wanted, and what exactly they check."""

from typing import Any

import pytest

from mesh.v1.core_pb2 import (
    Container,
    ContainerPort,
    EnvVar,
    ExecAction,
    GRPCAction,
    LifecycleHandler,
    Pod,
    PodSpec,
    Probe,
)
from mesh.v1.meta_pb2 import IntOrString
from nodeagent.pods.environment import expand
from nodeagent.probes.state import Kind, Verdict
from nodeagent.probes.wanted import (
    Check,
    ExecCheck,
    GrpcCheck,
    HttpCheck,
    Place,
    SleepCheck,
    TcpCheck,
    Unresolved,
    Wanted,
    has_started,
    hook_check,
    is_ready,
    wanted_probes,
)
from nodeagent.runtime.seen import Role, SeenContainer, State

IP = "10.244.1.7"


def seen(state: State = State.RUNNING) -> SeenContainer:
    return SeenContainer("c1", "u", "main", 0, Role.APP, state, "h", "i", "i")


def wanted(container: Container, verdict: Verdict | None = None, *, ending: bool = False,
           state: State = State.RUNNING) -> list[Wanted]:  # fmt: skip
    container.name = "main"
    place = Place(Pod(spec=PodSpec(containers=[container])), IP)
    verdicts = {"main": verdict} if verdict else {}
    return wanted_probes(place, {"main": seen(state)}, verdicts, ending=ending, expand=expand)


def check(probe: Probe, **fields: Any) -> Check:
    return wanted(Container(readiness_probe=probe, **fields))[0].check


def port(value: int | str) -> IntOrString:
    return IntOrString(int_value=value) if isinstance(value, int) else IntOrString(string_value=value)


LIVE = Probe(exec=ExecAction(command=["live"]))
ALL = {"startup_probe": LIVE, "liveness_probe": LIVE, "readiness_probe": LIVE}


def test_defaults() -> None:  # P1
    for probe in (LIVE, Probe(exec=LIVE.exec, period_seconds=0, timeout_seconds=0, success_threshold=0,
                              failure_threshold=0)):  # fmt: skip
        one = wanted(Container(readiness_probe=probe))[0]
        assert (one.initial_delay, one.period, one.timeout) == (0, 10, 1)
        assert (one.success_threshold, one.failure_threshold) == (1, 3)


def test_milliseconds_replace_seconds() -> None:
    probe = Probe(exec=LIVE.exec, period_seconds=7, period_milliseconds=50, timeout_milliseconds=10)
    one = wanted(Container(readiness_probe=probe))[0]
    assert (one.period, one.timeout) == (0.05, 0.01)


@pytest.mark.parametrize(
    ("verdict", "ending", "kinds"),
    [
        (None, False, [Kind.STARTUP]),  # P6
        (Verdict("old", started=True), False, [Kind.STARTUP]),  # P5: of another instance
        (Verdict("c1", started=True), False, [Kind.LIVENESS, Kind.READINESS]),
        (Verdict("c1", started=True, failed="Liveness"), False, []),  # P7
        (Verdict("c1", started=True), True, [Kind.READINESS]),  # P9
        (None, True, []),  # P9
    ],
)
def test_gating(verdict: Verdict | None, ending: bool, kinds: list[Kind]) -> None:
    assert [w.kind for w in wanted(Container(**ALL), verdict, ending=ending)] == kinds


def test_nothing_is_wanted_of_what_does_not_run_or_has_not_greeted() -> None:  # P3, L7
    assert wanted(Container(**ALL), state=State.EXITED) == []
    greets = Container(liveness_probe=LIVE)
    greets.lifecycle.post_start.sleep.seconds = 1
    assert wanted(greets) == []
    assert [w.kind for w in wanted(greets, Verdict("c1", greeted=True))] == [Kind.LIVENESS]


def test_without_a_probe_what_runs_is_started_and_ready() -> None:  # P10
    fresh = Verdict("c1")
    assert has_started(Container(), fresh)
    assert is_ready(Container(liveness_probe=LIVE), fresh)
    assert not is_ready(Container(readiness_probe=LIVE), fresh)
    assert is_ready(Container(readiness_probe=LIVE), Verdict("c1", ready=True))
    assert not is_ready(Container(startup_probe=LIVE), fresh)
    assert not has_started(Container(startup_probe=LIVE), fresh)


def test_http() -> None:  # P12
    probe = Probe()
    probe.http_get.port.CopyFrom(port(80))
    assert check(probe) == HttpCheck(IP, 80, "/", tls=False)
    probe.http_get.port.CopyFrom(port("web"))
    probe.http_get.path, probe.http_get.host, probe.http_get.scheme = "ok?a=b", "10.0.0.1", "HTTPS"
    probe.http_get.http_headers.add(name="Host", value="x")
    ports = [ContainerPort(name="web", container_port=8080)]
    assert check(probe, ports=ports) == HttpCheck("10.0.0.1", 8080, "/ok?a=b", True, (("Host", "x"),))


def test_a_port_is_the_containers_own() -> None:  # P12, P18
    probe = Probe()
    probe.tcp_socket.port.CopyFrom(port("web"))
    assert check(probe) == Unresolved('couldn\'t find port "web" in container main')
    probe.tcp_socket.port.CopyFrom(port("8080"))
    assert check(probe) == TcpCheck(IP, 8080)
    probe.tcp_socket.port.CopyFrom(port(70000))
    assert check(probe) == Unresolved("invalid port number: 70000")


def test_grpc() -> None:  # P17
    assert check(Probe(grpc=GRPCAction(port=9, service="s"))) == GrpcCheck(IP, 9, "s")


def test_exec_expands_literal_values_only() -> None:  # P16
    env = [EnvVar(name="A", value="1"), EnvVar(name="B")]
    env[1].value_from.field_ref.field_path = "metadata.name"
    probe = Probe(exec=ExecAction(command=["echo", "$(A)", "$(B)", "$$(A)", "$(NO)"]))
    assert check(probe, env=env) == ExecCheck(("echo", "1", "$(B)", "$(A)", "$(NO)"))


def test_hooks() -> None:  # L7, L8
    place = Place(Pod(), IP)
    hook = LifecycleHandler()
    hook.sleep.seconds = 3
    assert hook_check(place, Container(), hook) == SleepCheck(3)
    hook = LifecycleHandler(exec=ExecAction(command=["echo", "$(A)"]))
    assert hook_check(place, Container(env=[EnvVar(name="A", value="1")]), hook) == ExecCheck(("echo", "$(A)"))
    hook.http_get.port.CopyFrom(port(80))
    assert hook_check(place, Container(), hook) == HttpCheck(IP, 80)
