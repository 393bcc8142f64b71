"""The runtime alone: pods up and down on Podman, as the agent does it, against `podman kube play`, in one run.

`python -m benchmarks.runtime [--pods 30] [--rounds 3]`, as root, without a mesh. CPU is what the kernel charged to the
cgroups that take part (this process, Podman, monitors, containers), so other work on the machine doesn't count.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pods import manifests, peer
from nodeagent.runtime import cgroups
from nodeagent.runtime.podman import PodmanRuntime
from nodeagent.runtime.port import ContainerSpec, SandboxSpec
from nodeagent.runtime.seen import Role, State
from tests.harness.podman import IMAGE, podman_host

OWN = "/mesh-bench"
CHARGED = (OWN, "/mesh", "/libpod_parent", "/machine.slice")


@dataclass
class Cost:
    """Wall and CPU of one act on all pods, in seconds."""

    wall: float
    cpu: float


def cpu_seconds() -> float:
    """What the kernel charged to everything that takes part, since boot."""
    total = 0.0
    for path in CHARGED:
        if cgroups.version() == 2:
            file = cgroups.ROOT / path.lstrip("/") / "cpu.stat"
            total += int(file.read_text().split()[1]) / 1e6 if file.exists() else 0
        else:
            file = cgroups.ROOT / "cpuacct" / path.lstrip("/") / "cpuacct.usage"
            total += int(file.read_text()) / 1e9 if file.exists() else 0
    return total


class Clock:
    """`with Clock() as clock: …` leaves the cost in clock.cost."""

    def __enter__(self) -> "Clock":
        self._wall, self._cpu = time.perf_counter(), cpu_seconds()
        self.cost = Cost(0, 0)
        return self

    def __exit__(self, *_: object) -> None:
        self.cost = Cost(time.perf_counter() - self._wall, cpu_seconds() - self._cpu)


def join_own_cgroup() -> None:
    """Moves this process, and what it starts, into a cgroup whose CPU can be read."""
    root = cgroups.ROOT if cgroups.version() == 2 else cgroups.ROOT / "cpuacct"
    directory = root / OWN.lstrip("/")
    directory.mkdir(exist_ok=True)
    (directory / "cgroup.procs").write_text(str(os.getpid()))


def leave_own_cgroup() -> None:
    """Undoes `join_own_cgroup`."""
    root = cgroups.ROOT if cgroups.version() == 2 else cgroups.ROOT / "cpuacct"
    (root / "cgroup.procs").write_text(str(os.getpid()))
    cgroups.remove_empty(OWN)


async def up(runtime: PodmanRuntime, uid: str) -> None:
    """One pod of one container, until it runs."""
    await runtime.make_sandbox(SandboxSpec(uid, "bench", f"p-{uid}", "p"))
    image = await runtime.image(IMAGE)
    spec = ContainerSpec(
        pod_uid=uid, namespace="bench", pod_name=f"p-{uid}", name="main", attempt=0, role=Role.APP, spec_hash="",
        image=IMAGE, image_id=image.id if image else IMAGE, command=["/bin/busybox", "sleep", "3600"],
    )  # fmt: skip
    await runtime.start(await runtime.create(spec))
    pod = await runtime.pod(uid)
    if pod is None or pod.containers[0].state is not State.RUNNING:
        raise RuntimeError(f"the pod does not run: {pod}")


async def down(runtime: PodmanRuntime, uid: str) -> None:
    """KILL and removal, until nothing is left."""
    pod = await runtime.pod(uid)
    for container in pod.containers if pod else ():
        await runtime.kill(container.id, "KILL")
        await runtime.remove(container.id)
    await runtime.remove_sandbox(uid)


async def one_round(runtime: PodmanRuntime, count: int) -> tuple[Cost, Cost]:
    """`count` pods at once, up and then down."""
    uids = [str(uuid.uuid4()) for _ in range(count)]
    with Clock() as starting:
        await asyncio.gather(*(up(runtime, uid) for uid in uids))
    with Clock() as ending:
        await asyncio.gather(*(down(runtime, uid) for uid in uids))
    return starting.cost, ending.cost


async def ours(count: int, rounds: int) -> list[tuple[Cost, Cost]]:
    """Rounds on a prepared root of their own."""
    with podman_host() as host:
        runtime = PodmanRuntime(host.config)
        await runtime.configure(host.pod_cidr, host.cluster_cidr)
        await one_round(runtime, 1)
        costs = [await one_round(runtime, count) for _ in range(rounds)]
        await runtime.close()
        print(f"runtime: {runtime.chosen.name}, {runtime.chosen.why}")
        return costs


def theirs(count: int, rounds: int) -> list[tuple[Cost, Cost]]:
    """`podman kube play` and `kube down` of the same pods."""
    costs = []
    with peer() as podman, tempfile.TemporaryDirectory() as folder:
        podman.start(1)
        path = Path(folder) / "pods.yaml"
        path.write_text(manifests(count))
        for _ in range(rounds):
            with Clock() as starting:
                podman.run("kube", "play", str(path))
            with Clock() as ending:
                podman.run("kube", "down", str(path))
            costs.append((starting.cost, ending.cost))
    return costs


def show(name: str, count: int, costs: list[tuple[Cost, Cost]]) -> tuple[float, float]:
    """Prints medians; returns wall and CPU of the start."""
    walls = [statistics.median(c[i].wall for c in costs) for i in (0, 1)]
    cpus = [statistics.median(c[i].cpu for c in costs) / count * 1000 for i in (0, 1)]
    print(
        f"{name:10} up {walls[0]:6.2f} s {cpus[0]:4.0f} ms CPU/pod   down {walls[1]:6.2f} s {cpus[1]:4.0f} ms CPU/pod"
    )
    return walls[0], cpus[0]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pods", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    join_own_cgroup()
    try:
        mine = show("runtime", arguments.pods, asyncio.run(ours(arguments.pods, arguments.rounds)))
        peers = show("kube play", arguments.pods, theirs(arguments.pods, arguments.rounds))
        print(f"ratio      wall {mine[0] / peers[0]:.2f}, CPU {mine[1] / peers[1]:.2f}")
    finally:
        leave_own_cgroup()


if __name__ == "__main__":
    main()
