"""What the loops keep: counts, and this host's own lateness apart from the application's (P20)."""

import asyncio

import pytest

from mesh.v1.core_pb2 import ExecAction, Probe
from mesh.v1.node_pb2 import ObserveRequest
from nodeagent.board import Board
from nodeagent.events import Events
from nodeagent.probes.prober import Bench, Prober
from nodeagent.probes.state import Kind, Result
from nodeagent.probes.wanted import ExecCheck, Wanted
from nodeagent.runtime.seen import Role, SeenContainer, State
from tests.harness.agents import a_container, a_pod
from tests.harness.bent_time import bent, now_ns
from tests.harness.fake_checks import FakeChecks


def wanted(container_id: str = "c1", period: float = 1.0, **fields: object) -> Wanted:
    seen = SeenContainer(container_id, "u", "main", 0, Role.APP, State.RUNNING, "h", "i", "i", started_at=now_ns())
    return Wanted(seen, Kind.LIVENESS, ExecCheck(("live",)), 0, period, 1, 1, 3)


@bent
async def test_results_and_seconds_are_counted() -> None:  # P20
    checks, told = FakeChecks(), list[tuple[str, Kind, bool]]()
    pod = a_pod("web", containers=(a_container(liveness_probe=Probe(exec=ExecAction(command=["live"]))),))
    bench = Bench(checks, Events(Board("n"), now_ns), now_ns)
    prober = Prober(bench, lambda: pod, lambda *what: told.append(what))
    async with asyncio.TaskGroup() as group:
        prober.want([wanted()], group)
        checks.seconds["live"] = 0.25
        await asyncio.sleep(1.5)
        checks.answers["live"] = Result.FAILURE
        await asyncio.sleep(1)
        prober.want([wanted("c2")], group)  # the container was restarted: it counts on
        await asyncio.sleep(0.5)
        prober.stop()
    count = prober.counts["main", Kind.LIVENESS]
    assert count.results == {"success": 2, "failure": 2}
    assert count.runs == 4
    assert told[0] == ("c1", Kind.LIVENESS, True)


@bent
async def test_lateness_of_this_host_is_counted_apart() -> None:
    checks, pod = FakeChecks(), a_pod("web")
    prober = Prober(Bench(checks, Events(Board("n"), now_ns), now_ns), lambda: pod, lambda *_: None)
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        prober.want([wanted()], group)
        loop.call_later(0.9, lambda: setattr(loop, "_now", 1.2))  # nothing ran in between: a busy host
        await asyncio.sleep(3.5)
        prober.stop()
    count = prober.counts["main", Kind.LIVENESS]
    assert checks.times("live") == [0, 1.2, 2, 3]
    assert count.worst_lag == pytest.approx(0.2)
    assert count.lag == pytest.approx(0.2)
    assert count.took.sum == 0


@bent
async def test_equal_failures_below_a_second_are_told_once_a_second() -> None:  # P19
    checks, pod, board = FakeChecks(), a_pod("web"), Board("n")
    checks.answers["live"] = Result.FAILURE
    prober = Prober(Bench(checks, Events(board, now_ns), now_ns), lambda: pod, lambda *_: None)
    async with asyncio.TaskGroup() as group:
        prober.want([wanted(period=0.1)], group)
        await asyncio.sleep(4.95)
        prober.stop()
    observed = await board.observe(ObserveRequest())
    assert [e.count for e in observed.events] == [5]
    assert len(checks.asked) == 50
