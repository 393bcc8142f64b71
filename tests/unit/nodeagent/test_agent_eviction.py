"""A host or a volume that is full: who goes, when, and what is said of it (R9, R10, R11)."""

import asyncio
from dataclasses import replace
from pathlib import Path

from mesh.v1.core_pb2 import Pod, Toleration
from nodeagent.pressure import Usage
from nodeagent.runtime.seen import State
from nodeagent.thresholds import Eviction
from nodeagent.vitals import Vitals
from tests.harness.agents import VITALS, World, a_container, a_pod
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import FakeHost, Program
from tests.harness.hungry import asking, limited

LOW_MEMORY = replace(VITALS, memory_available=(100 << 20) - 1)
FULL_DISK = replace(VITALS, disk_available=VITALS.disk // 10 - 1)


def condition(world: World, kind: str) -> tuple[str, str]:
    found = [c for c in world.report.report.status.conditions if c.type == kind]
    return (found[0].status, found[0].reason) if found else ("", "")


async def up(world: World, *pods: Pod) -> None:
    await world.start()
    await world.assign(*pods)
    await world.until(lambda: all(world.phase(p.metadata.name) == "Running" for p in pods))


@bent
async def test_one_pod_a_pass_until_the_pressure_is_gone(tmp_path: Path) -> None:  # R10
    world = World(tmp_path, FakeHost(default=Program(on_term=None)))
    await up(world, *(a_pod(n, termination_grace_period_seconds=30) for n in "abc"))
    world.measure.used = {"a": Usage(disk=1 << 20), "b": Usage(disk=3 << 20), "c": Usage(disk=2 << 20)}
    world.vitals = FULL_DISK
    began = asyncio.get_running_loop().time()
    await world.until(lambda: world.phase("b") == "Failed")
    assert asyncio.get_running_loop().time() - began <= 10 + 2 + 0.1  # a pass, and what TERM always has
    status = world.status("b")
    assert status.reason == "Evicted"
    assert status.message.startswith(
        "The node was low on resource: ephemeral-storage. Threshold quantity: 10485760Ki, "
    )
    target = next(c for c in status.conditions if c.type == "DisruptionTarget")
    assert (target.status, target.reason) == ("True", "TerminationByKubelet")
    assert world.event("b", "Evicted").type == "Warning"
    assert world.phase("a") == world.phase("c") == "Running"
    await world.until(lambda: world.phase("c") == "Failed")
    assert asyncio.get_running_loop().time() - began <= 2 * (10 + 2) + 0.1
    world.vitals = VITALS
    await asyncio.sleep(60)
    assert world.phase("a") == "Running"
    assert world.restarts("b") == world.restarts("c") == 0
    await world.kill()


@bent
async def test_the_logs_of_an_evicted_pod_stay_until_it_is_deleted(tmp_path: Path) -> None:  # R10
    world = World(tmp_path)
    await up(world, a_pod("a"))
    written = world.config.log_dir / "default_a_uid-a" / "main" / "0.log"
    scratch = world.config.state_dir / "pods" / "uid-a" / "volumes" / "scratch"
    for path in (written.parent, scratch):
        path.mkdir(parents=True, exist_ok=True)
    written.write_text("the last words\n")
    world.measure.used = {"a": Usage(disk=1 << 20)}
    world.vitals = FULL_DISK
    await world.until(lambda: world.phase("a") == "Failed")
    world.vitals = VITALS
    await world.until(lambda: not scratch.exists())
    assert written.read_text() == "the last words\n"
    await world.delete("a")
    await world.until(lambda: not written.exists())
    await world.kill()


@bent
async def test_pressure_is_told_for_five_minutes_more(tmp_path: Path) -> None:  # R10
    world = World(tmp_path)
    await up(world)
    world.vitals = LOW_MEMORY
    await asyncio.sleep(11)
    world.vitals = VITALS
    await asyncio.sleep(285)
    assert condition(world, "MemoryPressure") == ("True", "AgentHasInsufficientMemory")
    assert condition(world, "DiskPressure")[0] == "False"
    await asyncio.sleep(30)
    assert condition(world, "MemoryPressure") == ("False", "AgentHasSufficientMemory")
    await world.kill()


@bent
async def test_a_volume_over_its_limit(tmp_path: Path) -> None:  # R11
    world = World(tmp_path)
    await up(world, a_pod("a", volumes=[limited("v", "1Mi")]), a_pod("b", volumes=[limited("v", "1Mi")]))
    world.measure.volume = {"a/v": (1 << 20) + 1, "b/v": 1 << 20}
    await world.until(lambda: world.phase("a") == "Failed")
    assert world.status("a").message == 'Usage of EmptyDir volume "v" exceeds the limit "1Mi".'
    assert "DisruptionTarget" not in {c.type for c in world.status("a").conditions}
    await asyncio.sleep(60)
    assert world.phase("b") == "Running"
    assert not (tmp_path / "agent" / "pods" / "uid-a" / "volumes").exists()
    await world.kill()


@bent
async def test_an_evicted_pod_stays_evicted(tmp_path: Path) -> None:
    world = World(tmp_path, FakeHost(default=Program(on_term=None)))
    await up(world, a_pod("a"))
    world.measure.used = {"a": Usage(memory=1 << 20)}
    world.vitals = LOW_MEMORY
    await world.until(lambda: "Evicted" in world.reasons("a"))
    await world.restart()
    world.vitals = VITALS
    await world.until(lambda: world.phase("a") == "Failed")
    assert world.status("a").reason == "Evicted"
    await world.kill()


@bent
async def test_static_pods_and_pods_that_go_anyway_stay_out_of_it(tmp_path: Path) -> None:  # R10
    world = World(tmp_path, FakeHost(default=Program(on_term=None)))
    world.config.manifest_dir.mkdir(parents=True)
    (world.config.manifest_dir / "st.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: st}\n"
        "spec: {containers: [{name: main, image: 'example:1', imagePullPolicy: IfNotPresent}]}\n"
    )
    await up(world, a_pod("a"), a_pod("b"))
    world.measure.used = {"st-node1": Usage(disk=9), "b": Usage(disk=8), "a": Usage(disk=1)}
    await world.delete("b", grace=300)
    world.vitals = FULL_DISK
    await world.until(lambda: world.phase("a") == "Failed")
    await asyncio.sleep(60)
    assert "Evicted" not in world.reasons("b")
    assert [r.status.phase for r in world.heard.values() if r.name == "st-node1"] == ["Running"]
    await world.kill()


class Filled:
    """A disk of 100 units that images, dead containers and pods fill."""

    def __init__(self, world: World, host: FakeHost) -> None:
        self.unit = VITALS.disk // 100
        self.host = host
        self.other = 50

    def vitals(self) -> Vitals:
        dead = sum(c.state is State.EXITED for c in self.host.containers.values())
        images = sum(i.size for i in {i.id: i for i in self.host.local_images.values()}.values() if i.size > 1000)
        return replace(VITALS, disk=100 * self.unit,
                       disk_available=(100 - self.other - dead * 5) * self.unit - images)  # fmt: skip


@bent
async def test_what_nobody_needs_goes_before_any_pod(tmp_path: Path) -> None:  # R10
    host = FakeHost(programs={"a": [Program(exit_after=1), Program()], "main": Program(), "i": Program(exit_after=1)})
    world = World(tmp_path, host)
    disk = Filled(world, host)
    world.read = disk.vitals
    pod = a_pod("a", containers=(a_container("a"), a_container("main")), init=(a_container("i"),))
    world.measure.used = {"a": Usage(disk=1)}
    await up(world, pod)
    await world.until(lambda: world.restarts("a", "a") == 1)
    for name in ("old", "young"):
        image = replace(host.add_image(name), id=f"sha256:{name}", size=4 * disk.unit)
        host.local_images = {n: i for n, i in host.local_images.items() if name not in i.names} | {name: image}
    await asyncio.sleep(620)  # they are seen, and old enough
    disk.other = 76  # two dead containers: 10, images: 8; 6 are left
    await asyncio.sleep(11)
    assert not [c for c in host.containers.values() if c.state is State.EXITED]
    assert {"old", "young"} <= set(host.local_images)  # 16 are left: enough
    assert world.host_event("EvictionThresholdMet").message == "Attempting to reclaim ephemeral-storage"
    disk.other = 78
    await asyncio.sleep(11)
    assert ("old" in host.local_images, "young" in host.local_images) == (False, True)  # 18 are left
    assert world.phase("a") == "Running"
    assert (world.restarts("a", "a"), world.restarts("a", "main")) == (1, 0)
    init = world.status("a").init_container_statuses[0]
    assert init.state.terminated.reason == "Completed"
    disk.other = 90
    await world.until(lambda: world.phase("a") == "Failed")
    assert "young" not in host.local_images
    assert world.status("a").reason == "Evicted"
    await world.kill()


@bent
async def test_a_soft_eviction_gives_pods_their_time(tmp_path: Path) -> None:  # R10
    for most, took in ((0, 30), (5, 5)):
        world = World(tmp_path / str(most), FakeHost(default=Program(on_term=None)))
        soft = {"memory.available": ("200Mi", 60)}
        eviction = Eviction(soft=soft, max_pod_grace_seconds=most)
        world.config = replace(world.config, eviction=eviction)
        world.measure.used = {"a": Usage(memory=1)}
        await up(world, a_pod("a", termination_grace_period_seconds=30))
        world.vitals = replace(VITALS, memory_available=150 << 20)
        began = asyncio.get_running_loop().time()
        await world.until(lambda w=world: "Evicted" in w.reasons("a"), 100)  # type: ignore[misc]
        told = asyncio.get_running_loop().time()
        assert 60 <= told - began <= 80
        assert condition(world, "MemoryPressure")[0] == "True"
        await world.until(lambda w=world: w.phase("a") == "Failed")  # type: ignore[misc]
        assert took <= asyncio.get_running_loop().time() - told <= took + 0.1
        await world.kill()


@bent
async def test_a_host_under_pressure_takes_nobody_new(tmp_path: Path) -> None:  # R10, S7
    world = World(tmp_path)
    await up(world, a_pod("old"))
    world.vitals = LOW_MEMORY
    await asyncio.sleep(11)
    tolerates = Toleration(key="node.kubernetes.io/memory-pressure", operator="Exists")
    await world.assign(a_pod("best"), asking("burst", "1Mi"), a_pod("bears", tolerations=[tolerates]))
    await world.until(lambda: world.phase("burst") == world.phase("bears") == "Running")
    assert (world.phase("best"), world.status("best").reason) == ("Failed", "Evicted")
    assert world.status("best").message == "Pod was rejected: The node had condition: [MemoryPressure]."
    world.vitals = FULL_DISK
    await asyncio.sleep(11)
    await world.assign(asking("late", "1Mi"))
    await world.until(lambda: world.phase("late") == "Failed")
    assert world.status("late").message.endswith("[DiskPressure MemoryPressure].")
    assert world.phase("old") == "Running"
    await world.kill()
