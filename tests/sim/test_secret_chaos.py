"""Secrets while agents are killed, links cut and revisions change: no stale revision stays, receipts are true, and with
the last pod nothing is left (V6, V12, E14).
"""

import asyncio
import json
import random
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any

import pytest

from mesh.v1.core_pb2 import Pod, Secret
from nodeagent.runtime.seen import State
from tests.harness import bent_time, objects
from tests.harness.bent_time import bent
from tests.harness.cluster import Cluster
from tests.harness.fake_runtime import FakeRuntime

SEEDS = 24
NAMES = ("login", "tls", "key")
TOKEN = 600  # seconds that the shortest token lasts


def a_secret(name: str, version: int) -> Secret:
    """Each version is as large as its number, so that half-written ones would show."""
    made = Secret(api_version="v1", kind="Secret", data={"version": str(version).encode(), "blob": b"x" * version})
    made.metadata.name, made.metadata.namespace = name, "default"
    return made


def a_pod(name: str, secret: str, *, env: bool) -> Pod:
    made = objects.pod(name)
    made.spec.termination_grace_period_seconds = 1
    if env:
        variable = made.spec.containers[0].env.add(name="VERSION")
        variable.value_from.secret_key_ref.name, variable.value_from.secret_key_ref.key = secret, "version"
    made.spec.volumes.add(name="files").secret.secret_name = secret
    token = made.spec.volumes.add(name="token").projected.sources.add().service_account_token
    token.path, token.expiration_seconds = "token", TOKEN
    return made


class Story:
    """What was written of the Secrets, and what must be true of pods that use them."""

    def __init__(self, cluster: Cluster, rng: random.Random) -> None:
        self.cluster = cluster
        self.rng = rng
        self.versions: dict[str, int] = {}  # by resourceVersion
        self.pods: dict[str, str] = {}  # the Secret of each
        self.newest = dict.fromkeys(NAMES, 0)

    async def change(self, name: str) -> None:
        self.newest[name] += 1
        await self.cluster.apply(a_secret(name, self.newest[name]))
        for held in self.cluster.view.of_kind("Secret", "default"):
            version = int(held.data["version"])
            self.versions.setdefault(held.metadata.resource_version, version)

    async def begin(self, name: str) -> None:
        self.pods[name] = self.rng.choice(NAMES)
        await self.cluster.apply(a_pod(name, self.pods[name], env=self.rng.random() < 0.5))

    def shown(self, pod: Pod) -> int:
        """Which version the pod's files are of; 0: of none yet. They are never of two."""
        files = self.cluster.hosts[pod.spec.node_name].hidden(pod, "files") / "..data"
        if not pod.spec.node_name or not files.is_dir():
            return 0
        version = int((files / "version").read_text())
        assert len((files / "blob").read_bytes()) == version, "files of two revisions"
        return version

    def look(self, *, settled: bool = False) -> None:
        """Receipts never say more than there is; in the end all is of the newest revision, and said to be."""
        for pod in self.cluster.view.pods():
            if not pod.spec.node_name or pod.metadata.HasField("deletion_timestamp"):
                continue
            shown, told = self.shown(pod), {r.where: r for r in self.cluster.receipts(pod)}
            if "volume files" in told:
                assert self.versions[told["volume files"].revision] <= shown, "a receipt of what is not there"
            name = self.pods[pod.metadata.name]
            if settled:
                assert shown == self.newest[name], "a stale revision stayed"
                assert self.versions[told["volume files"].revision] == shown, "a receipt is missing"
                self.look_at_environment(pod, told)

    def look_at_environment(self, pod: Pod, told: dict[str, Any]) -> None:
        """The process has what it was started with, and the receipt says that (E6)."""
        host = self.cluster.hosts[pod.spec.node_name].host
        for container in host.containers.values():
            if container.pod_uid == pod.metadata.uid and container.state is State.RUNNING and container.secrets:
                (revision,) = container.secrets.values()
                assert told[f"environment of {container.name}"].revision == revision

    def look_at_tokens(self) -> None:
        """Each pod's token is its own, and counts now."""
        now = FakeRuntime.now() // 10**9
        for pod in self.cluster.view.pods():
            text = (self.cluster.hosts[pod.spec.node_name].hidden(pod, "token") / "token").read_text()
            body = text.split(".")[1]
            claims = json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))
            assert claims["kubernetes.io"]["pod"]["uid"] == pod.metadata.uid
            assert claims["iat"] <= now < claims["exp"], "a token was not made anew in time"
            assert now - claims["iat"] <= TOKEN * 4 // 5 + 5


async def happens(story: Story, step: int) -> None:
    cluster, rng = story.cluster, story.rng
    what = rng.choice(["change"] * 5 + ["pod"] * 3 + ["delete", "agent", "agent", "cut", "cut", "meshd"])
    host = cluster.hosts[rng.choice(sorted(cluster.hosts))]
    if what == "change":
        await story.change(rng.choice(NAMES))
    elif what == "pod":
        await story.begin(f"p{step}")
    elif what == "delete" and story.pods:
        name = rng.choice(sorted(story.pods))
        await cluster.delete(name)
    elif what == "agent":
        await host.kill()
        await asyncio.sleep(rng.choice([0.0, 0.5, 5.0]))
        host.start()
    elif what == "cut":
        host.cut_off = True
        await story.change(rng.choice(NAMES))
        await asyncio.sleep(rng.choice([0.1, 3.0, 30.0]))
        host.cut_off = False
    elif what == "meshd":
        await cluster.kill_meshd()
        await asyncio.sleep(rng.choice([0.0, 3.0]))
        await cluster.start_meshd()


@pytest.mark.parametrize("batch", range(4))
def test_no_stale_revision_stays_and_nothing_is_left(batch: int, tmp_path: Path) -> None:
    for seed in range(batch, SEEDS, 4):
        try:
            bent_time.run(_play(tmp_path / str(seed), random.Random(seed)), seed)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


async def _play(root: Path, rng: random.Random) -> None:
    cluster = Cluster(root, rng)
    story, bad = Story(cluster, rng), cluster.misfortune
    await cluster.start()
    bad.lost, bad.unanswered = rng.choice([0.0, 0.1, 0.3]), rng.choice([0.0, 0.1, 0.3])
    bad.late, bad.twice = rng.choice([0.0, 0.3]), rng.choice([0.0, 0.2])
    for name in NAMES:
        await story.change(name)
    for step in range(rng.randint(8, 25)):
        await happens(story, step)
        await asyncio.sleep(rng.choice([0.0, 0.01, 0.1, 1.0, 10.0]))
        story.look()
    bad.none()
    await cluster.settled(400)
    await asyncio.sleep(30)
    story.look(settled=True)
    story.look_at_tokens()
    for name in sorted(story.pods):
        await cluster.delete(name)
    await cluster.settled(400)
    await asyncio.sleep(30)
    assert not list(cluster.view.pods())
    for host in cluster.hosts.values():
        assert host.held == "Vault(0 secrets)", "a host keeps what no pod needs"
        assert not host.memory.exists() or not list(host.memory.iterdir()), "a volume with a Secret is left"
    await cluster.stop()


@bent
async def test_tokens_are_made_anew_by_time_alone(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, random.Random(1), hosts=2)
    story = Story(cluster, cluster.rng)
    await cluster.start()
    for name in NAMES:
        await story.change(name)
    for number in range(4):
        await story.begin(f"p{number}")
    await cluster.settled()
    seen: set[str] = set()
    for _ in range(20):  # 33 minutes in which nothing else happens
        await asyncio.sleep(100)
        story.look_at_tokens()
        pod = cluster.view.pod("default", "p0")
        seen.add((cluster.hosts[pod.spec.node_name].hidden(pod, "token") / "token").read_text())
    assert len(seen) in (5, 6)
    await cluster.stop()
