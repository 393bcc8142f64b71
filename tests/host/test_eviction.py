"""A disk that a container fills, on a real Podman: its pod goes, the host keeps working (R9, R10, R11)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.v1.core_pb2 import EmptyDirVolumeSource, Volume, VolumeMount
from nodeagent.machine import DISK_EVICTION, read_vitals
from tests.harness.podman import podman_host
from tests.harness.podman_node import DEADLINE, Node, a_container, a_pod, is_ready

pytestmark = pytest.mark.host

DISK = 256 << 20
FILL = "cat /dev/zero >{}/big 2>/dev/null; trap 'exit 0' TERM; sleep 100000 & wait $!"


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    with podman_host(disk=DISK) as host:
        made = Node(host)
        await made.start()
        yield made
        await made.assign()
        async with asyncio.timeout(DEADLINE):
            await made.agent.emptied()
        await made.kill()


def reason(node: Node, uid: str) -> str:
    return node.heard[uid].status.reason if uid in node.heard else ""


@pytest.mark.parametrize("where", ["", "/scratch"])
async def test_a_disk_filled_by_a_container(node: Node, where: str) -> None:
    calm = a_pod(1)
    volume = Volume(name="scratch", empty_dir=EmptyDirVolumeSource())
    mount = VolumeMount(name="scratch", mount_path="/scratch")
    greedy = a_pod(2, a_container("main", command=["sh", "-c", FILL.format(where)], volume_mounts=[mount]),
                   volumes=[volume])  # fmt: skip
    await node.running(calm)
    await node.assign(calm, greedy)
    await node.until(lambda heard: reason(node, greedy.metadata.uid) == "Evicted" and heard[
        greedy.metadata.uid].status.phase == "Failed")  # fmt: skip
    assert "ephemeral-storage" in node.heard[greedy.metadata.uid].status.message
    after = a_pod(3)
    await node.assign(calm, greedy, after)
    await node.until(lambda heard: all(is_ready(heard.get(p.metadata.uid)) for p in (calm, after)))
    vitals = read_vitals(node.host.config.root)
    assert vitals.disk_available > vitals.disk * DISK_EVICTION
    assert [s.restart_count for s in node.heard[calm.metadata.uid].status.container_statuses] == [0]
    assert not (Path(node.host.config.state_dir) / "pods" / greedy.metadata.uid / "volumes").exists()


async def test_a_volume_over_its_limit(node: Node) -> None:
    source = EmptyDirVolumeSource(size_limit="10Mi")
    fill = "head -c 12000000 /dev/zero >/scratch/big; trap 'exit 0' TERM; sleep 100000 & wait $!"
    pod = a_pod(1, a_container("main", command=["sh", "-c", fill],
                               volume_mounts=[VolumeMount(name="scratch", mount_path="/scratch")]),
                volumes=[Volume(name="scratch", empty_dir=source)])  # fmt: skip
    await node.running(pod)
    await node.until(lambda heard: heard[pod.metadata.uid].status.phase == "Failed")
    status = node.heard[pod.metadata.uid].status
    assert (status.reason, status.message) == (
        "Evicted",
        'Usage of EmptyDir volume "scratch" exceeds the limit "10Mi".',
    )
