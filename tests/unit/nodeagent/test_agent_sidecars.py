"""Sidecars: init containers that run on beside the others (L13), in bent time."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mesh.v1.core_pb2 import Container, ContainerStatus, ExecAction, Lifecycle, LifecycleHandler, Probe
from nodeagent.probes.state import Result
from tests.harness.agents import World, a_container, a_pod
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import FakeHost, FakeRuntime, Program

STUBBORN = Program(on_term=None)


class Noted(FakeRuntime):
    """Notes starts and signals: (seconds of the loop, "start" or the signal, container)."""

    async def start(self, container_id: str) -> None:
        await super().start(container_id)
        self._note("start", container_id)

    async def kill(self, container_id: str, signal: str) -> None:
        self._note(signal, container_id)
        await super().kill(container_id, signal)

    def _note(self, what: str, container_id: str) -> None:
        seen = self.host.containers.get(container_id)
        NOTES.append((round(asyncio.get_running_loop().time(), 2), what, seen.name if seen else ""))


NOTES: list[tuple[float, str, str]] = []


def world_of(root: Path, **programs: Any) -> World:
    NOTES.clear()
    return World(root, FakeHost(programs=programs), Noted)


def sidecar(name: str, **fields: Any) -> Container:
    return a_container(name, restart_policy="Always", **fields)


def probe(command: str, **fields: Any) -> Probe:
    return Probe(exec=ExecAction(command=[command]), **fields)


def noted(what: str) -> list[tuple[float, str]]:
    return [(at, who) for at, verb, who in NOTES if verb == what]


def status_of(world: World, container: str) -> ContainerStatus:
    status = world.status("web")
    return next(s for s in (*status.init_container_statuses, *status.container_statuses) if s.name == container)


def now() -> float:
    return round(asyncio.get_running_loop().time(), 2)


async def up(world: World, *init: Container, apps: tuple[Container, ...] = (), **spec: Any) -> None:
    await world.start()
    await world.assign(a_pod("web", init=init, containers=apps, **spec))
    await world.until(lambda: world.phase("web") == "Running")


# ---- start


@bent
async def test_the_next_waits_for_started_and_not_for_ready(tmp_path: Path) -> None:
    world = world_of(tmp_path, two=Program(exit_after=5))
    world.checks.answers = {"s": Result.FAILURE, "r": Result.FAILURE}
    one = sidecar("one", startup_probe=probe("s", period_seconds=1, failure_threshold=99), readiness_probe=probe("r"))
    await world.start()
    await world.assign(a_pod("web", init=(one, a_container("two"), sidecar("three"))))
    await asyncio.sleep(10)
    assert [who for _, who in noted("start")] == ["one"]
    assert (world.phase("web"), world.waiting("web", "two")) == ("Pending", "PodInitializing")
    assert not status_of(world, "one").started
    world.checks.answers["s"] = Result.SUCCESS
    await world.until(lambda: world.phase("web") == "Running")
    began = noted("start")[1][0]
    assert began == pytest.approx(10, abs=0.2)
    assert noted("start")[1:] == [(began, "two"), (pytest.approx(began + 5, abs=0.1), "three"),
                                  (pytest.approx(began + 5, abs=0.1), "main")]  # fmt: skip
    assert (status_of(world, "one").started, status_of(world, "one").ready) == (True, False)
    conditions = {c.type: (c.status, c.message) for c in world.status("web").conditions}
    assert conditions["Initialized"][0] == "True"
    assert conditions["Ready"] == ("False", "containers with unready status: [one]")
    world.checks.answers["r"] = Result.SUCCESS
    await world.until(lambda: {c.type: c.status for c in world.status("web").conditions}["Ready"] == "True")
    await world.kill()


# ---- restart


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
def test_restarted_always_with_back_off(tmp_path: Path, policy: str) -> None:
    @bent
    async def run() -> None:
        world = world_of(tmp_path, side=[Program(exit_after=5)] * 3 + [Program()])
        await up(world, sidecar("side"), restart_policy=policy)
        await asyncio.sleep(60)
        starts = [at for at, who in noted("start") if who == "side"]
        assert starts == [pytest.approx(t, abs=0.2) for t in (0, 5, 5 + 5 + 10, 20 + 5 + 20)]
        assert (status_of(world, "side").restart_count, world.restarts("web")) == (3, 0)
        assert world.phase("web") == "Running"
        await world.kill()

    run()


@bent
async def test_liveness_restarts_it_and_nothing_else(tmp_path: Path) -> None:
    world = world_of(tmp_path)
    await up(world, sidecar("side", liveness_probe=probe("l", period_seconds=1, failure_threshold=1)),
             restart_policy="Never")  # fmt: skip
    world.checks.answers["l"] = Result.FAILURE
    await world.until(lambda: "Killing" in world.reasons("web"))
    world.checks.answers["l"] = Result.SUCCESS
    await world.until(lambda: status_of(world, "side").restart_count == 1)
    assert world.event("web", "Killing").message == "Container side failed liveness probe, will be restarted"
    assert (world.restarts("web"), world.phase("web")) == (0, "Running")
    await world.kill()


@bent
async def test_one_that_ends_holds_up_nothing_that_was_begun_after_it(tmp_path: Path) -> None:
    world = world_of(tmp_path, one=Program(exit_after=3, exit_code=1), two=Program(exit_after=30))
    await up(world, sidecar("one"), a_container("two"))
    assert noted("start")[-1] == (pytest.approx(30, abs=0.2), "main")
    assert world.waiting("web", "one") == "CrashLoopBackOff" or status_of(world, "one").state.HasField("running")
    await world.kill()


# ---- completion


@pytest.mark.parametrize(("code", "phase"), [(0, "Succeeded"), (3, "Failed")])
def test_they_do_not_keep_a_pod_from_completing(tmp_path: Path, code: int, phase: str) -> None:
    @bent
    async def run() -> None:
        world = world_of(tmp_path, main=Program(exit_after=10, exit_code=code))
        await up(world, sidecar("one"), sidecar("two"), restart_policy="Never")
        await world.until(lambda: world.phase("web") == phase)
        assert now() == pytest.approx(10, abs=0.5)
        assert [who for _, who in noted("TERM")] == ["two", "one"]
        assert status_of(world, "one").state.terminated.exit_code == 143  # and says nothing of the pod
        await asyncio.sleep(100)
        assert len(noted("start")) == 3
        assert world.phase("web") == phase
        await world.kill()

    run()


@bent
async def test_the_pod_is_over_only_when_they_are_gone(tmp_path: Path) -> None:
    world = world_of(tmp_path, main=Program(exit_after=10), side=STUBBORN)
    await up(world, sidecar("side"), restart_policy="OnFailure", termination_grace_period_seconds=20)
    await asyncio.sleep(25 - now())
    assert world.phase("web") == "Running"
    await world.until(lambda: world.phase("web") == "Succeeded")
    assert noted("KILL") == [(pytest.approx(30, abs=0.2), "side")]
    await world.kill()


@bent
async def test_a_failed_init_container_ends_them_too(tmp_path: Path) -> None:
    world = world_of(tmp_path, two=Program(exit_after=5, exit_code=1))
    await world.start()
    await world.assign(a_pod("web", init=(sidecar("one"), a_container("two")), restart_policy="Never"))
    await world.until(lambda: world.phase("web") == "Failed")
    assert noted("TERM") == [(pytest.approx(5, abs=0.2), "one")]
    await world.kill()


# ---- stop


@bent
async def test_term_after_all_others_in_reverse_order(tmp_path: Path) -> None:
    ends = {"a": 20, "b": 23, "two": 27}
    world = world_of(tmp_path, **{n: Program(exit_after=seconds, on_term=None) for n, seconds in ends.items()})
    await up(world, sidecar("one"), sidecar("two"), apps=(a_container("a"), a_container("b")))
    await asyncio.sleep(18 - now())
    await world.delete("web", grace=30)
    await world.until(lambda: world.gone("web"))
    assert noted("TERM") == [(18, "a"), (18, "b"), (pytest.approx(23, abs=0.1), "two"),
                             (pytest.approx(27, abs=0.1), "one")]  # fmt: skip
    assert noted("KILL") == []


@bent
async def test_the_wait_for_the_turn_is_part_of_the_grace(tmp_path: Path) -> None:  # and 2 s are always left
    world = world_of(tmp_path, main=STUBBORN, one=STUBBORN, two=STUBBORN)
    await up(world, sidecar("one"), sidecar("two"))
    began = now()
    await world.delete("web", grace=10)
    await world.until(lambda: world.gone("web"))
    assert sorted((who, at - began) for at, who in noted("TERM")) == [
        ("main", 0), ("one", pytest.approx(10, abs=0.1)), ("two", pytest.approx(10, abs=0.1))]  # fmt: skip
    assert sorted((who, at - began) for at, who in noted("KILL")) == [
        ("main", pytest.approx(10, abs=0.1)), ("one", pytest.approx(12, abs=0.1)),
        ("two", pytest.approx(12, abs=0.1))]  # fmt: skip


@bent
async def test_pre_stop_hooks_run_at_once_and_term_waits_for_the_turn(tmp_path: Path) -> None:
    world = world_of(tmp_path, main=Program(exit_after=20, on_term=None))
    world.checks.seconds["bye"] = 3
    hook = Lifecycle(pre_stop=LifecycleHandler(exec=ExecAction(command=["bye"])))
    await up(world, sidecar("side", lifecycle=hook))
    await asyncio.sleep(10 - now())
    await world.delete("web", grace=30)
    await world.until(lambda: world.gone("web"))
    assert world.checks.times("bye") == [pytest.approx(10, abs=0.1)]
    assert noted("TERM") == [(pytest.approx(10, abs=0.1), "main"), (pytest.approx(20, abs=0.1), "side")]


@bent
async def test_a_new_agent_keeps_the_order(tmp_path: Path) -> None:
    world = world_of(tmp_path, main=Program(exit_after=20, on_term=None))
    await up(world, sidecar("side"))
    await asyncio.sleep(10 - now())
    await world.delete("web", grace=30)
    await asyncio.sleep(5)
    await world.restart()
    await world.until(lambda: world.gone("web"))
    assert noted("TERM") == [(pytest.approx(10, abs=0.1), "main"), (pytest.approx(20, abs=0.1), "side")]


@bent
async def test_without_grace_all_go_at_once(tmp_path: Path) -> None:
    world = world_of(tmp_path, main=STUBBORN, side=STUBBORN)
    await up(world, sidecar("side"))
    began = now()
    await world.delete("web", grace=0)
    await world.until(lambda: world.gone("web"))
    assert [(at, who) for at, who in noted("TERM")] == [(began, "main"), (began, "side")]
    assert [at for at, _ in noted("KILL")] == [pytest.approx(began + 2, abs=0.1)] * 2


@bent
async def test_a_sidecar_whose_post_start_fails_is_never_started(tmp_path: Path) -> None:  # L7, L13
    world = world_of(tmp_path, side=STUBBORN)
    world.checks.answers["hello"] = Result.FAILURE
    hook = Lifecycle(post_start=LifecycleHandler(exec=ExecAction(command=["hello"])))
    await world.start()
    await world.assign(a_pod("web", init=(sidecar("side", lifecycle=hook),)))
    await world.until(lambda: any(s.restart_count == 2 for s in world.status("web").init_container_statuses), 200)
    assert noted("KILL") != []  # it took its time to end, and was not started meanwhile
    assert {who for _, who in noted("start")} == {"side"}
    assert not any(s.started for r in world.statuses for s in r.status.init_container_statuses)
    await world.kill()
