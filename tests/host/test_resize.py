"""Resizing in place on a real Podman: the cgroup follows, the process stays (L20)."""

from pathlib import Path

import pytest

from mesh.v1.core_pb2 import Pod, ResourceRequirements
from nodeagent.runtime import cgroups
from tests.harness.podman_node import Node, a_container, a_pod

pytestmark = pytest.mark.host


def sized(cpu: str, memory: str) -> Pod:
    amounts = {"cpu": cpu, "memory": memory}
    return a_pod(1, a_container("main", resources=ResourceRequirements(requests=amounts, limits=amounts)))


def in_force(pid: int) -> tuple[int, int]:
    """(microseconds of cpu in 100 ms, bytes of memory) of a process, as the kernel has them."""
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    if cgroups.version() == 2:
        place = cgroups.ROOT / lines[0][2].lstrip("/")
        return int((place / "cpu.max").read_text().split()[0]), int((place / "memory.max").read_text())
    cpu, memory = (
        cgroups.ROOT / kind / next(p for _, names, p in lines if kind in names.split(",")).lstrip("/")
        for kind in ("cpu", "memory")
    )
    return int((cpu / "cpu.cfs_quota_us").read_text()), int((memory / "memory.limit_in_bytes").read_text())


async def test_a_running_container_grows_and_shrinks(node: Node) -> None:
    pod = sized("100m", "64Mi")
    await node.running(pod)
    before = await node.pids()
    pid = before[pod.metadata.uid, "main"]
    assert in_force(pid) == (10_000, 64 << 20)
    for cpu, memory, expected in (("250m", "96Mi", (25_000, 96 << 20)), ("50m", "32Mi", (5_000, 32 << 20))):
        await node.assign(sized(cpu, memory))
        await node.until(
            lambda heard, memory=memory: (  # type: ignore[misc]
                heard[pod.metadata.uid].status.container_statuses[0].resources.limits["memory"] == memory
            )
        )
        assert in_force(pid) == expected
    assert await node.pids() == before
