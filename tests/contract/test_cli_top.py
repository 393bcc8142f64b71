"""`mesh top` and `mesh get --raw` against a real meshd with real agents over fake runtimes."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.fleet.port import AgentPort
from tests.harness.agents import World
from tests.harness.cli import Cli
from tests.harness.control import RunningMeshd, certify, control
from tests.harness.figures import parse

POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME}}
spec:
  automountServiceAccountToken: false  # this host has no certificate, so it is given no token
  containers: [{name: app, image: "example:1", imagePullPolicy: IfNotPresent}]
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "node1")
    certify("node1", world.config.pki_dir)
    return world


@pytest.fixture
async def mesh(world: World) -> AsyncIterator[RunningMeshd]:
    agent: AgentPort = await world.start()
    async with control(agents={"node1": agent}) as running:
        yield running
    await world.kill()


@pytest.fixture
async def cli(mesh: RunningMeshd, tmp_path: Path) -> Cli:
    cli = Cli(mesh, tmp_path)
    for name in ("web", "db"):
        result = await cli("apply", "--wait", "-f", "-", stdin=POD.replace("NAME", name))
        assert result.code == 0, result.err
    return cli


async def test_hosts(cli: Cli) -> None:
    result = await cli("top", "nodes")
    lines = result.out.splitlines()
    assert (result.code, result.err) == (0, "")
    assert lines[0].split() == ["NAME", "CPU(cores)", "CPU%", "MEMORY(bytes)", "MEMORY%"]
    name, cpu, share, memory, _ = lines[1].split()
    assert (name, cpu[-1], share[-1], memory[-2:]) == ("node1", "m", "%", "Mi")
    assert (await cli("top", "node", "nowhere")).code == 1


async def test_pods(cli: Cli) -> None:
    result = await cli("top", "pods", "--no-headers")
    assert [line.split()[0] for line in result.out.splitlines()] == ["db", "web"]
    assert [line.split()[0] for line in (await cli("top", "po", "-l", "app=web", "--no-headers")).out.splitlines()] == [
        "web"
    ]
    containers = await cli("top", "pod", "web", "--containers")
    assert containers.out.splitlines()[0].split() == ["POD", "NAME", "CPU(cores)", "MEMORY(bytes)"]
    assert containers.out.splitlines()[1].split()[:2] == ["web", "app"]
    assert (await cli("top", "pods", "-A")).out.splitlines()[1].split()[:2] == ["default", "db"]
    gone = await cli("top", "pods", "gone")
    assert (gone.code, '"gone" not found' in gone.err) == (1, True)
    assert "No pods found in namespace other" in (await cli("top", "pods", "-n", "other")).err


async def test_for_programs(cli: Cli) -> None:
    listed = json.loads((await cli("top", "pods", "-o", "json")).out)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["db", "web"]
    assert (await cli("top", "nodes", "-o", "yaml")).out.startswith(
        "apiVersion: metrics.k8s.io/v1beta1\nkind: NodeMetricsList"
    )


async def test_a_host_that_does_not_answer_is_told_of(cli: Cli, mesh: RunningMeshd) -> None:
    mesh.hosts.part("node1")
    await mesh.hosts.noticed()
    result = await cli("top", "nodes")
    assert (result.code, "node1" in result.err) == (1, True)


async def test_figures_as_they_are(cli: Cli) -> None:
    own = parse((await cli("get", "--raw", "/metrics")).out)
    assert own.of("apiserver_storage_objects", resource="pods") == 2
    assert own.of("mesh_host_connected", node="node1") == 1
    for path in ("/nodes/node1/metrics/kubelet", "/api/v1/nodes/node1/proxy/metrics/kubelet"):
        assert parse((await cli("get", "--raw", path)).out).of("kubelet_running_pods") == 2
    summary = json.loads((await cli("get", "--raw", "/nodes/node1/stats/summary")).out)
    assert {pod["podRef"]["name"] for pod in summary["pods"]} == {"web", "db"}
    wrong = await cli("get", "--raw", "/nodes/node1/nothing")
    assert (wrong.code, "/metrics/cadvisor" in wrong.err) == (1, True)
    assert (await cli("get", "--raw", "/metrics", "pods")).code == 1
    assert "say KIND" in (await cli("get")).err


async def test_how_it_went(cli: Cli, world: World) -> None:
    assert world.agent is not None
    await world.agent.stats.history.sample()
    result = await cli("top", "nodes", "--history", "1m")
    assert result.out.splitlines()[0].split("   ")[-1].strip() == "MEMORY OVER TIME"
    assert result.out.splitlines()[1].rstrip()[-1] in "▁▂▃▄▅▆▇█"
    pods = await cli("top", "pods", "--history", "30m")
    assert (pods.code, "CPU OVER TIME" in pods.out) == (0, True)
    assert (await cli("top", "pods", "--history", "30m", "--containers")).code == 1
