"""Hooks as a user sees them: rows L7 to L9, in bent time."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mesh.v1.core_pb2 import Lifecycle
from nodeagent.probes.state import Result
from tests.harness.agents import World, a_container, a_pod
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import FakeHost, FakeRuntime, Program
from tests.harness.probed import killing, now, probe, ready, started, up


def hooked(**hooks: Any) -> Lifecycle:
    lifecycle = Lifecycle()
    for name, command in hooks.items():
        getattr(lifecycle, name).exec.command.append(command)
    return lifecycle


class Signals(FakeRuntime):
    """Notes signals with their time."""

    async def kill(self, container_id: str, signal: str) -> None:
        self.host.calls.append(("signal", signal, str(round(now(), 2))))
        await super().kill(container_id, signal)


def signals(world: World) -> list[tuple[str, float]]:
    return [(call[1], float(call[2])) for call in world.host.calls if call[0] == "signal"]


@bent
async def test_post_start_holds_everything_up(tmp_path: Path) -> None:  # L7, L6
    world = World(tmp_path)
    world.checks.seconds["hello"] = 5
    await world.start()
    first = a_container("first", lifecycle=hooked(post_start="hello"), readiness_probe=probe("r"))
    await world.assign(a_pod("web", containers=(first, a_container("second"))))
    await asyncio.sleep(4)
    assert not started(world, "first")
    assert (world.waiting("web", "first"), world.status("web").phase) == ("ContainerCreating", "Pending")
    assert world.checks.times("r") == []
    assert not [c for c in world.host.containers.values() if c.name == "second"]
    await world.until(lambda: all(s.ready for s in world.status("web").container_statuses))
    assert now() == pytest.approx(5, abs=0.1)
    await asyncio.sleep(100)
    assert world.checks.times("hello") == [0]


@bent
async def test_a_hook_of_an_attempt_that_is_over_decides_nothing(tmp_path: Path) -> None:  # L7
    world = World(tmp_path, FakeHost(programs={"main": [Program(exit_after=0, exit_code=1), Program()]}))
    world.checks.seconds["hello"] = 1.5
    await world.start()
    await world.assign(a_pod("web", containers=(a_container(lifecycle=hooked(post_start="hello")),)))
    await world.until(lambda: world.restarts("web") == 1 and ready(world))
    assert len(world.checks.times("hello")) == 2


@bent
async def test_a_failed_post_start_ends_the_container(tmp_path: Path) -> None:  # L7
    world = World(tmp_path, FakeHost(default=Program(on_term=None)))
    world.checks.answers["hello"] = Result.FAILURE
    await world.start()
    pod = a_pod(
        "web", containers=(a_container(lifecycle=hooked(post_start="hello")),), termination_grace_period_seconds=9
    )
    await world.assign(pod)
    await world.until(lambda: world.waiting("web") == "PostStartHookError")
    assert "hello" not in world.status("web").container_statuses[0].state.waiting.message  # what it said is hidden
    await world.until(lambda: world.restarts("web") == 1)
    assert world.event("web", "FailedPostStartHook").message == "PostStartHook failed"
    assert killing(world) == "FailedPostStartHook"
    await world.until(lambda: world.waiting("web") == "CrashLoopBackOff")


@pytest.mark.parametrize(
    ("takes", "grace", "expected"),
    [
        (3.0, 10, [("TERM", 3.0), ("KILL", 10.0)]),  # it eats the grace
        (9.0, 10, [("TERM", 9.0), ("KILL", 11.0)]),  # TERM has 2 s at least (L9)
        (99.0, 10, [("TERM", 10.0), ("KILL", 12.0)]),  # and then it is abandoned
        (99.0, 1, [("TERM", 1.0), ("KILL", 3.0)]),
        (99.0, 0, [("TERM", 0.0), ("KILL", 2.0)]),  # without grace it does not run
    ],
)
def test_pre_stop_eats_the_grace(tmp_path: Path, takes: float, grace: int, expected: list[tuple[str, float]]) -> None:
    @bent
    async def run() -> None:  # L8
        world = World(tmp_path, FakeHost(default=Program(on_term=None)), Signals)
        world.checks.seconds["bye"] = takes
        await up(tmp_path, a_container(lifecycle=hooked(pre_stop="bye")), world)
        began = now()
        await world.delete("web", grace=grace)
        await world.until(lambda: world.gone("web"))
        assert [(what, pytest.approx(began + at, abs=0.1)) for what, at in expected] == signals(world)
        assert len(world.checks.asked) == (1 if grace else 0)
        assert ("FailedPreStopHook" in world.reasons("web")) is (takes > grace > 0)
        assert world.reasons("web").count("Killing") == 1

    run()


@bent
async def test_less_grace_cuts_a_pre_stop_hook_short(tmp_path: Path) -> None:  # L8, L9
    world = World(tmp_path, FakeHost(default=Program(on_term=None)), Signals)
    world.checks.seconds["bye"] = 100
    await up(tmp_path, a_container(lifecycle=hooked(pre_stop="bye")), world)
    await world.delete("web", grace=60)
    await asyncio.sleep(5)
    await world.delete("web", grace=3)
    await world.until(lambda: world.gone("web"))
    assert signals(world) == [("TERM", pytest.approx(8, abs=0.1)), ("KILL", pytest.approx(10, abs=0.1))]
    assert world.checks.cut == [(pytest.approx(8, abs=0.1), "bye")]


@bent
async def test_a_new_agent_begins_the_hook_again_and_keeps_the_deadline(tmp_path: Path) -> None:  # L8
    world = World(tmp_path, FakeHost(default=Program(on_term=None)), Signals)
    world.checks.seconds["bye"] = 100
    await up(tmp_path, a_container(lifecycle=hooked(pre_stop="bye")), world)
    await world.delete("web", grace=20)
    await asyncio.sleep(5)
    await world.restart()
    await world.until(lambda: world.gone("web"))
    assert len(world.checks.times("bye")) == 2
    assert signals(world) == [("TERM", pytest.approx(20, abs=0.1)), ("KILL", pytest.approx(22, abs=0.1))]


@bent
async def test_a_dead_container_is_not_asked_to_stop(tmp_path: Path) -> None:  # L8
    world = World(tmp_path, FakeHost(default=Program(exit_after=1, exit_code=1)))
    await world.start()
    await world.assign(a_pod("web", containers=(a_container(lifecycle=hooked(pre_stop="bye")),)))
    await world.until(lambda: world.waiting("web") == "CrashLoopBackOff")
    await world.delete("web")
    await world.until(lambda: world.gone("web"))
    assert world.checks.times("bye") == []


@bent
async def test_liveness_runs_pre_stop_first(tmp_path: Path) -> None:  # P7
    world = World(tmp_path, None, Signals)
    world.checks.seconds["bye"] = 2
    shaped = a_container(liveness_probe=probe("live", failure_threshold=1), lifecycle=hooked(pre_stop="bye"))
    world.checks.answers["live"] = Result.FAILURE
    await up(tmp_path, shaped, world)
    await world.until(lambda: world.restarts("web") == 1)
    assert world.checks.times("bye")[0] == 0
    assert signals(world)[0] == ("TERM", pytest.approx(2, abs=0.1))
