"""Resources of a whole pod on a real Podman: the pod's cgroup has its limits before any container runs (R3, R7)."""

from pathlib import Path

import pytest

from mesh.v1.core_pb2 import ResourceRequirements
from nodeagent.runtime import cgroups
from tests.harness.podman_node import Node, a_container, a_pod

pytestmark = pytest.mark.host
OWN = ResourceRequirements(requests={"cpu": "250m", "memory": "32Mi"}, limits={"cpu": "500m", "memory": "96Mi"})


def group_of(pid: int) -> tuple[Path, Path]:
    """The cgroup of a process's container in the hierarchies of cpu and of memory."""
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    if cgroups.version() == 2:
        place = cgroups.ROOT / lines[0][2].lstrip("/")
        return place, place
    places = [
        cgroups.ROOT / kind / next(p for _, names, p in lines if kind in names.split(",")).lstrip("/")
        for kind in ("cpu", "memory")
    ]
    return places[0], places[1]


def quota(cpu: Path) -> int:
    """Microseconds of a processor in 100 ms; -1 without a limit."""
    if cgroups.version() == 2:
        text = (cpu / "cpu.max").read_text().split()[0]
        return -1 if text == "max" else int(text)
    return int((cpu / "cpu.cfs_quota_us").read_text())


def most(memory: Path) -> int:
    """Bytes that a cgroup may hold; what is absurdly much is no limit."""
    text = (memory / ("memory.max" if cgroups.version() == 2 else "memory.limit_in_bytes")).read_text().strip()
    return 1 << 62 if text == "max" else int(text)


async def test_the_pods_cgroup_bounds_all_of_its_containers(node: Node) -> None:
    given = ResourceRequirements(requests={"cpu": "100m"}, limits={"cpu": "200m"})
    pod = a_pod(1, a_container("free"), a_container("bound", resources=given), resources=OWN)
    await node.running(pod)
    pids = await node.pids()
    for name, own_quota in (("free", -1), ("bound", 20_000)):
        cpu, memory = group_of(pids[pod.metadata.uid, name])
        assert (quota(cpu), quota(cpu.parent)) == (own_quota, 50_000)
        assert most(memory) >= 1 << 50
        assert most(memory.parent) == 96 << 20
        assert memory.parent.name == f"pod{pod.metadata.uid}"
        assert memory.parent.parent.name == "burstable"


async def test_containers_that_hold_too_much_together_are_killed_for_memory(node: Node) -> None:
    hold = ["sh", "-c", "tail /dev/zero"]
    pod = a_pod(2, a_container("hungry", command=hold), a_container("calm"), resources=OWN, restart_policy="Never")
    await node.assign(pod)
    uid = pod.metadata.uid
    await node.until(
        lambda heard: uid in heard and any(s.state.HasField("terminated") for s in heard[uid].status.container_statuses)
    )
    hungry, calm = node.heard[uid].status.container_statuses
    assert (hungry.state.terminated.reason, hungry.state.terminated.exit_code) == ("OOMKilled", 137)
    assert calm.state.HasField("running")


async def test_nothing_of_the_pods_cgroup_is_left(node: Node) -> None:
    pod = a_pod(3, resources=OWN, share_process_namespace=True)
    await node.running(pod)
    _, memory = group_of((await node.pids())[pod.metadata.uid, "main"])
    assert most(memory.parent) == 96 << 20
    await node.assign()
    await node.agent.emptied()
    assert not memory.parent.exists()
