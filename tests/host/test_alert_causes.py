"""Every shipped alert fires by its cause and clears when that is mended: a cluster in bent time, what its programs
really expose, and Debian's promtool as the judge. A rule that names a figure which nobody exposes fails here."""

import asyncio
import os
import random
import subprocess
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from mesh import pki
from mesh.errors import Unavailable
from mesh.exposition.web import Files
from mesh.model.manifest import load
from mesh.store.memory import MemoryStore
from mesh.store.port import Write
from nodeagent.runtime import names
from nodeagent.runtime.port import Image, RuntimeFailure
from nodeagent.stats.reading import Reader
from tests.harness import bent_time
from tests.harness.agents import VITALS
from tests.harness.bent_time import BentLoop
from tests.harness.cluster import Checks, Cluster
from tests.harness.control import test_pki
from tests.harness.fake_checks import FakeChecks
from tests.harness.fake_runtime import EPOCH, Program
from tests.harness.figures import PROC, V1, write_pki, write_proc, write_v1
from tests.harness.scraping import Scraped, verdict

pytestmark = pytest.mark.host

Story = Callable[[Path], Coroutine[Any, Any, str]]  # what promtool is to judge
SHIPPED = Path(__file__).resolve().parents[2] / "ansible" / "monitoring"
RULES = SHIPPED / "mesh-rules.yml"
WELL, SICK, MENDED = 4, 23, 20  # minutes of each
MISSING = "missing:1"
TEMPLATE = "metadata: {labels: {app: x}}, spec: {terminationGracePeriodSeconds: 1, containers: [{name: c, image: %s}]}"
POD = "{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: a%s}, spec: {%s}}\n---\n"
ONE = "nodeName: host0, terminationGracePeriodSeconds: 1, containers: [{name: c, image: 'example:1'%s}]"
WORKLOAD = (
    "{apiVersion: apps/v1, kind: %s, metadata: {name: %s, namespace: a}, "
    "spec: {%sselector: {matchLabels: {app: x}}, template: {%s}}}\n---\n"
)
GOOD = (
    "{apiVersion: v1, kind: Namespace, metadata: {name: a}}\n---\n"
    + POD % ("probed", "", ONE % ", readinessProbe: {exec: {command: [ok]}, periodSeconds: 1}")
    + POD % ("limited", "", ONE % ", resources: {limits: {cpu: 100m, memory: 10Mi}}")
    + POD % ("victim", "", (ONE % "").replace("host0", "host2"))
    + WORKLOAD % ("DaemonSet", "agent", "", TEMPLATE % "'example:1'")
)
BAD = (
    POD % ("crashing", "", ONE % "")
    + POD % ("greedy", "", ONE % ", resources: {limits: {memory: 10Mi}}")
    + POD % ("stuck", "", (ONE % "").replace("example:1", MISSING))
    + POD % ("big", "", "containers: [{name: c, image: 'example:1', resources: {requests: {cpu: '900'}}}]")
    + POD % ("silent", ", annotations: {prometheus.io/scrape: 'true', prometheus.io/port: '%d'}",
             "hostNetwork: true, " + ONE % "")
    + POD % ("chatty", ", annotations: {prometheus.io/scrape: 'true', prometheus.io/port: '%d'}",
             "hostNetwork: true, " + ONE % "")
    + WORKLOAD % ("Deployment", "web", "progressDeadlineSeconds: 60, ", TEMPLATE % f"'{MISSING}'")
    + WORKLOAD % ("StatefulSet", "db", "serviceName: db, ", TEMPLATE % f"'{MISSING}'")
    + WORKLOAD % ("DaemonSet", "late", "", TEMPLATE % f"'{MISSING}'")
    + "apiVersion: batch/v1\nkind: Job\nmetadata: {name: once, namespace: a}\n"
    "spec: {backoffLimit: 0, template: {spec: {nodeName: host0, restartPolicy: Never, "
    "containers: [{name: failing, image: 'e:1'}]}}}\n"
)  # fmt: skip
FIRES = {
    "MeshTargetDown": 'node="host1"', "MeshHostLost": 'node="host1"', "MeshRayAway": 'job="mesh-meshd"',
    "MeshHostNotReady": 'node="host1"', "MeshHostUnderPressure": 'node="host2",condition="DiskPressure"',
    "MeshDiskNearlyFull": 'node="host0",mountpoint="/full"', "MeshInodesNearlyGone": 'node="host0",mountpoint="/many"',
    "MeshMemoryShort": 'node="host0"', "MeshHostBusy": 'node="host0"', "MeshPodCrashLooping": 'pod="crashing"',
    "MeshPodStuck": 'pod="stuck",reason="ImagePullBackOff"', "MeshPodPending": 'pod="big"',
    "MeshPodsWithoutHost": 'job="mesh-meshd"', "MeshPodEvicted": 'pod="victim"',
    "MeshContainerOutOfMemory": 'pod="greedy"', "MeshContainerThrottled": 'pod="limited"',
    "MeshProbesLate": 'pod="probed",node="host0"', "MeshApplicationDown": 'pod="silent"',
    "MeshApplicationCut": 'pod="chatty"', "MeshRolloutStuck": 'deployment="web"',
    "MeshDeploymentShort": 'deployment="web"', "MeshStatefulSetShort": 'statefulset="db"',
    "MeshDaemonSetShort": 'daemonset="late"', "MeshJobFailed": 'job_name="once"',
    "MeshCertificateNearEnd": 'certificate="meshd"',
}  # fmt: skip
OF_THE_STORE = {"MeshStoreFails": 'job="mesh-meshd"', "MeshControllerFails": 'controller="daemonsets"'}


@pytest.fixture(scope="module")
def promtool() -> Path:
    """Debian's."""
    into = Path(sys.prefix) / "prometheus"
    unpack = SHIPPED.parents[1] / "tools" / "unpack.sh"
    subprocess.run([unpack, "prometheus", "promtool", into], check=True, timeout=110)
    return into / "usr" / "bin" / "promtool"


def judge(promtool: Path, text: str, directory: Path) -> None:
    (directory / "test.yml").write_text(text)
    command = [promtool, "test", "rules", directory / "test.yml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class FakeFiles:
    """What host0 reads of itself: it grows as a busy host's does, for as long as it is `sick`."""

    def __init__(self, root: Path, cluster: Cluster) -> None:
        self.sick = False
        self._root = root
        self._host = cluster.hosts["host0"]
        self._waited = self._periods = self._throttled = 0
        self._host.reader = Reader(root / "cgroup", root / "proc", self._statvfs)
        (root / "cgroup").mkdir(parents=True)
        self.minute()

    def minute(self) -> None:
        """One more goes by."""
        self._waited += 50_000_000 if self.sick else 1000
        self._periods += 600
        self._throttled += 500 if self.sick else 1
        available = 20 if self.sick else 700
        memory = PROC["meminfo"].replace("MemAvailable:    700", f"MemAvailable:    {available}")
        pressure = f"some avg10=0.00 avg60=0.00 avg300=0.00 total={self._waited}\n"
        mounts = "".join(f"1 1 8:{i} / /{n} rw - ext4 /dev/{n} rw\n" for i, n in enumerate(("full", "many")))
        files = {"meminfo": memory, "pressure/cpu": pressure, "self/mountinfo": mounts}
        write_proc(self._root / "proc", {**PROC, **files})
        for container in self._host.host.containers.values():
            group = names.container_cgroup(f"/mesh/guaranteed/pod{container.pod_uid}", container.id)
            stat = f"nr_periods {self._periods}\nnr_throttled {self._throttled}\nthrottled_time 1\n"
            write_v1(self._root / "cgroup", group, {**V1, "cpu/cpu.stat": stat})
        if self.sick:
            for second in range(1, 60, 5):
                asyncio.get_running_loop().call_later(second, self._hold)

    @staticmethod
    def _hold() -> None:
        cast("BentLoop", asyncio.get_running_loop()).stall(2)

    def _statvfs(self, mountpoint: str) -> os.statvfs_result:
        space, inodes = (5 if self.sick and mountpoint == at else 50 for at in ("/full", "/many"))
        inodes = 1 if inodes == 5 else inodes
        found = SimpleNamespace(f_blocks=100, f_frsize=4096, f_bfree=space, f_bavail=space, f_files=100, f_ffree=inodes)
        return cast("os.statvfs_result", found)  # what the reader asks of it


class Quiet(Checks):
    """The cluster's own checks are of pods that never fail."""

    def on_events(self, events: Sequence[object]) -> None:
        """Nothing to say."""


def cluster_of(root: Path, hosts: int, store: MemoryStore | None = None) -> Cluster:
    cluster = Cluster(root, random.Random(1), hosts, store=store)
    cluster.checks = Quiet(cluster)
    for host in cluster.hosts.values():
        host.config = replace(host.config, node_ip="127.0.0.1")
        host.checks = FakeChecks()
    return cluster


def certified(root: Path, days: int) -> Files:
    certs = test_pki()
    pair = pki.issue(certs.ca, pki.server("meshd", ("localhost",)), EPOCH, days)
    write_pki(root, certs.ca, "meshd", pair)
    return Files(*(root / name for name in ("ca.crt", "meshd.crt", "meshd.key")))


def images(cluster: Cluster, found: Image | RuntimeFailure) -> None:
    for host in cluster.hosts.values():
        host.host.registry[MISSING] = found


async def chatter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An application that has more figures than are taken of one."""
    await reader.readuntil(b"\r\n\r\n")
    body = b"own_figure 1\n" + (b"# " + b"x" * 1000 + b"\n") * 2200
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
    writer.close()


async def story(root: Path) -> str:
    """All goes well; then all goes wrong that can without the store; then it is mended."""
    cluster = cluster_of(root, 3)
    cluster.settings = replace(cluster.settings, files=certified(root / "pki", 30))
    files = FakeFiles(root / "files", cluster)
    images(cluster, RuntimeFailure("ErrImagePull", "cannot pull image: not found"))
    await cluster.start()
    await cluster.until(lambda: not cluster.unsettled())
    await cluster.apply(*load(GOOD, "test").objects)
    scraped = Scraped(cluster, SHIPPED / "prometheus.yml")
    await asyncio.sleep(60)
    await scraped.minutes(WELL, files.minute)

    files.sick = True
    certified(root / "pki", 1)
    cluster.say("looking for Ray")
    programs = cluster.hosts["host0"].host.programs
    programs["crashing/c"] = Program(exit_after=1, exit_code=1)
    programs["greedy/c"] = Program(exit_after=100, exit_code=137, oom=True)
    for host in cluster.hosts.values():
        host.host.programs["failing"] = Program(exit_after=1, exit_code=1)
    server = await asyncio.start_server(chatter, "127.0.0.1", 0)
    silent = await asyncio.start_server(chatter, "127.0.0.1", 0)
    ports = tuple(s.sockets[0].getsockname()[1] for s in (silent, server))
    silent.close()  # nobody listens where it says
    await cluster.apply(*load(BAD % ports, "test").objects)
    await cluster.hosts["host1"].power_off()
    await scraped.minutes(SICK - 4, files.minute)
    cluster.hosts["host2"].vitals = replace(VITALS, disk_available=VITALS.disk // 10 - 1)
    await scraped.minutes(4, files.minute)

    files.sick = False
    certified(root / "pki", 30)
    cluster.say("connected")
    programs["crashing/c"] = programs["greedy/c"] = Program()
    images(cluster, Image("sha256:there", (MISSING,), 1000))
    silent = await asyncio.start_server(small, "127.0.0.1", ports[0])
    server.close()
    server = await asyncio.start_server(small, "127.0.0.1", ports[1])
    cluster.hosts["host1"].start()
    cluster.hosts["host2"].vitals = VITALS
    for kind, name in (("Pod", "victim"), ("Pod", "big"), ("Job", "once")):
        await cluster.delete(name, namespace="a", kind=kind)
    await scraped.minutes(MENDED, files.minute)
    silent.close()
    server.close()
    await cluster.stop()
    return verdict(scraped, RULES, (WELL - 1, scraped.minute - 1), WELL + SICK - 1, FIRES)


async def small(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An application as it should be."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\nown_figure 1\n")
    writer.close()


class FaultyStore(MemoryStore):
    """Takes `left` commits and then no more, as a full disk."""

    left = sys.maxsize

    async def commit(self, writes: Sequence[Write]) -> int:
        if self.left == 0:
            raise Unavailable("the disk is full")
        self.left -= 1
        return await super().commit(writes)


async def story_of_the_store(root: Path) -> str:
    """The store takes nothing for a while, and a DaemonSet waits for its pods."""
    store = FaultyStore()
    cluster = cluster_of(root, 1, store)
    await cluster.start()
    await cluster.until(lambda: not cluster.unsettled())
    scraped = Scraped(cluster, SHIPPED / "prometheus.yml")
    await scraped.minutes(WELL)
    store.left = 1  # what a user applies; nothing that follows from it
    await cluster.apply(*load(GOOD, "test").objects)
    await scraped.minutes(SICK)
    store.left = sys.maxsize
    await scraped.minutes(MENDED)
    await cluster.stop()
    return verdict(scraped, RULES, (WELL - 1, scraped.minute - 1), WELL + SICK - 1, OF_THE_STORE)


def test_every_shipped_alert_has_a_cause_here() -> None:
    rules = {r["alert"] for g in yaml.safe_load(RULES.read_text())["groups"] for r in g["rules"]}
    assert FIRES.keys() | OF_THE_STORE.keys() == rules


@pytest.mark.parametrize("what", [story, story_of_the_store])
def test_alerts_fire_by_their_causes_and_clear(what: Story, promtool: Path, tmp_path: Path) -> None:
    judge(promtool, bent_time.run(what(tmp_path)), tmp_path)
