"""The order of a deletion on a host: held, then drained or out of time, then preStop and TERM (over L11)."""

import asyncio
from pathlib import Path

import pytest

from nodeagent.runtime.seen import State
from tests.harness.agents import World, a_pod
from tests.harness.bent_time import bent, now_ns

SECOND = 10**9


async def running(world: World, **annotations: str) -> None:
    await world.start()
    pod = a_pod("web")
    pod.metadata.annotations.update(annotations)
    await world.assign(pod)
    await world.until(lambda: world.phase("web") == "Running")


def runs(world: World) -> bool:
    return any(c.state is State.RUNNING for c in world.host.containers.values())


async def leave(world: World, why: str, grace: int = 30) -> int:
    """Deletes the pod, held; returns when that was."""
    world.held["web"] = why
    began = now_ns()
    await world.delete("web", grace)
    return began


@bent
async def test_it_runs_on_until_it_is_let_go(tmp_path: Path) -> None:
    world = World(tmp_path)
    await running(world)
    await leave(world, "proxies")
    await asyncio.sleep(3)
    assert runs(world)
    await world.hold(web="connections")
    await asyncio.sleep(3)
    assert runs(world)
    assert "Killing" not in world.reasons("web")
    await world.hold(web="")
    await world.until(lambda: world.gone("web"), 5)
    assert world.reasons("web")[-4:] == ["Draining", "Draining", "Drained", "Killing"]
    assert "after 6." in world.event("web", "Drained").message
    await world.kill()


@bent
@pytest.mark.parametrize(("annotations", "seconds"), [({}, 15), ({"mesh/drain-seconds": "4"}, 4)])
async def test_its_time_is_bounded_and_the_grace_comes_after(
    tmp_path: Path, annotations: dict[str, str], seconds: int
) -> None:
    world = World(tmp_path)
    await running(world, **annotations)
    began = await leave(world, "proxies")
    await asyncio.sleep(seconds - 0.5)
    assert runs(world)
    await world.until(lambda: world.gone("web"), 5)
    assert (now_ns() - began) / SECOND >= seconds
    assert world.event("web", "DrainTimedOut").message == (
        f"Stopping after {seconds} s in spite of hosts that have not answered"
    )
    assert world.event("web", "DrainTimedOut").type == "Warning"
    await world.kill()


@bent
async def test_a_pod_that_is_not_held_stops_at_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    await running(world)
    await world.delete("web")
    await world.until(lambda: world.gone("web"), 3)
    assert "Draining" not in world.reasons("web")
    await world.kill()


@bent
async def test_now_ends_a_drain(tmp_path: Path) -> None:
    world = World(tmp_path)
    await running(world)
    await leave(world, "connections")
    await asyncio.sleep(2)
    assert runs(world)
    await world.delete("web", 1)  # --now, still held
    await world.until(lambda: world.gone("web"), 3)
    await world.kill()


@bent
async def test_a_restarted_agent_gives_a_drain_no_more_time(tmp_path: Path) -> None:
    world = World(tmp_path)
    await running(world)
    began = await leave(world, "connections")
    await asyncio.sleep(10)
    await world.restart()
    await world.until(lambda: world.gone("web"), 10)
    assert 15 <= (now_ns() - began) / SECOND < 18
    await world.kill()


@bent
async def test_a_drain_that_is_over_does_not_begin_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    await running(world)
    world.held["web"] = "proxies"
    await world.delete("web")
    await asyncio.sleep(1)
    await world.hold(web="")
    await world.until(lambda: "Drained" in world.reasons("web"))
    await world.hold(web="proxies")  # a host has come that holds an old table
    await world.until(lambda: world.gone("web"), 5)
    await world.kill()


@bent
async def test_a_pod_that_is_no_longer_assigned_is_not_drained(tmp_path: Path) -> None:
    world = World(tmp_path)
    await running(world)
    await leave(world, "proxies")
    await asyncio.sleep(1)
    await world.remove("web")  # a forced deletion
    await asyncio.sleep(3)
    assert not runs(world)
    await world.kill()
