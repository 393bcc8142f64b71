"""Agents that die, runtimes that are away, reboots: nothing flips and nothing is lost (L17, L18, P21)."""

import asyncio
from pathlib import Path

import pytest

from mesh.errors import Conflict
from mesh.v1.node_pb2 import ObserveRequest
from tests.harness.agents import World, a_container, a_pod
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import Program
from tests.harness.recorder import moments, starts, verbs, world_of


@bent
async def test_a_restarted_agent_adopts_and_says_the_same(tmp_path: Path) -> None:  # L17, L18, P21
    world = world_of(tmp_path, {"main": [Program(exit_after=3, exit_code=1), Program()]})
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.restarts("web") == 1 and world.status("web").container_statuses[0].ready)
    await asyncio.sleep(50)
    before = world.status("web").SerializeToString(deterministic=True)
    calls = len(verbs(world))
    await world.restart()
    await asyncio.sleep(100)
    assert world.status("web").SerializeToString(deterministic=True) == before
    assert verbs(world)[calls:] == []
    assert {s.status.SerializeToString(deterministic=True) for s in world.statuses[-1:]} == {before}
    await world.kill()


@bent
async def test_a_restarted_agent_goes_on_without_meshd(tmp_path: Path) -> None:
    world = world_of(tmp_path, {"main": [Program(exit_after=30, exit_code=1), Program()]})
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    await world.restart(assign=False)
    await world.until(lambda: world.restarts("web") == 1)
    assert world.agent is not None
    assert (await world.agent.observe(ObserveRequest())).run_digest == ""
    await world.kill()


@bent
async def test_nothing_is_removed_before_the_first_assignment(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    await world.start()
    await world.assign(a_pod("kept"), a_pod("left"))
    await world.until(lambda: world.phase("left") == "Running" and world.phase("kept") == "Running")
    (tmp_path / "agent" / "checkpoint").unlink()
    await world.kill()
    del world.pods["uid-left"]
    await world.start()
    await asyncio.sleep(300)
    assert len(world.host.containers) == 2
    assert [m for m in moments(world.host) if m[1] != "start"] == []
    await world.assign()
    await asyncio.sleep(60)
    assert [c.pod_uid for c in world.host.containers.values()] == ["uid-kept"]
    assert list(world.host.sandboxes) == ["uid-kept"]
    assert [p.name for p in (tmp_path / "agent" / "pods").iterdir()] == ["uid-kept"]
    assert len(starts(world)) == 2
    await world.kill()


@bent
async def test_an_older_order_is_refused_also_after_a_restart(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    world.revision = 50
    await world.assign()
    await asyncio.sleep(1)
    await world.restart(assign=False)
    world.revision = 10
    with pytest.raises(Conflict, match="older"):
        await world.assign()
    await world.kill()


@bent
async def test_a_runtime_that_is_away_flips_nothing(tmp_path: Path) -> None:
    world = world_of(tmp_path, {"short": Program(exit_after=100, exit_code=1)})
    await world.start()
    await world.assign(a_pod("web"), a_pod("flaky", containers=(a_container("short"),)))
    await world.until(lambda: world.phase("web") == "Running" and world.phase("flaky") == "Running")
    told = len(world.statuses)
    assert world.runtime is not None
    world.runtime.set_away(True)
    await world.assign(a_pod("new"))
    await asyncio.sleep(25)
    assert ready(world) == "True"
    await asyncio.sleep(25)
    assert ready(world) == "False"
    assert {s.name for s in world.statuses[told:]} <= {"new"}
    await asyncio.sleep(100)
    world.runtime.set_away(False)
    await world.until(lambda: world.phase("new") == "Running", 2)
    await world.until(lambda: world.restarts("flaky", "short") == 1)
    await asyncio.sleep(1)
    assert ready(world) == "True"
    assert len(starts(world)) == 2
    assert world.restarts("web") == 0
    await world.kill()


def ready(world: World) -> str:
    """The node's condition."""
    return next(c.status for c in world.report.report.status.conditions if c.type == "Ready")


@bent
async def test_a_reboot_makes_the_pods_anew(tmp_path: Path) -> None:  # L12, L17, S8
    world = world_of(tmp_path, {"i": Program(exit_after=1), "done": Program(exit_after=1)})
    await world.start()
    await world.assign(
        a_pod("web", init=(a_container("i"),)),
        a_pod("never", restart_policy="Never"),
        a_pod("job", restart_policy="OnFailure", containers=(a_container("done"), a_container("other"))),
    )
    await world.until(lambda: all(world.phase(n) == "Running" for n in ("web", "never", "job")))
    await asyncio.sleep(60)
    await world.kill()
    world.host.containers.clear()
    world.host.sandboxes.clear()
    await world.start()
    await world.assign()
    await world.until(lambda: world.restarts("web") == 1 and world.status("web").container_statuses[0].ready)
    assert len(starts(world, "i")) == 2
    await world.until(lambda: world.phase("never") == "Failed")
    await world.until(lambda: world.restarts("job", "other") == 1)
    assert len(starts(world, "done")) == 1
    await asyncio.sleep(1)
    assert "SandboxChanged" in world.reasons("web")
    await world.kill()


@bent
async def test_a_lost_sandbox_is_made_anew_with_its_pod(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    del world.host.sandboxes["uid-web"]
    assert world.runtime is not None
    world.runtime._tell("uid-web")
    await world.until(lambda: world.restarts("web") == 1 and world.status("web").container_statuses[0].ready)
    assert len(world.host.containers) == 1
    await world.kill()


@bent
async def test_a_pod_whose_first_process_is_killed_begins_again(tmp_path: Path) -> None:  # E12
    world = world_of(tmp_path)
    await world.start()
    await world.assign(a_pod("web", containers=(a_container("one"), a_container("two")), share_process_namespace=True))
    await world.until(lambda: world.phase("web") == "Running")
    address = world.status("web").pod_ip
    assert world.runtime is not None
    world.runtime.lose_sandbox("uid-web")
    await world.until(lambda: all(s.restart_count == 1 and s.ready for s in world.status("web").container_statuses))
    calls = [c[0] for c in world.host.calls if c[0] in ("remove", "remove_sandbox", "make_sandbox", "create")]
    assert calls == ["make_sandbox", "create", "create", "remove", "remove", "remove_sandbox", "make_sandbox",
                     "create", "create"]  # fmt: skip
    assert world.status("web").pod_ip != address
    assert "SandboxChanged" in {e.reason for e in world.events.values()}
    assert not world.host.sandboxes["uid-web"].lost
    await world.kill()


@bent
async def test_a_host_that_was_off_begins_nothing_before_it_is_told_to(
    tmp_path: Path,
) -> None:  # N5
    world = world_of(tmp_path)
    await world.start()
    await world.assign(a_pod("mine"), a_pod("moved"))
    await world.until(lambda: world.phase("mine") == "Running" and world.phase("moved") == "Running")
    await world.kill()
    world.host.containers.clear()
    world.host.sandboxes.clear()
    del world.pods["uid-moved"]  # it is up elsewhere by now
    await world.start()
    await asyncio.sleep(300)
    assert not world.host.sandboxes
    assert len(starts(world)) == 2
    await world.assign()
    await world.until(lambda: len(world.host.containers) == 1)
    await asyncio.sleep(60)
    assert [c.pod_uid for c in world.host.containers.values()] == ["uid-mine"]
    await world.kill()
