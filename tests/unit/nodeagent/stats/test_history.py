"""The built-in history: what was used is told, in a memory that does not grow."""

import math
from pathlib import Path

import pytest

from nodeagent.stats import history
from nodeagent.stats.history import CPU, KEPT, MEMORY, History, Ring
from nodeagent.stats.reading import Reader
from nodeagent.stats.subjects import Subject
from tests.harness.figures import V1, write_proc, write_v1
from tests.unit.nodeagent.stats.test_pages import subject

SECOND = 10**9


class World:
    """A host of files, whose pods use what a test says."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 1_700_000_000 * SECOND
        self.subjects: list[Subject] = []
        write_proc(root / "proc")
        (root / "cgroup").mkdir()
        self.history = History(Reader(root / "cgroup", root / "proc"), lambda: self.subjects, lambda: self.now)

    def use(self, one: Subject, cpu_seconds: float, memory: int) -> None:
        texts = {
            "cpuacct/cpuacct.usage": f"{int(cpu_seconds * SECOND)}\n",
            "memory/memory.usage_in_bytes": f"{memory}\n",
        }
        write_v1(self.root / "cgroup", one.cgroup, {**V1, **texts, "memory/memory.stat": "total_inactive_file 0\n"})

    async def pass_(self, steps: int = 1) -> None:
        for _ in range(steps):
            self.now += 15 * SECOND
            await self.history.sample()

    def told(self, name: str, pod: str = "", seconds: int = 60, points: int = 4) -> list[float]:
        series = self.history.told(seconds, points).series
        return next(list(s.values) for s in series if (s.name, s.pod) == (name, pod))


async def test_rates_and_amounts_of_a_pod(tmp_path: Path) -> None:
    world, web = World(tmp_path), subject()
    world.subjects = [web]
    for cpu, memory in ((10, 100), (13, 200), (13, 300), (28, 400)):
        world.use(web, cpu, memory)
        await world.pass_()
    assert world.told(MEMORY, "web") == [100, 200, 300, 400]
    first, *rest = world.told(CPU, "web")
    assert math.isnan(first)  # one count is no rate
    assert rest == pytest.approx([0.2, 0.0, 1.0])


async def test_points_are_means(tmp_path: Path) -> None:
    world, web = World(tmp_path), subject()
    world.subjects = [web]
    for memory in (100, 200, 300, 400):
        world.use(web, 1, memory)
        await world.pass_()
    assert world.told(MEMORY, "web", points=2) == [150, 350]
    assert world.told(MEMORY, "web", seconds=30, points=2) == [300, 400]


async def test_what_was_before_is_not_known_and_not_made_up(tmp_path: Path) -> None:
    world, web = World(tmp_path), subject()
    await world.pass_(2)
    world.subjects = [web]
    world.use(web, 1, 100)
    await world.pass_()
    assert [math.isnan(v) for v in world.told(MEMORY, "web")] == [True, True, True, False]


async def test_a_pod_that_is_gone_takes_its_history_along(tmp_path: Path) -> None:
    world, web = World(tmp_path), subject()
    world.subjects = [web]
    world.use(web, 1, 100)
    await world.pass_()
    world.subjects = []
    await world.pass_()
    assert {s.pod for s in world.history.told(60, 4).series} == {""}


async def test_the_host_and_the_bound_of_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_PODS", 3)
    world = World(tmp_path)
    world.subjects = [subject(f"p{i}") for i in range(5)]
    await world.pass_(2)
    told = world.history.told(60, 4)
    assert {s.pod for s in told.series} == {"", "p0", "p1", "p2"}
    assert world.told(MEMORY)[-1] == 500 * 1024
    assert told.end_seconds == world.now // SECOND


def test_a_ring_forgets_what_is_older_than_it_keeps() -> None:
    ring = Ring(1)
    for step in range(1, KEPT + 11):
        ring.put(step, float(step))
    assert ring.last(KEPT + 10, KEPT, KEPT)[0] == 11
    assert ring.last(KEPT + 10, 3, 3) == [KEPT + 8, KEPT + 9, KEPT + 10]


def test_a_counter_that_begins_anew_is_no_rate() -> None:
    ring = Ring(1)
    for step, total in enumerate((10.0, 25.0, 3.0, 18.0), 1):
        ring.count(step, total, 15.0)
    values = ring.last(4, 4, 4)
    assert (values[1], values[3]) == (1.0, 1.0)
    assert math.isnan(values[0])
    assert math.isnan(values[2])
