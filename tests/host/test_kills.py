"""Agents killed with SIGKILL at random points of a story, on a real Podman: the end is as without a death, no container
was started twice, nothing is left over.

MESH_KILLS=30 plays more of them than every test run does.
"""

import asyncio
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from mesh.model.times import to_timestamp
from mesh.v1.core_pb2 import ConfigMap, Container, ExecAction, Lifecycle, LifecycleHandler, Pod, Probe, Volume
from mesh.v1.node_pb2 import Assignment
from nodeagent.runtime import cgroups
from tests.harness.agent_process import AgentProcess
from tests.harness.objects import config_map
from tests.harness.podman import PodmanHost
from tests.harness.podman_node import a_container, a_pod, is_ready

pytestmark = pytest.mark.host

SEEDS = int(os.environ.get("MESH_KILLS") or "2")
DEADLINE = 120.0
STAY = "trap 'exit 0' TERM; sleep 100000 & wait $!"


class Story:
    """One seed's pods on one host, and whoever looks after them at the time."""

    def __init__(self, host: PodmanHost, seed: int, shared: Path) -> None:
        self.host = host
        self.seed = seed
        self.shared = shared
        self.rng = random.Random(seed)
        self.agent = AgentProcess(host)
        self.pods: dict[str, Pod] = {}
        self.config = config_map("c", version="1")
        self.revision = seed * 1000

    def container(self, pod: str, name: str, script: str, **fields: object) -> Container:
        """One that writes down each of its starts."""
        made = a_container(name, command=["sh", "-c", f"echo {pod}/{name} >>/shared/starts; {script}"], **fields)
        made.volume_mounts.add(name="shared", mount_path="/shared")
        return made

    def pod(self, name: str, *containers: Container, **spec: object) -> Pod:
        made = a_pod(self.seed * 100 + len(self.pods), *containers, volumes=[Volume(name="shared")], **spec)
        made.spec.volumes[0].host_path.path = str(self.shared)
        made.metadata.name = name
        self.pods[name] = made
        return made

    def order(self) -> None:
        self.revision += 1
        order = Assignment(node=self.host.config.node_name, digest=f"d{self.revision}", pods=self.pods.values())
        order.pod_cidr, order.cluster_cidr = self.host.pod_cidr, self.host.cluster_cidr
        order.config_maps.append(self.config)
        order.fence.revision = self.revision
        self.agent.order(order)

    async def perhaps(self) -> None:
        """The agent dies a little later, or does not; another one comes."""
        for _ in range(self.rng.choice([0, 1, 1, 2])):
            await asyncio.sleep(self.rng.uniform(0, 0.4))  # where in its work it dies
            await self.agent.kill()
            await self.agent.start()
            self.order()

    def phase(self, name: str) -> str:
        report = self.agent.heard.get(self.pods[name].metadata.uid)
        return report.status.phase if report else ""


def cast(story: Story) -> None:
    """The pods of the first act."""
    ready = Probe(exec=ExecAction(command=["test", "-e", "/shared/ready"]), period_milliseconds=200)
    web = story.pod("web", story.container("web", "a", STAY, readiness_probe=ready),
                    story.container("web", "b", STAY))  # fmt: skip
    web.spec.init_containers.append(story.container("web", "init", "exit 0"))
    volume = web.spec.volumes.add(name="config")
    volume.config_map.name = "c"
    web.spec.containers[0].volume_mounts.add(name="config", mount_path="/config")
    fails_once = "[ -e /shared/failed ] && exit 0; touch /shared/failed; exit 3"
    story.pod("again", story.container("again", "main", fails_once), restart_policy="OnFailure")
    story.pod("job", story.container("job", "main", "sleep 0.3; exit 7"), restart_policy="Never")
    goodbye = LifecycleHandler(exec=ExecAction(command=["sh", "-c", "sleep 0.3; touch /shared/goodbye"]))
    left = story.pod("left", story.container("left", "main", STAY, lifecycle=Lifecycle(pre_stop=goodbye)))
    left.spec.termination_grace_period_seconds = 10


async def play(story: Story) -> None:
    """Start, a changed ConfigMap, a readiness that flips, a graceful end, a late start; a death anywhere between."""
    heard = story.agent.heard
    await story.agent.start()
    cast(story)
    story.order()
    await story.perhaps()
    uid = {name: pod.metadata.uid for name, pod in story.pods.items()}
    await story.agent.until(lambda: is_ready(heard.get(uid["left"])), DEADLINE)  # or it would never begin
    (story.shared / "ready").touch()
    await story.perhaps()
    await story.agent.until(lambda: is_ready(heard.get(uid["web"])), DEADLINE)
    changed = ConfigMap()
    changed.CopyFrom(story.config)
    changed.data["version"] = "2"
    story.config = changed
    story.order()
    await story.perhaps()
    (story.shared / "ready").unlink()
    leaving = story.pods["left"]
    leaving.metadata.deletion_timestamp.CopyFrom(to_timestamp(1))
    leaving.metadata.deletion_grace_period_seconds = 10
    story.pod("late", story.container("late", "main", STAY))
    story.order()
    await story.perhaps()
    await story.agent.until(lambda: not is_ready(heard.get(uid["web"])), DEADLINE)
    (story.shared / "ready").touch()
    late = story.pods["late"].metadata.uid
    await story.agent.until(
        lambda: is_ready(heard.get(uid["web"])) and is_ready(heard.get(late)) and heard[uid["left"]].gone
        and (story.phase("again"), story.phase("job")) == ("Succeeded", "Failed"), DEADLINE,
    )  # fmt: skip


def check_end(story: Story) -> None:
    """As it is without a death."""
    starts = Counter((story.shared / "starts").read_text().split())
    once = dict.fromkeys(("web/a", "web/b", "web/init", "job/main", "left/main", "late/main"), 1)
    assert starts == {**once, "again/main": 2}
    status = {name: story.agent.heard[pod.metadata.uid].status for name, pod in story.pods.items()}
    restarts = {
        f"{n}/{c.name}": c.restart_count for n, s in status.items() for c in s.container_statuses if n != "left"
    }
    assert {name for name, count in restarts.items() if count} == {"again/main"}
    assert restarts["again/main"] == 1
    assert status["job"].container_statuses[0].state.terminated.exit_code == 7
    assert (story.shared / "goodbye").exists()
    volume = story.host.config.state_dir / "pods" / story.pods["web"].metadata.uid / "volumes" / "config"
    assert (volume / "version").read_text() == "2"


async def check_nothing_is_left(story: Story) -> None:
    uids = [pod.metadata.uid for pod in story.pods.values()]
    story.pods.clear()
    story.order()
    heard = story.agent.heard
    await story.agent.until(lambda: all(heard[u].gone for u in uids), DEADLINE)
    assert story.host.podman("ps", "--all", "--quiet") == ""
    run, state = story.host.config.run_dir, story.host.config.state_dir
    left = [p for d in (run / "netns", run / "sandboxes", run / "shm", state / "pods") for p in d.iterdir()]
    assert [p.name for p in left if p.suffix != ".gone"] == []
    groups = [g for h in cgroups.hierarchies() for u in uids for g in (h / "mesh").glob(f"*/pod{u}")]
    known = {p.stem for p in left}  # their monitors have not ended yet; they are removed when these have
    assert [g for g in groups if g.name.removeprefix("pod") not in known] == []


@pytest.mark.timeout(300 + SEEDS * 60)
async def test_the_end_is_the_same(host: PodmanHost, tmp_path: Path) -> None:
    for seed in range(1, SEEDS + 1):
        shared = tmp_path / str(seed)
        shared.mkdir()
        (host.config.state_dir / "checkpoint").unlink(missing_ok=True)
        story = Story(host, seed, shared)
        try:
            await play(story)
            check_end(story)
            await check_nothing_is_left(story)
        except (AssertionError, TimeoutError) as error:
            raise AssertionError(f"seed {seed}") from error
        finally:
            await story.agent.kill()
