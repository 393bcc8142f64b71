"""A disk that a container fills, on a real Podman: its pod goes, the host keeps working (R9, R10, R11)."""

import asyncio
import io
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.model.conditions import find
from mesh.v1.core_pb2 import EmptyDirVolumeSource, Pod, ResourceRequirements, Volume, VolumeMount
from nodeagent import agent, room
from nodeagent.thresholds import Eviction
from nodeagent.vitals import read_vitals
from tests.harness.podman import podman_host
from tests.harness.podman_node import DEADLINE, GENTLE, Node, a_container, a_pod, is_ready

pytestmark = pytest.mark.host

DISK = 256 << 20
STAY = "trap 'exit 0' TERM; sleep 100000 & wait $!"
FILL = "cat /dev/zero >{}/big 2>/dev/null; " + STAY


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Node]:
    monkeypatch.setattr(room, "EVERY", 2.0)
    monkeypatch.setattr(agent, "HEARTBEAT", 2.0)
    settings = {"eviction": Eviction(pressure_transition_seconds=1), "image_gc_min_age_seconds": 0}
    with podman_host(disk=DISK, **settings) as host:
        made = Node(host)
        await made.start()
        yield made
        await made.assign()
        async with asyncio.timeout(DEADLINE):
            await made.agent.emptied()
        await made.kill()


def reason(node: Node, pod: Pod) -> str:
    return node.heard[pod.metadata.uid].status.reason if pod.metadata.uid in node.heard else ""


def message(node: Node, pod: Pod) -> str:
    return node.heard[pod.metadata.uid].status.message


def pressed(node: Node) -> bool:
    condition = find(node.report.status.conditions, "DiskPressure")
    return condition is not None and condition.status == "True"


async def evicted(node: Node, *pods: Pod) -> None:
    await node.until(lambda heard: all(
        reason(node, p) == "Evicted" and heard[p.metadata.uid].status.phase == "Failed" for p in pods
    ))  # fmt: skip


def scratch(size_limit: str = "") -> tuple[Volume, VolumeMount]:
    source = EmptyDirVolumeSource(size_limit=size_limit) if size_limit else EmptyDirVolumeSource()
    return Volume(name="scratch", empty_dir=source), VolumeMount(name="scratch", mount_path="/scratch")


@pytest.mark.parametrize("where", ["", "/scratch"])
async def test_a_disk_filled_by_a_container(node: Node, where: str) -> None:
    calm = a_pod(1)
    volume, mount = scratch()
    greedy = a_pod(2, a_container("main", command=["sh", "-c", FILL.format(where)], volume_mounts=[mount]),
                   volumes=[volume])  # fmt: skip
    await node.running(calm)
    await node.assign(calm, greedy)
    await evicted(node, greedy)
    assert "The node was low on resource: ephemeral-storage." in message(node, greedy)
    assert ("Container main was using" in message(node, greedy)) == (not where)  # a volume is no container's
    assert "Attempting to reclaim ephemeral-storage" in {e.message for e in node.events}
    await node.until(lambda _: pressed(node))  # until the host has said so, its last word is of before
    await node.until(lambda _: not pressed(node))
    after = a_pod(3)
    await node.assign(calm, greedy, after)
    await node.until(lambda heard: all(is_ready(heard.get(p.metadata.uid)) for p in (calm, after)))
    vitals = read_vitals(node.host.config.root)
    assert vitals.disk_available > vitals.disk * 0.15
    assert [s.restart_count for s in node.heard[calm.metadata.uid].status.container_statuses] == [0]
    assert not (Path(node.host.config.state_dir) / "pods" / greedy.metadata.uid / "volumes").exists()


async def test_limits_of_pods_own(node: Node) -> None:  # R11
    volume, mount = scratch("10Mi")
    write = "head -c {} /dev/zero >{}/big; " + STAY
    talk = (
        "i=0; while [ $i -lt 60000 ]; do echo 'a line that is long enough to count for something'; i=$((i+1)); done; "
    )

    def limited(number: int, script: str, limit: str = "") -> Pod:
        resources = ResourceRequirements()
        if limit:
            resources.limits["ephemeral-storage"] = limit
        main = a_container("main", command=["sh", "-c", script], resources=resources, volume_mounts=[mount])
        return a_pod(number, main, volumes=[volume])

    in_volume = limited(1, write.format(12_000_000, "/scratch"))
    in_layer = limited(2, write.format(6_000_000, ""), "5Mi")
    in_logs = limited(3, talk + STAY, "3Mi")
    other = a_container("other", command=GENTLE)
    in_whole = limited(4, write.format(6_000_000, "/scratch"), "5Mi")
    in_whole.spec.containers.append(other)
    within = limited(5, write.format(4_000_000, ""), "5Mi")
    await node.assign(in_volume, in_layer, in_logs, in_whole, within)
    await evicted(node, in_volume, in_layer, in_logs, in_whole)
    assert message(node, in_volume) == 'Usage of EmptyDir volume "scratch" exceeds the limit "10Mi".'
    whole = "Pod ephemeral local storage usage exceeds the total limit of containers {}."
    assert message(node, in_whole) == message(node, in_layer) == whole.format("5Mi")
    assert message(node, in_logs) == whole.format("3Mi")
    assert is_ready(node.heard[within.metadata.uid])
    assert "DisruptionTarget" not in {c.type for c in node.heard[in_layer.metadata.uid].status.conditions}


async def test_images_that_nobody_uses_go_before_pods(node: Node) -> None:  # R10
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("big")
        entry.size = 40 << 20
        tar.addfile(entry, io.BytesIO(os.urandom(entry.size)))
    node.host.podman("import", "-", "localhost/unused:1", data=buffer.getvalue())
    free = read_vitals(node.host.config.root).disk_available
    fill = free - int(DISK * 0.15) + (10 << 20)
    pod = a_pod(1, a_container("main", command=["sh", "-c", f"head -c {fill} /dev/zero >/big; {STAY}"]))
    await node.assign(pod)
    await node.until(lambda _: any(e.reason == "EvictionThresholdMet" for e in node.events))
    await node.until(lambda _: not pressed(node) and node.report.status.images)
    names = {name for image in await node.runtime.images() for name in image.names}
    assert "localhost/unused:1" not in names
    assert "localhost/mesh-test:1" in names
    assert is_ready(node.heard[pod.metadata.uid])
