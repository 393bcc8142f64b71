"""How pods of an agent stop: rows L, in bent time."""

import asyncio
from pathlib import Path

import pytest

from mesh.v1.core_pb2 import Lifecycle, Pod
from tests.harness.agents import a_container, a_pod
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import Program
from tests.harness.recorder import moments, starts, world_of


@bent
async def test_a_deletion_terms_all_at_once_and_kills_at_expiry(tmp_path: Path) -> None:  # L9, L10, L11
    world = world_of(tmp_path, {"deaf": Program(on_term=None), "good": Program(on_term=0)})
    await world.start()
    await world.assign(a_pod("web", containers=(a_container("deaf"), a_container("good"))))
    await world.until(lambda: world.phase("web") == "Running")
    await asyncio.sleep(100)
    began = asyncio.get_running_loop().time()
    await world.delete("web", grace=7)
    await world.until(lambda: world.gone("web"))
    stops = [(round(at - began), what, who) for at, what, who in moments(world.host) if what != "start"]
    assert stops == [(0, "TERM", "deaf"), (0, "TERM", "good"), (7, "KILL", "deaf")]
    codes = [s.state.terminated.exit_code for s in world.status("web").container_statuses]
    assert (codes, world.phase("web")) == ([137, 0], "Failed")
    assert not world.host.containers
    assert not world.host.sandboxes
    assert not list((tmp_path / "agent" / "pods").iterdir())
    assert [r for r in world.reasons("web") if r == "Killing"] == ["Killing", "Killing"]
    await world.kill()


@bent
@pytest.mark.parametrize(("grace", "waits"), [(0, 2), (1, 2), (2, 2), (3, 3)])
async def test_term_always_has_two_seconds(tmp_path: Path, grace: int, waits: int) -> None:  # L9
    world = world_of(tmp_path, {"main": Program(on_term=None)})
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    await world.delete("web", grace=grace)
    await world.until(lambda: world.gone("web"))
    (term, _, _), (killed, _, _) = [m for m in moments(world.host) if m[1] != "start"]
    assert round(killed - term) == waits
    await world.kill()


@bent
async def test_grace_only_shrinks(tmp_path: Path) -> None:  # L9
    world = world_of(tmp_path, {"main": Program(on_term=None)})
    await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    await world.delete("web", grace=60)
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(10)
    await world.delete("web", grace=5)
    await asyncio.sleep(1)
    await world.delete("web", grace=50)
    await world.until(lambda: world.gone("web"))
    stops = [(round(at - began), what) for at, what, _ in moments(world.host) if what != "start"]
    assert stops == [(0, "TERM"), (15, "KILL")]
    await world.kill()


@bent
async def test_a_pod_no_longer_assigned_is_stopped_with_its_grace_and_removed(tmp_path: Path) -> None:
    world = world_of(tmp_path, {"main": Program(on_term=None)})
    await world.start()
    await world.assign(a_pod("web", termination_grace_period_seconds=4))
    await world.until(lambda: world.phase("web") == "Running")
    await world.remove("web")
    await world.until(lambda: world.gone("web"))
    (term, _, _), (killed, _, _) = [m for m in moments(world.host) if m[1] != "start"]
    assert round(killed - term) == 4
    assert not world.host.containers
    await world.kill()


@bent
@pytest.mark.parametrize(("own", "expected"), [("", "INT"), ("SIGUSR1", "USR1")])
async def test_the_images_stop_signal_is_used(tmp_path: Path, own: str, expected: str) -> None:  # L10
    world = world_of(tmp_path)
    world.host.add_image("example:1", stop_signal="SIGINT")
    await world.start()
    container = a_container(lifecycle=Lifecycle(stop_signal=own)) if own else a_container()
    await world.assign(a_pod("web", containers=(container,)))
    await world.until(lambda: world.phase("web") == "Running")
    await world.delete("web", grace=2)
    await world.until(lambda: world.gone("web"))
    assert [what for _, what, _ in moments(world.host) if what != "start"] == [expected, "KILL"]
    await world.kill()


@bent
async def test_a_new_image_restarts_only_its_container(tmp_path: Path) -> None:  # L5
    world = world_of(tmp_path)
    await world.start()
    pod = a_pod("web", containers=(a_container("a"), a_container("b")), restart_policy="Never")
    await world.assign(pod)
    await world.until(lambda: sum(s.ready for s in world.status("web").container_statuses) == 2)
    changed = Pod()
    changed.CopyFrom(pod)
    changed.spec.containers[0].image = "example:2"
    changed.metadata.generation = 2
    await world.assign(changed)
    await world.until(lambda: world.restarts("web", "a") == 1 and world.status("web").container_statuses[0].ready)
    assert world.status("web").container_statuses[0].image == "example:2"
    assert world.restarts("web", "b") == 0
    assert len(starts(world, "b")) == 1
    await asyncio.sleep(1)
    assert "definition changed" in world.event("web", "Killing").message
    await world.kill()


@bent
async def test_active_deadline(tmp_path: Path) -> None:  # L15
    world = world_of(tmp_path)
    await world.start()
    await world.assign(a_pod("job", active_deadline_seconds=20, termination_grace_period_seconds=3))
    await world.until(lambda: world.phase("job") == "Failed")
    assert round(asyncio.get_running_loop().time()) == 20
    assert (world.status("job").reason, world.status("job").container_statuses[0].state.terminated.exit_code) == (
        "DeadlineExceeded", 143,
    )  # fmt: skip
    await world.restart()
    await asyncio.sleep(10)
    assert (world.phase("job"), world.status("job").reason) == ("Failed", "DeadlineExceeded")
    assert len(starts(world)) == 1
    await world.kill()
