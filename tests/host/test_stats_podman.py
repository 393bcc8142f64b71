"""What is measured of real containers: processor, memory, network, disk, as the kernel counts them (G7, G8)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh.v1.core_pb2 import EmptyDirVolumeSource, ResourceRequirements, Volume, VolumeMount
from mesh.v1.stats_pb2 import ContainerStats, PodStats
from nodeagent.runtime import cgroups
from tests.harness.figures import parse
from tests.harness.podman import podman_host
from tests.harness.podman_node import Node, a_container, a_pod

pytestmark = pytest.mark.host

BUSY = ["sh", "-c", "trap 'exit 0' TERM; while :; do :; done"]
EATER = ["sh", "-c", "(head -c 31457280 /dev/zero; exec sleep 100000) | tail -n 1"]  # holds 30 MiB: one long line
MI = 1 << 20


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    with podman_host() as host:
        node = Node(host)
        await node.start()
        yield node
        await node.assign()
        await node.agent.emptied()
        await node.kill()


def counted(path: str) -> int:
    """Nanoseconds of a control group, as the kernel says them."""
    if cgroups.version() == 2:
        text = Path(f"/sys/fs/cgroup{path}/cpu.stat").read_text()
        return int(text.split()[1]) * 1000
    return int(Path(f"/sys/fs/cgroup/cpuacct{path}/cpuacct.usage").read_text())


async def test_what_containers_use_is_what_the_kernel_counts(node: Node) -> None:
    limits = ResourceRequirements(limits={"cpu": "200m", "memory": "100Mi"}, requests={"cpu": "10m"})
    pod = a_pod(
        1, a_container("busy", command=BUSY, resources=limits), a_container("eater", command=EATER),
        a_container("writer", volume_mounts=[VolumeMount(name="data", mount_path="/data")]),
        volumes=[Volume(name="data", empty_dir=EmptyDirVolumeSource())],
    )  # fmt: skip
    await node.running(pod)
    await node.said(pod, "head -c 1048576 /dev/zero > /file; head -c 2097152 /dev/zero > /data/file", "writer")
    held = "cat /proc/[0-9]*/statm | awk '{s+=$2} END {print s}'"  # pages
    await node.said(pod, f'until [ "$({held})" -gt 7680 ]; do sleep 0.05; done', "eater")
    meter = node.agent.stats.meter
    group = next(c.cgroup for c in meter.subjects()[0].containers if c.name == "busy")

    before = counted(group)
    stats = await of_pod(node)
    after = counted(group)
    busy, eater = part(stats, "busy"), part(stats, "eater")
    assert before <= busy.cpu.usage_core_nano_seconds <= after
    assert 10_000_000 < busy.cpu.usage_nano_cores < 600_000_000  # its limit is 0.2; machines of tests are busy
    assert busy.cpu.usage_nano_cores > eater.cpu.usage_nano_cores
    assert 30 * MI <= eater.memory.working_set_bytes < 90 * MI
    assert busy.memory.working_set_bytes < 10 * MI
    assert busy.memory.available_bytes == 100 * MI - busy.memory.working_set_bytes
    assert stats.memory.working_set_bytes >= eater.memory.working_set_bytes
    assert stats.process_stats.process_count >= 4

    await node.said(pod, "echo hello | nc -u -w 1 10.199.0.1 9; true", "writer")
    seen = [int(await node.said(pod, f"cat /sys/class/net/eth0/statistics/{what}_bytes")) for what in ("tx", "rx")]
    network = (await of_pod(node)).network
    assert network.tx_bytes >= seen[0] > 0
    assert network.rx_bytes >= seen[1]

    await meter.sizes.walked()
    stats = await of_pod(node)
    assert part(stats, "writer").rootfs.used_bytes >= MI > part(stats, "busy").rootfs.used_bytes
    assert stats.volume[0].used_bytes >= 2 * MI

    figures = parse((await meter.answer("/metrics/cadvisor")).body)
    uid = {"namespace": "default", "pod": "p1"}
    assert figures.of("container_cpu_usage_seconds_total", container="busy", **uid) >= after / 1e9
    assert figures.of("container_cpu_cfs_throttled_periods_total", container="busy", **uid) > 0
    assert figures.of("container_memory_working_set_bytes", container="eater", **uid) >= 30 * MI
    assert figures.of("container_network_transmit_bytes_total", interface="eth0", **uid) >= seen[0]
    assert figures.of("container_scrape_error") == 0


async def of_pod(node: Node) -> PodStats:
    return (await node.agent.stats.meter.summary()).pods[0]


def part(stats: PodStats, name: str) -> ContainerStats:
    return next(c for c in stats.containers if c.name == name)
