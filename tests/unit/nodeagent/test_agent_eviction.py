"""A host or a volume that is full: who goes, when, and what is said of it (R9, R10, R11)."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesh.errors import Invalid
from mesh.v1.core_pb2 import EmptyDirVolumeSource, Pod, ResourceRequirements, Toleration, Volume
from nodeagent import config
from nodeagent.pods.record import Record, from_json, to_json
from nodeagent.pressure import Gauge, Signal, Usage, Used, over_limit, victim
from nodeagent.runtime.seen import State
from nodeagent.thresholds import DEFAULTS, Eviction, parse
from nodeagent.usage import usage_of
from nodeagent.vitals import Disk, Vitals, read_vitals
from tests.harness.agents import VITALS, World, a_container, a_pod
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import FakeHost, Program

ROOMY = Disk(100 << 30, 50 << 30, 1 << 20, 1 << 19)
LOW_MEMORY = replace(VITALS, memory_available=(100 << 20) - 1)
FULL_DISK = replace(VITALS, disk_available=VITALS.disk // 10 - 1)
MEMORY = Signal("memory", "100Mi", 50 << 20)


def asking(name: str, memory: str = "", priority: int = 0) -> Pod:
    resources = ResourceRequirements(requests={"memory": memory} if memory else {})
    return a_pod(name, containers=(a_container(resources=resources),), priority=priority)


# ---- decisions


def read(vitals: Vitals, now: int = 0, gauge: Gauge | None = None) -> list[str]:
    return [s.resource for s in (gauge or Gauge(Eviction())).look(vitals, now).crossed]


@pytest.mark.parametrize(
    ("changed", "crossed"),
    [
        ({}, []),
        ({"memory_available": 100 << 20}, []),
        ({"memory_available": (100 << 20) - 1}, ["memory"]),
        ({"disk_available": VITALS.disk // 10}, []),
        ({"disk_available": VITALS.disk // 10 - 1}, ["ephemeral-storage"]),
        ({"inodes_available": VITALS.inodes // 20 - 1}, ["inodes"]),
        ({"inodes_available": VITALS.inodes // 20}, []),
        ({"inodes": 0, "inodes_available": 0}, []),
        ({"memory_available": 0, "disk_available": 0}, ["memory", "ephemeral-storage"]),
        ({"pids": VITALS.pids_limit}, []),
    ],
)
def test_thresholds(changed: dict[str, int], crossed: list[str]) -> None:  # R9
    assert read(replace(VITALS, images=ROOMY, **changed)) == crossed  # type: ignore[arg-type] # numbers


def test_images_have_thresholds_of_their_own() -> None:  # R9
    full = replace(ROOMY, available=ROOMY.size * 15 // 100 - 1)
    assert read(replace(VITALS, images=replace(full, available=full.available + 1))) == []
    signal = Gauge(Eviction()).look(replace(VITALS, images=full), 0).crossed[0]
    assert (signal.resource, signal.part) == ("ephemeral-storage", "images")
    assert read(replace(VITALS, images=replace(ROOMY, inodes_available=ROOMY.inodes // 20 - 1))) == ["inodes"]
    assert read(replace(VITALS, disk_available=VITALS.disk * 15 // 100 - 1)) == ["ephemeral-storage"]  # one disk
    assert read(replace(VITALS, disk_available=VITALS.disk * 15 // 100)) == []
    node = Gauge(Eviction()).look(replace(VITALS, images=ROOMY, disk_available=0), 0).crossed[0]
    assert node.part == "node"


SETTINGS: dict[str, Any] = {
    "hard": {"memory.available": "5%", "imagefs.available": "0%", "pid.available": "10"},
    "soft": {"nodefs.available": {"threshold": "20Gi", "grace_seconds": 90}},
    "minimum_reclaim": {"memory.available": "1Gi"},
    "pressure_transition_seconds": 30,
}


def test_settings_replace_the_default_of_their_signal_alone() -> None:  # R9, R10
    eviction, wrong = parse(SETTINGS)
    assert wrong == []
    told = [(t.signal, t.quantity, t.grace) for t in eviction.thresholds()]
    assert told == [
        ("memory.available", "5%", 0), ("nodefs.available", "10%", 0), ("nodefs.available", "20Gi", 90),
        ("nodefs.inodesFree", "5%", 0), ("imagefs.inodesFree", "5%", 0), ("pid.available", "10", 0),
    ]  # fmt: skip
    assert read(replace(VITALS, pids=VITALS.pids_limit - 9), 0, Gauge(eviction)) == ["pids"]


def test_settings_are_agent_tomls() -> None:
    head = 'node_name = "a"\nnode_ip = "192.0.2.1"\nroot = "/r"\n'
    made = config.parse(head + '[eviction.hard]\n"memory.available" = "1Gi"\n')
    assert dict(made.eviction.hard) == {**DEFAULTS, "memory.available": "1Gi"}
    assert config.parse(head).eviction == Eviction()
    with pytest.raises(Invalid, match=r"eviction\.hrad"):
        config.parse(head + "[eviction.hrad]\n")


def test_images_on_a_disk_of_their_own_are_read_apart(tmp_path: Path) -> None:
    assert read_vitals(tmp_path, tmp_path / "podman").images is None
    apart = read_vitals(tmp_path, Path("/proc"))
    assert apart.images is not None
    assert apart.image_disk is apart.images


@pytest.mark.parametrize(
    ("table", "field"),
    [
        ({"hrad": {}}, "eviction.hrad"),
        ({"hard": {"memory": "1Gi"}}, 'eviction.hard."memory"'),
        ({"hard": {"memory.available": "lots"}}, 'eviction.hard."memory.available"'),
        ({"hard": {"memory.available": "101%"}}, 'eviction.hard."memory.available"'),
        ({"hard": {"memory.available": 5}}, 'eviction.hard."memory.available"'),
        ({"soft": {"memory.available": "1Gi"}}, 'eviction.soft."memory.available"'),
        (
            {"soft": {"memory.available": {"threshold": "1Gi", "grace_seconds": 0}}},
            'eviction.soft."memory.available".grace_seconds',
        ),
        ({"max_pod_grace_seconds": -1}, "eviction.max_pod_grace_seconds"),
        ([], "eviction"),
    ],
)
def test_what_is_wrong_with_settings_is_named(table: Any, field: str) -> None:
    assert [w.field for w in parse(table)[1]] == [field]


def test_a_soft_threshold_waits_and_a_crossed_one_wants_more_back() -> None:  # R10
    gauge, minute = Gauge(parse(SETTINGS)[0]), 60 * 10**9
    low = replace(VITALS, disk_available=(20 << 30) - 1)
    reading = gauge.look(low, 0)
    assert (set(reading.conditions), reading.crossed) == ({"DiskPressure"}, ())
    assert read(low, minute, gauge) == []
    assert read(VITALS, minute + 1, gauge) == []  # the grace begins anew
    assert read(low, 2 * minute, gauge) == []
    assert [s.soft for s in gauge.look(low, 2 * minute + 90 * 10**9).crossed] == [True]
    tight = VITALS.memory // 20
    assert read(replace(VITALS, memory_available=tight), 9 * minute, gauge) == []
    assert read(replace(VITALS, memory_available=tight - 1), 9 * minute, gauge) == ["memory"]
    assert read(replace(VITALS, memory_available=tight + (1 << 30) - 1), 9 * minute, gauge) == ["memory"]
    assert read(replace(VITALS, memory_available=tight + (1 << 30)), 9 * minute, gauge) == []
    assert gauge.look(VITALS, 9 * minute + 29 * 10**9).conditions == {"MemoryPressure"}
    assert gauge.look(VITALS, 9 * minute + 30 * 10**9).conditions == set()


@pytest.mark.parametrize(
    ("pods", "chosen"),
    [
        ([(asking("a", "1Gi"), 900), (asking("b", "10Mi"), 20)], "b"),  # over its request, however little
        ([(asking("a", "10Mi", 5), 900), (asking("b", "10Mi", 1), 20)], "b"),  # the lower priority
        ([(asking("a", "10Mi"), 900), (asking("b"), 895)], "b"),  # more beyond its request
        ([(asking("a", "1Gi"), 900), (asking("b", "2Gi"), 1000)], "a"),  # all within: the one nearest to its request
        ([(asking("a"), 0), (asking("b"), 1)], "b"),
    ],
)
def test_order(pods: list[tuple[Pod, int]], chosen: str) -> None:  # R10
    for order in (pods, pods[::-1]):
        found = victim([(pod, Usage(memory=used << 20)) for pod, used in order], MEMORY)
        assert found is not None
        assert found[0].metadata.name == chosen


@pytest.mark.parametrize(
    ("part", "chosen"),
    [("", "a"), ("images", "b"), ("node", "a")],  # which of their bytes count, by filesystem
)
def test_order_by_the_disk_that_is_full(part: str, chosen: str) -> None:  # R10
    signal = Signal("ephemeral-storage", "1Gi", 0, part)
    inodes = Signal("inodes", "1", 0, part)
    usages = [Usage(disk=90, layers=10, inodes=90, layer_inodes=10), Usage(disk=50, layers=40, inodes=50,
                                                                            layer_inodes=40)]  # fmt: skip
    for low in (signal, inodes):
        found = victim([(asking("a"), usages[0]), (asking("b"), usages[1])], low)
        assert found is not None
        assert found[0].metadata.name == chosen


def test_processes_have_no_requests() -> None:  # R10
    signal = Signal("pids", "10", 0)
    found = victim([(asking("a", priority=1), Usage(pids=9)), (asking("b"), Usage(pids=2))], signal)
    assert found is not None
    assert found[0].metadata.name == "b"


def test_words() -> None:
    assert victim([(asking("a"), Usage())], MEMORY) is None
    held = {"main": Used(memory=2 << 20), "other": Used(memory=1 << 10)}
    pod = asking("a", "1Mi")
    pod.spec.containers.add(name="other").resources.requests["memory"] = "1Ki"
    found = victim([(pod, Usage(memory=2 << 20, containers=held))], MEMORY)
    assert found is not None
    assert found[1] == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 51200Ki. "
        "Container main was using 2048Ki, request is 1Mi, has larger consumption of memory."
    )


def test_size_limits() -> None:  # R11
    pod = a_pod("a", volumes=[limited("v", "1Mi"), limited("m", "1", medium="Memory"), limited("n", "0")])
    assert over_limit(pod, Usage(volumes={"v": 1 << 20, "m": 99, "n": 9})) == ""
    over = Usage(volumes={"v": (1 << 20) + 1})
    assert over_limit(pod, over) == 'Usage of EmptyDir volume "v" exceeds the limit "1Mi".'


def storing(**limits: str) -> Pod:
    made = (a_container(n, resources=ResourceRequirements(limits={"ephemeral-storage": t} if t else {}))
            for n, t in limits.items())  # fmt: skip
    return a_pod("a", containers=tuple(made))


def test_limits_of_a_pods_and_a_containers_disk_usage() -> None:  # R11
    pod = storing(a="1Mi", b="2Mi", c="")
    at = {"a": Used(layer=1 << 19, logs=1 << 19), "b": Used(layer=1 << 21), "c": Used(layer=1 << 30)}
    assert over_limit(pod, Usage(disk=3 << 20, containers=at)) == ""
    whole = "Pod ephemeral local storage usage exceeds the total limit of containers 3Mi."
    assert over_limit(pod, Usage(disk=(3 << 20) + 1, containers=at)) == whole
    over = {**at, "a": Used(layer=1 << 19, logs=(1 << 19) + 1)}
    one = 'Container a exceeded its local ephemeral storage limit "1Mi".'
    assert over_limit(pod, Usage(disk=3 << 20, containers=over)) == one
    assert over_limit(pod, Usage(disk=3 << 20, containers=over), split=True) == ""  # its layer is on another disk
    assert over_limit(storing(a=""), Usage(disk=9 << 30, containers=over)) == ""


def limited(name: str, size: str, **fields: Any) -> Volume:
    return Volume(name=name, empty_dir=EmptyDirVolumeSource(size_limit=size, **fields))


def test_usage_is_what_lies_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(os.urandom(100_000))
    (tmp_path / "a" / "link").symlink_to("/")
    size, inodes = usage_of(tmp_path / "a")
    assert 100_000 <= size <= 130_000
    assert inodes == 3
    assert usage_of(tmp_path / "none") == (0, 0)


def test_the_record_keeps_it() -> None:
    record = Record(reason="Evicted", evicted_at=7, evicted_grace=9, disrupted=True)
    assert from_json(to_json(record)) == record


# ---- the loop


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
