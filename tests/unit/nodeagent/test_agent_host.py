"""Static pods, the host's report, images, leftovers (G10, G11, R8, R9, I1)."""

import asyncio
import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.model.pods import MIRROR
from mesh.v1.core_pb2 import Container
from nodeagent.agent import HEARTBEAT
from nodeagent.config import AgentConfig
from nodeagent.images import pull_policy
from nodeagent.machine import RUNTIME_GRACE, Machine, allocatable, capacity
from nodeagent.pressure import Gauge
from nodeagent.runtime.port import Image, RuntimeFailure
from nodeagent.runtime.seen import SeenPod
from nodeagent.static import StaticPods
from nodeagent.sweep import leftovers, manifest_of
from nodeagent.vitals import read_vitals
from nodeagent.volumes.tree import Tree
from tests.harness.agents import VITALS, World, a_pod
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import FakeRuntime

GOOD = """
apiVersion: v1
kind: Pod
metadata: {name: dns}
spec:
  hostNetwork: true
  containers:
  - {name: main, image: "dns:1"}
"""
CONFIG = AgentConfig("node1", "192.0.2.1", Path("/var/lib/mesh"), reserved_cpu="500m", reserved_memory="1Gi")


# ---- static pods


async def scanned(directory: Path) -> StaticPods:
    pods = StaticPods(directory, "node1", lambda: None)
    await pods.scan()
    return pods


async def test_a_static_pod_is_named_after_its_node(tmp_path: Path) -> None:  # G10
    (tmp_path / "dns.yaml").write_text(GOOD)
    (tmp_path / "notes.txt").write_text("no manifest")
    (pod,) = (await scanned(tmp_path)).pods.values()
    assert (pod.metadata.name, pod.metadata.namespace, pod.spec.node_name) == ("dns-node1", "default", "node1")
    assert pod.metadata.annotations[MIRROR] == pod.metadata.uid
    assert (pod.spec.restart_policy, pod.spec.containers[0].image_pull_policy) == ("Always", "IfNotPresent")
    again = await scanned(tmp_path)
    assert list(again.pods) == [pod.metadata.uid]


async def test_an_edited_manifest_is_another_pod(tmp_path: Path) -> None:
    path = tmp_path / "dns.yaml"
    path.write_text(GOOD)
    pods = await scanned(tmp_path)
    before = set(pods.pods)
    assert await pods.scan() is False
    path.write_text(GOOD.replace("dns:1", "dns:2"))
    os.utime(path, ns=(1, 1))
    assert await pods.scan() is True
    assert set(pods.pods).isdisjoint(before)
    path.unlink()
    assert await pods.scan() is True
    assert not pods.pods


@pytest.mark.parametrize(
    "change",
    [
        "  volumes: [{name: v, secret: {secretName: s}}]",
        "  volumes: [{name: v, configMap: {name: c}}]",
        "  serviceAccountName: someone",
        "  nonsense: 1",
    ],
)
async def test_what_needs_meshd_is_refused_and_the_others_run(tmp_path: Path, change: str) -> None:  # G10
    (tmp_path / "bad.yaml").write_text(GOOD.replace("name: dns", "name: bad").rstrip() + "\n" + change + "\n")
    (tmp_path / "good.yaml").write_text(GOOD)
    assert [p.metadata.name for p in (await scanned(tmp_path)).pods.values()] == ["dns-node1"]


@pytest.mark.parametrize("source", ["configMapKeyRef: {name: c, key: k}", "secretKeyRef: {name: c, key: k}"])
async def test_environment_from_meshds_objects_is_refused(tmp_path: Path, source: str) -> None:  # G10
    (tmp_path / "bad.yaml").write_text(
        GOOD.replace('image: "dns:1"', f'image: "dns:1", env: [{{name: X, valueFrom: {{{source}}}}}]')
    )
    assert not (await scanned(tmp_path)).pods


async def test_a_new_manifest_is_noticed_at_once(tmp_path: Path) -> None:
    changed = asyncio.Event()
    pods = StaticPods(tmp_path, "node1", changed.set)
    task = asyncio.create_task(pods.run())
    await asyncio.sleep(0)
    (tmp_path / "dns.yaml").write_text(GOOD)
    async with asyncio.timeout(30):
        await changed.wait()
    assert len(pods.pods) == 1
    task.cancel()


@bent
async def test_a_static_pod_runs_without_meshd_and_is_mirrored(tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "dns.yaml").write_text(GOOD)
    world = World(tmp_path)
    await world.start()
    await world.until(lambda: any(r.status.phase == "Running" for r in world.heard.values()))
    (report,) = world.heard.values()
    assert report.mirror.metadata.name == "dns-node1"
    assert report.status.pod_ip == "192.0.2.1"
    (tmp_path / "manifests" / "dns.yaml").unlink()
    await asyncio.sleep(60)
    assert len(world.host.containers) == 1  # nothing is removed before the first Assignment
    await world.assign()
    await world.until(lambda: world.heard[report.uid].gone)
    assert not world.host.containers
    await world.kill()


# ---- the host


class NoNetwork(FakeRuntime):
    """A runtime whose bridge can't be made."""

    tries = 0

    async def configure(self, pod_cidr: str, cluster_cidr: str) -> None:
        NoNetwork.tries += 1
        raise RuntimeFailure("NetworkNotReady", "no bridge")


@bent
async def test_a_network_that_is_not_ready_is_tried_again_with_each_heartbeat(tmp_path: Path) -> None:
    world = World(tmp_path, runtime=NoNetwork)
    await world.start()
    await world.assign()
    await asyncio.sleep(5 * HEARTBEAT)
    ready = next(c for c in world.report.report.status.conditions if c.type == "Ready")
    assert (ready.status, "no bridge" in ready.message) == ("False", True)
    assert 5 <= NoNetwork.tries <= 8
    await world.kill()


def test_capacity_and_what_of_it_is_given() -> None:  # R8, R9
    assert capacity(VITALS, CONFIG) == {
        "cpu": "4", "memory": f"{8 << 20}Ki", "ephemeral-storage": f"{100 << 20}Ki", "pods": "110",
    }  # fmt: skip
    given = allocatable(VITALS, CONFIG)
    assert given["cpu"] == "3500m"
    assert given["memory"] == f"{(8 << 20) - (1 << 20) - 100 * 1024}Ki"
    assert given["ephemeral-storage"] == f"{int((100 << 30) * 0.9) // 1024}Ki"


def test_pressures() -> None:  # R9
    def named(**fields: int) -> set[str]:
        return set(Gauge(CONFIG.eviction).look(replace(VITALS, **fields), 0).conditions)

    assert named() == set()
    assert named(memory_available=(100 << 20) - 1) == {"MemoryPressure"}
    assert named(memory_available=100 << 20) == set()
    assert named(disk_available=(15 << 30) - 1) == {"DiskPressure"}  # images lie there too
    assert named(disk_available=15 << 30) == set()
    assert named(inodes_available=int((1 << 20) * 0.05) - 1) == {"DiskPressure"}
    assert named(pids=32768 - 999) == {"PIDPressure"}


def test_the_host_is_ready_as_long_as_its_runtime_is_not_away_for_long() -> None:
    machine = Machine(CONFIG, "podman://4.3.1")

    def readiness(now: int, **fields: object) -> tuple[str, int]:
        status = machine.report(VITALS, now, **fields).status  # type: ignore[arg-type]
        ready = next(c for c in status.conditions if c.type == "Ready")
        return ready.status, ready.last_transition_time.seconds

    begin = 1000 * 10**9
    assert readiness(begin) == ("True", 1000)
    assert readiness(begin + RUNTIME_GRACE, runtime_away_since=begin) == ("True", 1000)
    assert readiness(begin + RUNTIME_GRACE + 10**9, runtime_away_since=begin) == ("False", 1031)
    assert readiness(begin + 90 * 10**9, trouble="no network") == ("False", 1031)
    assert readiness(begin + 99 * 10**9) == ("True", 1099)


def test_the_report_changes_only_when_something_does() -> None:  # G11
    machine = Machine(CONFIG, "podman://4.3.1")
    one = machine.report(VITALS, 10**12)
    assert machine.report(replace(VITALS, memory_available=5 << 30, pids=300), 10**12 + 10**10) == one
    assert one.status.node_info.container_runtime_version == "podman://4.3.1"
    assert {a.type: a.address for a in one.status.addresses} == {"InternalIP": "192.0.2.1", "Hostname": "node1"}
    assert one.labels["mesh/cgroup-version"] in ("v1", "v2")
    machine.images = [Image(f"sha256:{n}", (f"i:{n}",), n) for n in range(60)]
    shown = machine.report(VITALS, 10**12).status.images
    assert (len(shown), shown[0].size_bytes) == (50, 59)


def test_vitals_of_this_machine(tmp_path: Path) -> None:
    vitals = read_vitals(tmp_path / "not" / "there" / "yet")
    assert 0 < vitals.memory_available <= vitals.memory
    assert 0 < vitals.disk_available <= vitals.disk
    assert 0 < vitals.pids < vitals.pids_limit


# ---- images, leftovers


@pytest.mark.parametrize(
    ("image", "policy"),
    [("web", "Always"), ("web:latest", "Always"), ("web:1", "IfNotPresent"), ("host:5000/web", "Always"),
     ("host:5000/web:2", "IfNotPresent"), ("web@sha256:" + "a" * 64, "IfNotPresent")],
)  # fmt: skip
def test_pull_policy(image: str, policy: str) -> None:  # I1
    assert pull_policy(Container(image=image)) == policy
    assert pull_policy(Container(image=image, image_pull_policy="Never")) == "Never"


def test_leftovers(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "state", tmp_path / "logs", tmp_path / "memory")
    for uid in ("known", "files", "runs"):
        tree.write_record(uid, "{}")
    (tmp_path / "logs" / "default_old_logs").mkdir(parents=True)
    seen = {uid: SeenPod(uid, "default", uid) for uid in ("known", "runs")}
    found = leftovers(seen, tree, {"known"})
    assert (set(found.pods), found.files) == ({"runs"}, {"files", "logs"})
    assert manifest_of(found.pods["runs"]).metadata.uid == "runs"


@bent
async def test_leftover_files_are_swept_after_the_first_assignment(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "agent", tmp_path / "log" / "pods", tmp_path / "memory")
    tree.write_record("nobody", "{}")
    world = World(tmp_path)
    await world.start()
    await asyncio.sleep(200)
    assert tree.uids() == {"nobody"}
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    await asyncio.sleep(5)
    assert tree.uids() == {"uid-web"}
    await world.kill()


@bent
async def test_a_leftover_that_can_not_be_removed_keeps_nobody_from_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Tree(tmp_path / "agent", tmp_path / "log" / "pods", tmp_path / "memory").write_record("nobody", "{}")
    tried: list[str] = []

    def busy(_tree: Tree, uid: str) -> None:
        tried.append(uid)
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(Tree, "remove", busy)
    world = World(tmp_path)
    await world.start()
    await world.assign()
    await world.until(lambda: tried == ["nobody", "nobody"], 300)
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    await world.kill()


@bent
async def test_images_that_someone_else_brings_are_reported_in_a_moment_and_listed_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.start()
    loop = asyncio.get_running_loop()

    def reported() -> set[str]:
        return {name for image in world.report.report.status.images for name in image.names}

    def looks() -> int:
        return world.host.calls.count(("images",))

    await asyncio.sleep(20)
    before, began = looks(), loop.time()
    for number in range(5):
        world.host.add_image(f"i:{number}")
    await world.until(lambda: "i:4" in reported(), 5)
    assert loop.time() - began < 2
    assert looks() == before + 1
    await asyncio.sleep(200)
    assert looks() == before + 1
    await world.kill()
