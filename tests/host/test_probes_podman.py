"""Probes and hooks on a real Podman: the classic demonstrations, and what must not be left behind."""

import time

import pytest

from mesh.v1.core_pb2 import ContainerPort, ContainerStatus, ExecAction, Lifecycle, Pod, Probe, SecurityContext
from mesh.v1.meta_pb2 import IntOrString
from nodeagent.probes.checks import RealChecks
from nodeagent.probes.state import Result
from nodeagent.probes.wanted import ExecCheck
from tests.harness.podman_node import Node, a_container, a_pod

pytestmark = pytest.mark.host
SERVER = "mkdir -p /tmp/w/cgi-bin; cd /tmp/w; echo ok >healthz; exec httpd -f -p {port} -h /tmp/w"
# 200 while the file is there, 500 after: busybox httpd answers with what a CGI script says
CGI = (
    "mkdir -p /tmp/w/cgi-bin; printf '#!/bin/sh\\n[ -e /tmp/ok ] && s=200 || s=500\\n"
    'printf "Status: $s X\\\\r\\\\n\\\\r\\\\nword"\\n\' >/tmp/w/cgi-bin/ready; chmod +x /tmp/w/cgi-bin/ready; '
    "touch /tmp/ok; exec httpd -f -p 8080 -h /tmp/w"
)


def status(node: Node, pod: Pod) -> ContainerStatus:
    return node.heard[pod.metadata.uid].status.container_statuses[0]


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def http(port: int | str, path: str = "/", **fields: int) -> Probe:
    probe = Probe(**fields)  # type: ignore[arg-type] # fields of numbers only
    number = {"int_value": port} if isinstance(port, int) else {"string_value": port}
    probe.http_get.port.CopyFrom(IntOrString(**number))  # type: ignore[arg-type] # one of two
    probe.http_get.path = path
    return probe


async def test_a_file_that_is_deleted_restarts_the_container(node: Node) -> None:  # P7, P16
    asks = shell("echo >>/tmp/asked; exec cat /tmp/healthy")
    live = Probe(exec=ExecAction(command=asks), period_milliseconds=200, failure_threshold=2)
    script = "touch /tmp/healthy; trap 'exit 0' TERM; sleep 100000 & wait $!"
    pod = a_pod(1, a_container("main", command=shell(script), liveness_probe=live))
    await node.running(pod)
    await node.said(pod, "until [ $(wc -l </tmp/asked) -ge 5 ]; do sleep 0.1; done")
    assert status(node, pod).restart_count == 0
    await node.said(pod, "rm /tmp/healthy")
    await node.until(lambda _: status(node, pod).restart_count == 1)
    await node.until(lambda _: status(node, pod).ready)
    messages = {e.message for e in node.events}
    assert any(m.startswith("Liveness probe failed: cat: can't open '/tmp/healthy'") for m in messages)
    assert "Container main failed liveness probe, will be restarted" in messages


async def test_an_answer_of_500_takes_the_readiness(node: Node) -> None:  # P8, P12
    ready = http("web", "/cgi-bin/ready", period_milliseconds=200, failure_threshold=1)
    main = a_container("main", command=shell(CGI), readiness_probe=ready, ports=[
        ContainerPort(name="web", container_port=8080)
    ])  # fmt: skip
    pod = a_pod(2, main)
    await node.running(pod)
    await node.said(pod, "rm /tmp/ok")
    await node.until(lambda _: not status(node, pod).ready)
    assert node.heard[pod.metadata.uid].status.phase == "Running"
    assert status(node, pod).restart_count == 0
    await node.said(pod, "touch /tmp/ok")
    await node.until(lambda _: status(node, pod).ready)
    await node.until(lambda _: any("statuscode: 500" in e.message for e in node.events))


async def test_a_probe_may_ask_another_port_than_the_application(node: Node) -> None:
    sidekick = a_container("health", command=shell(SERVER.format(port=9090)))
    main = a_container("main", command=shell(SERVER.format(port=8080)), liveness_probe=http(9090, "/healthz"),
                       readiness_probe=http(9090, "/healthz", period_seconds=1))  # fmt: skip
    pod = a_pod(3, main, sidekick)
    await node.running(pod)
    assert status(node, pod).restart_count == 0


async def test_exec_is_who_the_container_is_and_leaves_nothing(node: Node) -> None:  # P16
    main = a_container("main", security_context=SecurityContext(run_as_user=1234, run_as_group=77))
    pod = a_pod(4, main)
    await node.running(pod)
    seen = (await node.runtime.pods())[pod.metadata.uid].containers[0]
    checks = RealChecks(node.runtime)
    script = 'echo "$(id -u) $(id -g) $HOSTNAME"; test "$(grep -c mesh /proc/self/cgroup)" -gt 0 || pwd'
    outcome = await checks.perform(ExecCheck(("sh", "-c", script)), seen, 30)
    assert (outcome.result, outcome.output.splitlines()[0]) == (Result.SUCCESS, "1234 77 p4")
    outcome = await checks.perform(ExecCheck(("sh", "-c", "echo no; exit 3")), seen, 30)
    assert (outcome.result, outcome.output) == (Result.FAILURE, "no\n")
    began = time.monotonic()
    outcome = await checks.perform(ExecCheck(("sh", "-c", "sleep 4321 & sleep 4321")), seen, 3)
    assert outcome.result is Result.FAILURE
    assert "timed out after 3s" in outcome.output
    assert time.monotonic() - began < 60
    assert "4321" not in await node.said(pod, "ps -o args | grep 'sleep [4]'; true")
    outcome = await checks.perform(ExecCheck(("/no/such",)), seen, 30)
    assert outcome.result is Result.ERROR, outcome  # P18: it was never run
    outcome = await checks.perform(ExecCheck(("sh", "-c", "/no/such")), seen, 30)
    assert outcome.result is Result.FAILURE


async def test_hooks(node: Node) -> None:  # L7, L8
    lifecycle = Lifecycle()
    lifecycle.post_start.exec.command.extend(shell("echo started >/tmp/hooks"))
    lifecycle.pre_stop.exec.command.extend(shell("echo stopping >>/tmp/hooks; cat /tmp/hooks >/proc/1/fd/1; sleep 1"))
    pod = a_pod(5, a_container("main", lifecycle=lifecycle))
    pod.spec.termination_grace_period_seconds = 100
    await node.running(pod)
    assert await node.said(pod, "cat /tmp/hooks") == "started\n"
    log = next(iter((node.host.config.log_dir).glob("default_p5_*/main/0.log")))
    text = log.open()  # the pod's log goes with it
    began = time.monotonic()
    await node.assign()
    await node.until(lambda heard: heard[pod.metadata.uid].gone)
    assert 1 <= time.monotonic() - began < 90  # the hook is waited for, the grace is not used up
    assert "started" in text.read()
    text.close()


async def test_a_restarted_agent_keeps_readiness(node: Node) -> None:  # P21
    pod = a_pod(6, a_container("main", command=shell(CGI), readiness_probe=http(8080, "/cgi-bin/ready")))
    await node.running(pod)
    for _ in range(2):
        await node.kill()
        node.heard.clear()
        await node.start()
        await node.until(lambda heard: pod.metadata.uid in heard)
        assert status(node, pod).ready
        await node.assign(pod)
    assert status(node, pod).restart_count == 0
