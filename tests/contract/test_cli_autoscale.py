"""Autoscalers on the command line: words, columns and description as kubectl has them, over a real meshd."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.meshd import Settings
from mesh.v1 import node_pb2
from mesh.v1.stats_pb2 import Summary
from tests.contract.test_cli_workloads import WEB
from tests.harness.cli import Cli
from tests.harness.control import RunningMeshd, control
from tests.harness.hollow import HollowAgent, Script


@pytest.fixture
def host() -> HollowAgent:
    return HollowAgent("host1")


@pytest.fixture
async def fleet(host: HollowAgent) -> AsyncIterator[RunningMeshd]:
    async with control(agents={"host1": host}, settings=Settings(autoscale=0.05)) as running:
        yield running


@pytest.fixture
def mesh(fleet: RunningMeshd, tmp_path: Path) -> Cli:
    return Cli(fleet, tmp_path)


async def test_from_words_to_more_pods(mesh: Cli, fleet: RunningMeshd, host: HollowAgent) -> None:
    assert (await mesh("apply", "-f", "-", "--wait", stdin=WEB.replace("replicas: 3", "replicas: 2"))).code == 0
    made = await mesh("autoscale", "deployment/web", "--max=5", "--memory=64Mi")
    assert made.out == "horizontalpodautoscaler.autoscaling/web autoscaled\n"
    pods = fleet.meshd.feed.view.pods()
    summary = Summary()
    for pod in pods:
        told = summary.pods.add()
        told.pod_ref.uid = pod.metadata.uid
        told.containers.add(name="app").memory.working_set_bytes = 100 << 20
    host.scripts["measure"] = Script([(node_pb2.STDOUT, summary.SerializeToString())], exit_code=0)
    rolled = await mesh("wait", "hpa/web", "--for=jsonpath={.status.desiredReplicas}=4", "--timeout=60s")
    assert (rolled.code, rolled.err) == (0, "")
    table = (await mesh("get", "hpa")).out.splitlines()
    assert table[0].split() == ["NAME", "REFERENCE", "TARGETS", "MINPODS", "MAXPODS", "REPLICAS", "AGE"]
    assert table[1].split()[:2] == ["web", "Deployment/web"]
    assert "/64Mi (avg)" in table[1]
    told_of = (await mesh("describe", "hpa", "web")).out
    assert "resource memory on pods" in told_of
    assert "SuccessfulRescale" in told_of
    assert "New size: 4; reason: memory resource above target" in told_of
    assert "Deployment pods:" in told_of
    assert "horizontalpodautoscaler.autoscaling/web" in (await mesh("get", "all")).out
    assert (await mesh("delete", "hpa", "web")).code == 0


async def test_words_that_make_no_sense(mesh: Cli) -> None:
    await mesh("apply", "-f", "-", stdin=WEB)
    for words, why in (
        (("deployment/web",), "--max"),
        (("deployment/web", "--max=1", "--min=2"), "--max must be at least --min"),
        (("deployment/web", "--max=3", "--cpu=lots"), "80% or 500m"),
        (("deployment/web", "--max=3", "--cpu=5%", "--cpu-percent=5"), "give one of them"),
        (("deployment/nothing", "--max=3"), "there is no Deployment"),
    ):
        result = await mesh("autoscale", *words)
        assert (result.code != 0, why in result.err) == (True, True), result.err
    shown = await mesh("autoscale", "deploy", "web", "--max=3", "--cpu-percent=70", "--dry-run=client", "-o", "yaml")
    assert "averageUtilization: 70" in shown.out
