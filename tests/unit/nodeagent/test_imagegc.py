"""Images go when the disk is full: the numbers, the order, and what never goes (I5)."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from nodeagent.config import AgentConfig
from nodeagent.imagegc import ImageGc
from nodeagent.runtime.port import Image
from nodeagent.vitals import Vitals
from tests.harness.agents import VITALS, World, a_pod
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import FakeHost, FakeRuntime

SECOND = 1_000_000_000
PERCENT = VITALS.disk // 100


class Disk:
    """A host whose disk is as full as its images say, and a collector with a clock of its own."""

    def __init__(self, tmp_path: Path) -> None:
        self.host = FakeHost()
        self.now = 1000 * SECOND
        self.other = 0  # percent used by what is no image
        self.used: set[str] = set()
        config = AgentConfig("a", "192.0.2.1", tmp_path)
        self.gc = ImageGc(config, FakeRuntime(self.host), lambda: self.now, self.vitals, self.in_use)
        self.gc.saw([])

    def add(self, name: str, percent: int) -> Image:
        image = replace(self.host.add_image(name), id=f"sha256:{name}", size=percent * PERCENT)
        self.host.local_images = {n: i for n, i in self.host.local_images.items() if name not in i.names}
        self.host.local_images[name] = image
        return image

    def vitals(self) -> Vitals:
        taken = sum(i.size for i in self.host.local_images.values()) + self.other * PERCENT
        return replace(VITALS, disk=100 * PERCENT, disk_available=100 * PERCENT - taken)

    async def in_use(self) -> Collection[str]:
        return self.used

    async def after(self, seconds: int) -> list[str]:
        self.now += seconds * SECOND
        return [i.names[0] for i in await self.gc.collect()]


async def test_at_85_percent_down_to_80_least_recently_used_first(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.other = 70
    for name in ("old", "late", "young"):
        disk.add(name, 4)
    disk.used = {"sha256:old", "sha256:late"}
    assert await disk.after(0) == []
    disk.used = {"sha256:late"}
    assert await disk.after(300) == []
    disk.used = set()
    disk.other = 72
    assert await disk.after(300) == []  # 84 %
    disk.other = 73
    assert await disk.after(300) == ["young", "old"]  # 85 %: never used, then used longest ago; 77 % is enough
    assert list(disk.host.local_images) == ["late"]


async def test_it_stops_at_80_percent(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.other = 75
    disk.add("a", 5)
    disk.add("b", 5)
    await disk.after(0)
    assert await disk.after(300) == ["a"]  # 85 → 80


async def test_younger_than_two_minutes_stays(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.other = 80
    disk.add("a", 9)
    assert await disk.after(0) == []
    assert await disk.after(119) == []
    assert await disk.after(1) == ["a"]


async def test_what_is_in_use_never_goes(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.other = 80
    disk.add("a", 9)
    disk.used = {"sha256:a"}
    await disk.after(0)
    assert await disk.after(3000) == []


async def test_what_was_there_before_the_agent_is_old_enough(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.other = 80
    disk.gc.saw([disk.add("a", 9)])
    fresh = ImageGc(
        AgentConfig("a", "192.0.2.1", tmp_path), FakeRuntime(disk.host), lambda: 200 * SECOND, disk.vitals, disk.in_use
    )
    assert [i.id for i in await fresh.collect()] == ["sha256:a"]


@bent
async def test_the_agent_knows_what_its_pods_use(tmp_path: Path) -> None:
    world = World(tmp_path)
    agent = await world.start()
    world.host.add_image("unused:1")
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    used = await agent._images_in_use()
    assert used == {world.host.local_images["example:1"].id}
    await world.kill()
