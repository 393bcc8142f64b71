"""`mesh simulate` against a real meshd: it tells, and touches nothing."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.test_cli_workloads import WEB
from tests.harness.cli import Cli
from tests.harness.control import RunningMeshd, control
from tests.harness.hollow import HollowAgent


@pytest.fixture
async def fleet() -> AsyncIterator[RunningMeshd]:
    async with control(agents={name: HollowAgent(name) for name in ("host1", "host2")}) as running:
        yield running


@pytest.fixture
def mesh(fleet: RunningMeshd, tmp_path: Path) -> Cli:
    return Cli(fleet, tmp_path)


async def test_what_would_happen_is_told_and_nothing_does(mesh: Cli) -> None:
    await mesh("apply", "-f", "-", stdin=WEB)
    assert (await mesh("rollout", "status", "deployment/web", "--timeout=60s")).code == 0
    before = (await mesh("get", "pods,deployments,nodes", "-o", "jsonpath={.items[*].metadata.resourceVersion}")).out
    lost = await mesh("simulate", "lose", "host1")
    assert (lost.code, lost.err) == (0, "")
    lines = lost.out.splitlines()
    assert lines[0].split() == ["0.0", "s", "node/host1", "dies"]
    assert any("4.0 s  node/host1 is silent: Unknown" in line for line in lines)
    assert ["host2", "3"] in [[line.split()[0], line.split()[-1]] for line in lines if line.startswith("host")]
    assert lines[-1] == "Every workload has what it wants."
    emptied = json.loads((await mesh("simulate", "drain", "host1", "host2", "-o", "json")).out)
    assert emptied["end"]["short"] == [{"name": "deployment/web", "ready": 0, "wanted": 3}]
    assert len(emptied["end"]["waits"]) == 3
    more = await mesh("simulate", "apply", "-f", "-", stdin=WEB.replace("replicas: 3", "replicas: 5"))
    assert "5 of 5 available" in more.out
    wrong = await mesh("simulate", "apply", "-f", "-", stdin=WEB.replace("replicas: 3", "replicas: -3"))
    assert (wrong.code, "spec.replicas" in wrong.err) == (1, True)
    assert (await mesh("simulate", "lose", "host9")).code == 1
    after = (await mesh("get", "pods,deployments,nodes", "-o", "jsonpath={.items[*].metadata.resourceVersion}")).out
    assert after == before
