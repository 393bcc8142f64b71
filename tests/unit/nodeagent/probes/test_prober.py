"""What the loops keep: counts, and this host's own lateness apart from the application's (P20)."""

import asyncio
from pathlib import Path

from mesh.v1.core_pb2 import ExecAction, Probe
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


class Stalling(FakeChecks):
    """The first check keeps the whole loop busy for a while, as a starved host does."""

    async def perform(self, check: object, container: object, seconds: float | None) -> object:  # type: ignore[override]
        outcome = await super().perform(check, container, seconds)  # type: ignore[arg-type]
        if len(self.asked) == 1:
            asyncio.get_running_loop()._now += 3.3  # type: ignore[attr-defined] # of the bent loop
        return outcome


@bent
async def test_lateness_is_ours() -> None:
    checks = Stalling()
    pod = a_pod("web")
    prober = Prober(Bench(checks, Events(Board("n"), now_ns), now_ns), lambda: pod, lambda *_: None)
    late = wanted(period=1)
    other = Wanted(late.container, Kind.READINESS, ExecCheck(("ready",)), 0, 2.0, 1, 1, 3)
    async with asyncio.TaskGroup() as group:
        prober.want([other], group)
        await asyncio.sleep(0)
        prober.want([other, late], group)
        await asyncio.sleep(5)
        prober.stop()
    count = prober.counts["main", Kind.READINESS]
    assert count.results == {"success": count.runs}
    assert count.worst_lag == 0  # after an overrun of its own the next run is due at once, and not late


def test_the_room_has_no_sleep_of_its_own(tmp_path: Path) -> None:
    text = Path("nodeagent/probes/prober.py").read_text()
    assert text.count("asyncio.sleep") == 1  # the initial delay
