"""Probes as a user sees them: rows P1 to P11, P18, P19, P21, in bent time."""

import asyncio
from pathlib import Path

import pytest

from mesh.model.times import from_timestamp
from mesh.v1.core_pb2 import GRPCAction, Probe
from nodeagent.probes.state import Result
from tests.harness.agents import World, a_pod
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import EPOCH, FakeHost, Program
from tests.harness.probed import killing, now, probe, probed, ready, started, up

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


@bent
async def test_an_unknown_port_is_an_error(tmp_path: Path) -> None:  # P12, P17
    world = await up(tmp_path, probed(readiness_probe=Probe(grpc=GRPCAction(port=1), period_seconds=1)))
    await world.until(lambda: ready(world))
    assert world.checks.asked[0][1] == "GrpcCheck"
