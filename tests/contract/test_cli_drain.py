"""`mesh drain` against a real meshd: disruption budgets are kept, waited for, and told of (N7, C18)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.cli import drain
from tests.contract.test_cli_workloads import WEB
from tests.harness.cli import Cli
from tests.harness.control import RunningMeshd, control
from tests.harness.hollow import HollowAgent

BUDGET = """
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: web}}
spec: {{{spec}, selector: {{matchLabels: {{app: web}}}}}}
"""


@pytest.fixture
async def fleet() -> AsyncIterator[RunningMeshd]:
    async with control(agents={name: HollowAgent(name) for name in ("host1", "host2")}) as running:
        yield running


@pytest.fixture
def mesh(fleet: RunningMeshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setattr(drain, "AGAIN", 0.05)
    return Cli(fleet, tmp_path)


async def begin(mesh: Cli, spec: str) -> None:
    await mesh("apply", "-f", "-", stdin=f"{WEB}\n---\n{BUDGET.format(spec=spec)}")
    assert (await mesh("rollout", "status", "deployment/web", "--timeout=60s")).code == 0
    counted = await mesh("wait", "pdb/web", "--for=jsonpath={.status.currentHealthy}=3", "--timeout=60s")
    assert counted.code == 0


async def host_of_most(mesh: Cli) -> str:
    hosts = (await mesh("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}")).out.split()
    return max(hosts, key=hosts.count)


async def test_a_drain_goes_on_as_fast_as_the_budget_lets_it(mesh: Cli) -> None:
    await begin(mesh, "maxUnavailable: 1")
    table = (await mesh("get", "pdb")).out.splitlines()
    assert table[0].split("  ")[0] == "NAME"
    assert table[1].split()[:4] == ["web", "N/A", "1", "1"]
    where = await host_of_most(mesh)
    shown = await mesh("drain", where, "--dry-run")
    assert f"node/{where} drained (dry run)" in shown.out
    assert (await mesh("get", "node", where, "-o", "jsonpath={.spec.unschedulable}")).out == ""
    done = await mesh("drain", where, "--timeout=30s")
    assert (done.code, done.out.splitlines()[-1]) == (0, f"node/{where} drained")
    assert done.out.count(" gone") == 2
    left = (await mesh("get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}")).out.split()
    assert (len(left), where in left) == (3, False)


async def test_a_budget_that_lets_nobody_go_is_named_and_can_be_passed_by(mesh: Cli) -> None:
    await begin(mesh, "minAvailable: 100%")
    where = await host_of_most(mesh)
    stuck = await mesh("drain", where, "--timeout=3s")
    assert stuck.code == 1
    assert 'the disruption budget "web" needs 3 healthy pods and has 3' in stuck.err
    assert f"mesh uncordon {where}" in stuck.err
    by_force = await mesh("drain", where, "--disable-eviction", "--timeout=30s")
    assert (by_force.code, by_force.out.splitlines()[-1]) == (0, f"node/{where} drained")
