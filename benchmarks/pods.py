"""Pods from apply to all Running: the mesh against `podman kube play` of the same pods, in one run.

`make bench` or `python benchmarks/pods.py [--rounds 3] [--sizes 1,10,30]`; needs a running mesh on this machine
(`make up`). Wall time runs from sending the manifests until every pod is Running (seen by a watch; for Podman until the
command returns, which is when its pods run). CPU is everything the machine spent meanwhile (/proc/stat), so run it on
a quiet machine. Every pod has one container of a local busybox image that waits.
"""

import argparse
import asyncio
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mesh.model import manifest
from mesh.sdk import AsyncClient
from mesh.v1.core_pb2 import Pod

NAMESPACE = "bench"
IMAGE = "localhost/mesh-bench:1"
POD = """\
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  terminationGracePeriodSeconds: 2
  restartPolicy: Never
  containers:
  - name: main
    image: {image}
    imagePullPolicy: Never
    command: ["/bin/busybox", "sleep", "3600"]
"""


def busy_seconds() -> float:
    """CPU seconds that all processes of the machine have used, from /proc/stat (10 ms ticks)."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / 100


def manifests(count: int) -> str:
    """`count` pods, as one text."""
    return "---\n".join(POD.format(name=f"p{i}", namespace=NAMESPACE, image=IMAGE) for i in range(count))


@dataclass
class Sample:
    """One start of `count` pods."""

    wall: float
    cpu: float
    phases: dict[str, float] = field(default_factory=dict)  # median milliseconds per pod, from the apply on


class PodmanPlay:
    """`podman kube play` on a root of its own, with Podman's defaults."""

    def __init__(self, folder: Path) -> None:
        conf = folder / "containers.conf"
        # Without these two limits no container starts where hard limits can't be raised; they cost nothing.
        conf.write_text('[containers]\ndefault_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]\n')
        self._folder = folder
        self._base = ["podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run", "--tmpdir", f"{folder}/tmp",
                      "--network-config-dir", f"{folder}/net", "--cgroup-manager", "cgroupfs"]  # fmt: skip
        self._env = {
            "CONTAINERS_CONF": str(conf),
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        }

    def run(self, *args: str) -> None:
        """One Podman command; raises CalledProcessError with its words printed."""
        argv = [*self._base, *args]
        done = subprocess.run(argv, env=self._env, cwd=self._folder, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr)
            done.check_returncode()

    def start(self, count: int) -> Sample:
        """Plays `count` pods and takes them down again."""
        path = self._folder / "pods.yaml"
        path.write_text(manifests(count))
        cpu, wall = busy_seconds(), time.perf_counter()
        self.run("kube", "play", str(path))
        sample = Sample(time.perf_counter() - wall, busy_seconds() - cpu)
        self.down(path)
        return sample

    def down(self, path: Path) -> None:
        """Takes the pods away, which is not measured; `kube down` may stumble over a busy control group."""
        try:
            self.run("kube", "down", str(path))
        except subprocess.CalledProcessError:
            self.run("pod", "rm", "--all", "--force")


class Mesh:
    """The mesh of this machine, through its API."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def start(self, count: int) -> Sample:
        """Applies `count` pods, waits for all Running, deletes them and waits until they are gone."""
        pods = manifest.load(manifests(count), "pods").objects
        changes = self._client.watch(Pod, namespace=NAMESPACE)
        marks: dict[str, dict[str, float]] = {pod.metadata.name: {} for pod in pods}
        cpu, wall, now = busy_seconds(), time.perf_counter(), time.time()
        applying = asyncio.create_task(self._apply(pods))
        async for change in changes:
            mark(marks[change.object.metadata.name], change.object, now)
            if all("Running seen" in m for m in marks.values()):
                break
        sample = Sample(time.perf_counter() - wall, busy_seconds() - cpu)
        sample.phases = {"applied": (await applying - now) * 1000}
        for phase in ("scheduled", "started", "Running seen"):
            sample.phases[phase] = statistics.median(m[phase] for m in marks.values())
        await changes.aclose()
        await self._delete_all(pods)
        return sample

    async def _apply(self, pods: Sequence[Pod]) -> float:
        await self._client.apply(pods)
        return time.time()

    async def _delete_all(self, pods: Sequence[Pod]) -> None:
        for pod in pods:
            await self._client.delete(Pod, pod.metadata.name, namespace=NAMESPACE)
        for pod in pods:
            await self._client.wait(Pod, pod.metadata.name, namespace=NAMESPACE, delete=True, timeout=60)


def mark(marks: dict[str, float], pod: Pod, applied: float) -> None:
    """Notes milliseconds since the apply: scheduled and Running as the watch shows them, started as the host says."""
    seen = (time.time() - applied) * 1000
    if pod.spec.node_name:
        marks.setdefault("scheduled", seen)
    if pod.status.phase == "Running":
        marks.setdefault("Running seen", seen)
        started_at = pod.status.container_statuses[0].state.running.started_at
        marks.setdefault("started", started_at.ToNanoseconds() / 1e6 - applied * 1000)


@contextmanager
def peer() -> Iterator[PodmanPlay]:
    """A private Podman root with the image in it; removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="kube-play-"))
    podman = PodmanPlay(folder)
    try:
        podman.run("import", "--change", "ENV PATH=/bin", str(image_archive(folder)), IMAGE)
        yield podman
    finally:
        podman.run("system", "reset", "--force")
        shutil.rmtree(folder)


def image_archive(folder: Path) -> Path:
    """A root file system with a static busybox, as a tar."""
    (folder / "image" / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", folder / "image" / "bin" / "busybox")
    archive = folder / "image.tar"
    subprocess.run(["tar", "-C", folder / "image", "-cf", archive, "."], check=True)
    return archive


def report(count: int, ours: Sequence[Sample], theirs: Sequence[Sample]) -> None:
    """Prints medians and ratios of one size."""
    wall, cpu = (statistics.median(getattr(s, what) for s in ours) for what in ("wall", "cpu"))
    wall_peer, cpu_peer = (statistics.median(getattr(s, what) for s in theirs) for what in ("wall", "cpu"))
    print(f"{count:3} pods  mesh {wall * 1000:7.0f} ms {cpu / count * 1000:5.0f} ms CPU/pod   "
          f"kube play {wall_peer * 1000:7.0f} ms {cpu_peer / count * 1000:5.0f} ms CPU/pod   "
          f"ratio wall {wall / wall_peer:.2f} CPU {cpu / cpu_peer:.2f}")  # fmt: skip
    phases = {p: statistics.median(s.phases[p] for s in ours) for p in ours[0].phases}
    print("          median pod: " + "  ".join(f"{name} {value:.0f} ms" for name, value in phases.items()))


async def run(sizes: Sequence[int], rounds: int) -> None:
    """Alternates the two, round by round."""
    async with AsyncClient() as client:
        mesh = Mesh(client)
        await client.apply(f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n")
        with peer() as podman:
            await mesh.start(1)
            podman.start(1)
            for count in sizes:
                ours, theirs = [], []
                for _ in range(rounds if count > 1 else max(rounds, 9)):
                    ours.append(await mesh.start(count))
                    theirs.append(podman.start(count))
                report(count, ours, theirs)
        await client.delete("Namespace", NAMESPACE)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", default="1,10,30")
    parser.add_argument("--mesh-root", default="/var/lib/mesh", help="where the image is put into the mesh's Podman")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = f"unix://{options.mesh_root}/run/podman.sock"
        archive = str(image_archive(Path(folder)))
        subprocess.run(["podman", "--url", url, "import", "--change", "ENV PATH=/bin", archive, IMAGE], check=True)
    asyncio.run(run([int(size) for size in options.sizes.split(",")], options.rounds))


if __name__ == "__main__":
    main()
