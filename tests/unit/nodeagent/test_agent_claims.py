"""Claims on a host (V17): a directory that outlives pods, who may write it, and its end by order alone."""

import asyncio
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.v1.core_pb2 import Pod, PodSecurityContext, Volume, VolumeMount
from mesh.v1.node_pb2 import LocalVolume
from nodeagent.usage import HostMeasure
from nodeagent.volumes.local import Local, Unmountable
from nodeagent.volumes.tree import Tree
from tests.harness.agents import World, a_container, a_pod
from tests.harness.bent_time import bent

BOUND = LocalVolume(name="pvc-1", namespace="default", claim="data")


def with_claim(name: str, *, read_only: bool = False, **spec: object) -> Pod:
    volume = Volume(name="v")
    volume.persistent_volume_claim.claim_name = "data"
    volume.persistent_volume_claim.read_only = read_only
    mounted = a_container(volume_mounts=[VolumeMount(name="v", mount_path="/data")])
    return a_pod(name, containers=(mounted,), volumes=[volume], **spec)


def place(world: World) -> Path:
    return world.config.state_dir / "volumes" / "pvc-1"


@bent
async def test_a_pod_waits_for_its_claim_and_what_it_writes_outlives_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.start()
    await world.assign(with_claim("one"))
    await world.until(lambda: "FailedMount" in world.reasons("one"))
    assert "is not bound" in world.status("one").container_statuses[0].state.waiting.message
    world.volumes.append(BOUND)
    await world.assign()
    await world.until(lambda: world.phase("one") == "Running")
    spec = next(iter(world.host.specs.values()))
    assert [(m.source, m.read_only) for m in spec.mounts if m.destination == "/data"] == [(str(place(world)), False)]
    (place(world) / "kept").write_text("x")
    await world.delete("one")
    await world.until(lambda: world.gone("one"))
    await world.remove("one")
    await world.assign(with_claim("two", read_only=True))
    await world.until(lambda: world.phase("two") == "Running")
    assert (place(world) / "kept").read_text() == "x"
    spec = list(world.host.specs.values())[-1]
    assert [m.read_only for m in spec.mounts if m.destination == "/data"] == [True]
    await world.kill()


@bent
async def test_a_directory_goes_by_order_and_it_is_told(tmp_path: Path) -> None:
    world = World(tmp_path)
    for name in ("pvc-1", "pvc-2"):
        (tmp_path / "agent" / "volumes" / name).mkdir(parents=True)
        (tmp_path / "agent" / "volumes" / name / "file").write_text("x")
    await world.start()
    await world.assign()
    assert place(world).exists()  # that nobody speaks of it is no order
    world.volumes.append(LocalVolume(name="pvc-1", retired=True))
    await world.assign()
    await world.until(lambda: list(world.report.report.removed_volumes) == ["pvc-1"])
    assert not place(world).exists()
    assert (tmp_path / "agent" / "volumes" / "pvc-2" / "file").exists()
    world.volumes.clear()
    await world.assign()
    await world.until(lambda: not world.report.report.removed_volumes)
    await world.kill()


def owned(local: Local, policy: str) -> Path:
    pod = with_claim("one")
    pod.spec.security_context.CopyFrom(PodSecurityContext(fs_group=os.getgid(), fs_group_change_policy=policy))
    return Path(local.prepare(pod, pod.spec.volumes[0], BOUND))


@pytest.mark.parametrize(("policy", "again"), [("Always", 0o660), ("OnRootMismatch", 0o600)])
def test_a_group_owns_all_of_it_again_only_where_asked(tmp_path: Path, policy: str, again: int) -> None:  # E11
    local = Local(tmp_path)
    root = owned(local, policy)
    assert stat.S_IMODE(root.stat().st_mode) & 0o2770 == 0o2770
    (root / "file").touch(mode=0o600)
    (root / "link").symlink_to("/etc/passwd")
    owned(local, policy)
    assert stat.S_IMODE((root / "file").stat().st_mode) == again
    assert (root / "link").lstat().st_uid == os.getuid()


def test_what_another_pod_makes_a_link_meanwhile_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # E11
    outside, local = tmp_path / "outside", Local(tmp_path / "volumes")
    outside.mkdir(mode=0o700)
    (outside / "file").touch(mode=0o600)
    root = owned(local, "OnRootMismatch")
    (root / "d").mkdir(mode=0o700)
    (root / "d" / "file").touch(mode=0o600)

    def swapping(walk: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def walked(*arguments: Any, **named: Any) -> Iterator[Any]:
            for found in walk(*arguments, **named):
                if found[0] == str(root / "d"):
                    (root / "d").rename(root / "aside")
                    (root / "d").symlink_to(outside)
                yield found

        return walked

    for walk in (os.walk, os.fwalk):
        monkeypatch.setattr(os, walk.__name__, swapping(walk))
    owned(local, "Always")
    assert stat.S_IMODE((root / "aside" / "file").stat().st_mode) == 0o660
    assert stat.S_IMODE((outside / "file").stat().st_mode) == 0o600
    assert stat.S_IMODE(outside.stat().st_mode) == 0o700


def test_a_path_that_is_not_there_is_said(tmp_path: Path) -> None:
    pod = with_claim("one")
    bound = LocalVolume(name="mine", namespace="default", claim="data", path=str(tmp_path / "no"))
    with pytest.raises(Unmountable, match=r"/no, of persistentvolumeclaim .data., is no directory"):
        Local(tmp_path).prepare(pod, pod.spec.volumes[0], bound)


def test_nothing_but_our_own_is_removed(tmp_path: Path) -> None:
    (tmp_path / "volumes").mkdir()
    (tmp_path / "else").mkdir()
    Local(tmp_path / "volumes").remove("../else")
    assert (tmp_path / "else").exists()


def test_what_a_claim_holds_is_measured_also_by_an_agent_that_came_later(tmp_path: Path) -> None:
    config = World(tmp_path).config
    (config.state_dir / "volumes" / "pvc-1" / "deep").mkdir(parents=True)
    (config.state_dir / "volumes" / "pvc-1" / "deep" / "file").write_bytes(b"x" * 300_000)
    measure = HostMeasure(Tree(config.state_dir, config.log_dir, config.memory_dir), config)
    held = measure.pod(with_claim("one"), None, claims={"v": BOUND}).volumes
    assert 300_000 <= held["v"] < 400_000
    assert measure.pod(with_claim("one"), None).volumes == {}


@bent
async def test_a_pod_whose_claim_holds_too_much_goes(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.start()
    world.volumes.append(LocalVolume(name="pvc-1", namespace="default", claim="data", size=100 << 20))
    await world.assign(with_claim("one"))
    await world.until(lambda: world.phase("one") == "Running")
    world.measure.volume["one/v"] = 100 << 20
    await asyncio.sleep(60)
    assert world.phase("one") == "Running"
    world.measure.volume["one/v"] += 1
    await world.until(lambda: world.phase("one") == "Failed")
    assert world.status("one").reason == "Evicted"
    assert world.status("one").message == 'Usage of claim "data" exceeds its size "100Mi".'
    world.volumes[:] = [LocalVolume(name="pvc-1", namespace="default", claim="data", size=200 << 20)]  # it has grown
    await world.assign(with_claim("two"))
    world.measure.volume["two/v"] = 150 << 20
    await world.until(lambda: world.phase("two") == "Running")
    await asyncio.sleep(60)
    assert world.phase("two") == "Running"
    await world.kill()
