"""A host or a volume that is full: who goes, when, and what is said of it (R9, R10, R11)."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesh.v1.core_pb2 import EmptyDirVolumeSource, Pod, ResourceRequirements, Volume
from nodeagent.pods.record import Record, from_json, to_json
from nodeagent.pressure import Signal, Usage, over_limit, signals, victim
from nodeagent.room import usage_of
from tests.harness.agents import VITALS, World, a_container, a_pod
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import FakeHost, Program

LOW_MEMORY = replace(VITALS, memory_available=(100 << 20) - 1)
FULL_DISK = replace(VITALS, disk_available=VITALS.disk // 10 - 1)
MEMORY = Signal("memory", "100Mi", 50 << 20)


def asking(name: str, memory: str = "", priority: int = 0) -> Pod:
    resources = ResourceRequirements(requests={"memory": memory} if memory else {})
    return a_pod(name, containers=(a_container(resources=resources),), priority=priority)


# ---- decisions


@pytest.mark.parametrize(
    ("changed", "crossed"),
    [
        ({}, []),
        ({"memory_available": 100 << 20}, []),
        ({"memory_available": (100 << 20) - 1}, ["memory"]),
        ({"disk_available": VITALS.disk // 10}, []),
        ({"disk_available": VITALS.disk // 10 - 1}, ["ephemeral-storage"]),
        ({"inodes_available": VITALS.inodes // 20}, ["inodes"]),
        ({"inodes_available": VITALS.inodes // 20 + 1}, []),
        ({"inodes": 0, "inodes_available": 0}, []),
        ({"memory_available": 0, "disk_available": 0}, ["memory", "ephemeral-storage"]),
    ],
)
def test_thresholds(changed: dict[str, int], crossed: list[str]) -> None:  # R9
    assert [s.resource for s in signals(replace(VITALS, **changed))] == crossed


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


def test_words() -> None:
    assert victim([(asking("a"), Usage())], MEMORY) is None
    found = victim([(asking("a", "1Mi"), Usage(memory=2 << 20))], MEMORY)
    assert found is not None
    assert found[1] == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 51200Ki. "
        "Pod was using 2048Ki, request is 1024Ki, has larger consumption of memory."
    )


def test_size_limits() -> None:  # R11
    pod = a_pod("a", volumes=[limited("v", "1Mi"), limited("m", "1", medium="Memory")])
    assert over_limit(pod, {"v": 1 << 20, "m": 99}) == ""
    assert over_limit(pod, {"v": (1 << 20) + 1}) == 'Usage of EmptyDir volume "v" exceeds the limit "1Mi".'


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
    record = Record(reason="Evicted", evicted_at=7)
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
