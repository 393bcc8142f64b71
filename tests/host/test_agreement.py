"""Random pods on a real Podman and on the fake runtime: both come to the same status, field by field.

MESH_SPECS=100 runs more of them than every test run does.
"""

import asyncio
import os
from pathlib import Path

import pytest

from nodeagent.probes.state import Result
from tests.harness import bent_time
from tests.harness.agents import World
from tests.harness.fake_runtime import FakeHost
from tests.harness.podman import IMAGE, PodmanHost
from tests.harness.podman_node import DEADLINE, Node
from tests.harness.random_pods import SETTLED, Played, comparable, configs, differences, random_pod

pytestmark = pytest.mark.host

SPECS = int(os.environ.get("MESH_SPECS") or "16")
AT_ONCE = 16


async def on_the_fake(root: Path, played: list[Played]) -> dict[str, object]:
    fake = FakeHost({k: v for p in played for k, v in p.programs.items()}, any_image=False)
    fake.add_image(IMAGE)
    world = World(root, fake)
    fake.log_dir = world.config.log_dir
    world.checks.answers["sh"] = Result.FAILURE
    world.checks.seconds["sh"] = 0.5
    await world.start()
    await world.configure(*configs())
    await world.assign(*(p.pod for p in played))
    await asyncio.sleep(SETTLED)
    found = {uid: comparable(report.status) for uid, report in world.heard.items()}
    await world.kill()
    return found


async def on_podman(host: PodmanHost, played: list[Played], wanted: dict[str, object]) -> dict[str, object]:
    """What is told, once it is what is wanted, or at the deadline."""
    (host.config.state_dir / "checkpoint").unlink(missing_ok=True)
    node = Node(host)
    node.configs = {c.metadata.name: c for c in configs()}
    await node.start()
    await node.assign(*(p.pod for p in played))
    agreed: dict[str, object] = {}

    def agrees(_: object) -> bool:
        for uid, report in node.heard.items():
            if (said := comparable(report.status)) == wanted[uid]:
                agreed[uid] = said
        return len(agreed) == len(wanted)

    try:
        await node.until(agrees)
    except TimeoutError:
        agreed = {uid: comparable(r.status) for uid, r in node.heard.items()} | agreed
    await node.assign()
    async with asyncio.timeout(DEADLINE):
        await node.agent.emptied()
    await node.kill()
    return agreed


@pytest.mark.timeout(300 + SPECS * 5)
def test_both_runtimes_say_the_same(host: PodmanHost, tmp_path: Path) -> None:
    for first in range(0, SPECS, AT_ONCE):
        played = [random_pod(seed) for seed in range(first, min(first + AT_ONCE, SPECS))]
        wanted = bent_time.run(on_the_fake(tmp_path / str(first), played))
        assert len(wanted) == len(played)
        for one in played:
            one.pod.spec.node_name = host.config.node_name
        said = asyncio.run(on_podman(host, played, wanted))
        print(*(d for uid in wanted for d in differences(said.get(uid), wanted[uid], uid[-4:])), sep="\n")
        assert [d for uid in wanted for d in differences(said.get(uid), wanted[uid], uid[-4:])] == []
