"""Probes as a user sees them: rows P1 to P11, P18, P19, P21, in bent time."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mesh.model.times import from_timestamp
from mesh.v1.core_pb2 import Container, ExecAction, GRPCAction, Lifecycle, Probe
from nodeagent.probes.state import Result
from tests.harness.agents import World, a_container, a_pod
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import EPOCH, FakeHost, FakeRuntime, Program


def probe(command: str, **fields: Any) -> Probe:
    return Probe(exec=ExecAction(command=[command]), **fields)


def probed(name: str = "main", **probes: Any) -> Container:
    return a_container(name, **probes)


async def up(root: Path, container: Container, world: World | None = None, **spec: Any) -> World:
    world = world or World(root)
    await world.start()
    await world.assign(a_pod("web", containers=(container,), **spec))
    await world.until(lambda: world.phase("web") == "Running")
    return world


def now() -> float:
    return asyncio.get_running_loop().time()


def ready(world: World, container: str = "main") -> bool:
    return next(s.ready for s in world.status("web").container_statuses if s.name == container)


def started(world: World, container: str = "main") -> bool:
    return next(s.started for s in world.status("web").container_statuses if s.name == container)


def killing(world: World) -> str:
    return world.event("web", "Killing").message


# ---- scheduling


@bent
async def test_defaults(tmp_path: Path) -> None:  # P1: at once, every 10 s, 1 s to answer, fails at 3 in a row
    world = await up(tmp_path, probed(liveness_probe=probe("live")))
    world.checks.answers["live"] = Result.FAILURE
    await world.until(lambda: "Killing" in world.reasons("web"))
    assert world.checks.times("live")[:4] == [0, 10, 20, 30]
    world.checks.answers["live"] = Result.SUCCESS
    world.checks.seconds["live"] = 1.5
    await world.until(lambda: world.restarts("web") == 2)
    assert now() == pytest.approx(30 + 20 + 1 + 10, abs=0.1)  # the restart is let through after its back-off


@bent
async def test_zero_is_the_default_and_milliseconds_win(tmp_path: Path) -> None:  # P1, our extension
    quick = probe("quick", period_seconds=5, period_milliseconds=100)
    world = await up(tmp_path, probed(liveness_probe=probe("zero", period_seconds=0), readiness_probe=quick))
    await asyncio.sleep(10.05 - now())
    assert world.checks.times("zero") == [0, 10]
    assert len(world.checks.times("quick")) == 101


@bent
async def test_initial_delay_counts_from_the_start(tmp_path: Path) -> None:  # P3
    world = await up(tmp_path, probed(readiness_probe=probe("r", initial_delay_seconds=7, period_seconds=2)))
    assert not ready(world)  # P4
    await world.until(lambda: ready(world))
    assert world.checks.times("r") == [7]


@bent
async def test_runs_never_overlap(tmp_path: Path) -> None:  # P3
    world = World(tmp_path)
    world.checks.seconds["r"] = 2.5
    await up(tmp_path, probed(readiness_probe=probe("r", period_seconds=1, timeout_seconds=5)), world)
    await asyncio.sleep(8 - now())
    assert world.checks.times("r") == [0, 2.5, 5, 7.5]


@bent
async def test_first_readiness_does_not_wait_for_a_period(tmp_path: Path) -> None:  # P11
    world = World(tmp_path)
    world.checks.answers = {"r": Result.FAILURE, "s": Result.FAILURE}
    other = probed("other", readiness_probe=probe("s", period_seconds=3))
    await world.start()
    await world.assign(
        a_pod("web", containers=(probed(readiness_probe=probe("r", period_seconds=100)), other))
    )  # fmt: skip
    await world.until(lambda: world.phase("web") == "Running")
    await asyncio.sleep(0.1)
    world.checks.answers = {}
    await world.until(lambda: ready(world, "other"))  # which changes the status
    await world.until(lambda: ready(world))
    assert now() == pytest.approx(3, abs=0.1)
    await asyncio.sleep(102 - now())
    assert world.checks.times("r")[-1] == 3  # and the period begins anew
    await asyncio.sleep(2)
    assert world.checks.times("r")[-1] == pytest.approx(103)


# ---- thresholds


@bent
async def test_readiness_flips_after_so_many_in_a_row_and_restarts_nothing(tmp_path: Path) -> None:  # P5, P8
    shaped = probe("r", period_seconds=1, success_threshold=2, failure_threshold=3)
    world = await up(tmp_path, probed(readiness_probe=shaped))
    await world.until(lambda: ready(world))
    assert now() == pytest.approx(1, abs=0.1)
    assert [c.status for c in world.status("web").conditions if c.type == "Ready"] == ["True"]
    for answer, until in ((Result.FAILURE, 3.5), (Result.SUCCESS, 4.5), (Result.FAILURE, 6.5)):
        world.checks.answers["r"] = answer
        await asyncio.sleep(until - now())
        assert ready(world)
    await world.until(lambda: not ready(world))
    assert now() == pytest.approx(7, abs=0.1)
    condition = next(c for c in world.status("web").conditions if c.type == "Ready")
    assert (condition.status, condition.reason) == ("False", "ContainersNotReady")
    assert from_timestamp(condition.last_transition_time) == (EPOCH + 7) * 10**9
    assert world.status("web").phase == "Running"
    assert world.restarts("web") == 0
    event = world.event("web", "Unhealthy")
    assert (event.type, event.message) == ("Warning", "Readiness probe failed: r")  # P19
    world.checks.answers["r"] = Result.SUCCESS
    await world.until(lambda: ready(world))
    assert now() == pytest.approx(9, abs=0.1)


@bent
async def test_errors_are_no_failures(tmp_path: Path) -> None:  # P18
    live = probe("live", period_seconds=5, failure_threshold=2)
    world = await up(tmp_path, probed(liveness_probe=live))
    world.checks.answers["live"] = Result.ERROR
    await asyncio.sleep(60 - now())
    assert world.checks.times("live")[1:4] == [5, 5, 5]  # tried again at once, three times in all
    assert world.checks.times("live")[4] == 10
    assert "Killing" not in world.reasons("web")
    assert world.event("web", "Unhealthy").message == "Liveness probe errored and resulted in unknown state: live"


@bent
async def test_a_busy_host_kills_nobody(tmp_path: Path) -> None:
    world = await up(tmp_path, probed(liveness_probe=probe("live", period_seconds=1, failure_threshold=1)))
    world.checks.answers["live"] = Result.STARVED
    await asyncio.sleep(60 - now())
    assert world.reasons("web").count("Unhealthy") == 0
    assert world.restarts("web") == 0


# ---- liveness, startup


@bent
async def test_liveness_restarts_with_the_grace_of_the_probe(tmp_path: Path) -> None:  # P7
    live = probe("live", period_seconds=1, failure_threshold=2, termination_grace_period_seconds=4)
    world = World(tmp_path, FakeHost(default=Program(on_term=None)))
    await up(tmp_path, probed(liveness_probe=live), world)
    world.checks.answers["live"] = Result.FAILURE
    await world.until(lambda: world.restarts("web") == 1)
    assert now() == pytest.approx(2 + 4, abs=0.1)
    assert world.checks.times("live")[:3] == [0, 1, 2]
    assert world.checks.times("live")[3] == pytest.approx(6, abs=0.1)  # on hold until there is a new container
    assert killing(world) == "Container main failed liveness probe, will be restarted"
    assert world.event("web", "Unhealthy").message == "Liveness probe failed: live"
    await world.until(lambda: world.waiting("web") == "CrashLoopBackOff")


@bent
async def test_a_killed_container_runs_again_unless_never(tmp_path: Path) -> None:  # P7
    for policy, again in (("OnFailure", True), ("Never", False)):
        world = World(tmp_path / policy, FakeHost(default=Program(on_term=0)))
        await up(tmp_path, probed(liveness_probe=probe("live", failure_threshold=1)), world, restart_policy=policy)
        world.checks.answers["live"] = Result.FAILURE
        if again:
            await world.until(lambda w=world: w.restarts("web") == 1)  # type: ignore[misc]
        else:
            await world.until(lambda w=world: w.phase("web") == "Succeeded")  # type: ignore[misc]
            assert killing(world) == "Container main failed liveness probe"
        await world.kill()


@bent
async def test_nothing_is_probed_before_startup_succeeds(tmp_path: Path) -> None:  # P6, P4
    world = World(tmp_path)
    world.checks.answers["s"] = Result.FAILURE
    shaped = probed(startup_probe=probe("s", period_seconds=3, failure_threshold=10),
                    liveness_probe=probe("live"), readiness_probe=probe("r"))  # fmt: skip
    await up(tmp_path, shaped, world)
    await asyncio.sleep(10 - now())
    assert not started(world)
    assert not ready(world)
    assert {what for _, what in world.checks.asked} == {"s"}
    world.checks.answers["s"] = Result.SUCCESS
    await world.until(lambda: ready(world))
    assert now() == pytest.approx(12, abs=0.01)
    assert started(world)
    await asyncio.sleep(30)
    assert world.checks.times("s")[-1] == 12  # and no more of it
    assert world.checks.times("live")[0] == pytest.approx(12)


@bent
async def test_startup_has_its_budget(tmp_path: Path) -> None:  # P6: failureThreshold x period
    world = World(tmp_path)
    world.checks.answers["s"] = Result.FAILURE
    await up(tmp_path, probed(startup_probe=probe("s", period_seconds=2, failure_threshold=4)), world)
    await world.until(lambda: world.restarts("web") == 1)
    assert now() == pytest.approx(6, abs=0.1)
    assert killing(world) == "Container main failed startup probe, will be restarted"
    assert not started(world)


# ---- ending, restarts of agents


@bent
async def test_while_it_ends_only_readiness_goes_on(tmp_path: Path) -> None:  # P9
    world = World(tmp_path, FakeHost(default=Program(on_term=None)))
    shaped = probed(liveness_probe=probe("live", period_seconds=1), readiness_probe=probe("r", period_seconds=1))
    await up(tmp_path, shaped, world)
    await asyncio.sleep(3.5 - now())
    await world.delete("web", grace=10)
    world.checks.answers = {"live": Result.FAILURE, "r": Result.FAILURE}
    await world.until(lambda: world.gone("web"))
    assert world.checks.times("live")[-1] == 3
    assert world.checks.times("r")[-1] == pytest.approx(13)
    assert any(not s.ready for r in world.statuses for s in r.status.container_statuses if s.state.HasField("running"))


@bent
async def test_a_new_agent_keeps_what_was_said(tmp_path: Path) -> None:  # P21, P3
    shaped = probed(startup_probe=probe("s"), readiness_probe=probe("r", period_seconds=20))
    world = await up(tmp_path, shaped)
    await world.until(lambda: ready(world))
    await asyncio.sleep(35 - now())
    world.statuses.clear()
    world.checks.asked.clear()
    world.checks.answers = {"s": Result.FAILURE, "r": Result.FAILURE}
    await world.restart()
    await asyncio.sleep(20)
    assert all(s.ready and s.started for report in world.statuses for s in report.status.container_statuses)
    assert world.checks.times("s") == []
    assert 35 < world.checks.times("r")[0] < 55  # some time within its first period
    await world.until(lambda: not ready(world))
    assert world.restarts("web") == 0


@bent
async def test_probes_end_with_their_pod(tmp_path: Path) -> None:
    world = await up(tmp_path, probed(readiness_probe=probe("r", period_seconds=1)))
    await world.until(lambda: ready(world))
    await world.delete("web")
    await world.until(lambda: world.gone("web"))
    asked = len(world.checks.asked)
    await asyncio.sleep(60)
    assert len(world.checks.asked) == asked


@bent
async def test_a_flip_is_told_within_50_milliseconds(tmp_path: Path) -> None:
    world = await up(tmp_path, probed(readiness_probe=probe("r", period_seconds=1, failure_threshold=1)))
    await world.until(lambda: ready(world))
    world.checks.answers["r"] = Result.FAILURE
    await world.until(lambda: not ready(world))
    assert now() - world.checks.times("r")[-1] < 0.05


# ---- hooks


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


@bent
async def test_an_unknown_port_is_an_error(tmp_path: Path) -> None:  # P12, P17
    world = await up(tmp_path, probed(readiness_probe=Probe(grpc=GRPCAction(port=1), period_seconds=1)))
    await world.until(lambda: ready(world))
    assert world.checks.asked[0][1] == "GrpcCheck"
