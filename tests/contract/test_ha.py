"""Several meshd over an etcd of three members: one leads, the others follow, and nobody's death loses anything."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mesh import pki
from mesh.authority import BUNDLE, KEY, Authority
from mesh.errors import Unavailable
from mesh.etcd import etcd_pb2 as pb
from mesh.following import leading
from mesh.leader import Candidate, Election
from mesh.meshd import Meshd, Settings
from mesh.model.keys import Key
from mesh.model.pods import is_ready
from mesh.rpc.tls import Tls
from mesh.sdk.access import Access
from mesh.sdk.client import AsyncClient
from mesh.sdk.context import Context
from mesh.sdk.enrol import enrol
from mesh.sdk.secrets import Secrets
from mesh.start import EPOCH
from mesh.store.codec import PlainCodec
from mesh.store.copying import reaching
from mesh.store.etcd import EtcdStore
from mesh.v1.access_pb2 import CreateTokenRequest
from mesh.v1.core_pb2 import ConfigMap, Namespace, Secret
from nodeagent.agent import Agent
from nodeagent.config import AgentConfig
from nodeagent.runtime.seen import State
from tests.harness.agents import VITALS
from tests.harness.control import StaticHosts, certify, test_pki
from tests.harness.etcd import EtcdCluster, etcd_cluster
from tests.harness.fake_runtime import FakeHost, FakeRuntime
from tests.harness.members import Members, members
from tests.harness.waiting import wait_for_other


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with etcd_cluster(tmp_path_factory.mktemp("etcd"), members=3) as cluster:
        yield cluster


def config(name: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{x: '1'}}\n"


async def epoch(client: AsyncClient) -> int:
    return int((await client.get(Namespace, "kube-system")).metadata.annotations[EPOCH])


async def test_leader_and_follower_change_places_and_nothing_is_lost(tmp_path: Path, etcd: EtcdCluster) -> None:
    async with members(tmp_path, etcd, "a", "b") as mesh, AsyncClient(mesh.context(), timeout=10) as client:
        await client.apply(config("one"))
        first = await epoch(client)
        assert await mesh.leader() == "a"

        async with AsyncClient(mesh.context("b")) as follower:  # it shows, and says who leads
            assert (await follower.get(ConfigMap, "one")).data["x"] == "1"
            with pytest.raises(Unavailable, match=rf"a leads, at 127.0.0.1:{mesh.ports['a']}"):
                await follower.apply(config("two"))
            await mesh.status(follower, lambda said: sorted(m.state for m in said.store_members) == [
                "follows", "follows", "leads"])  # fmt: skip
            who = {(m.name, m.leads, m.answers) for m in (await follower.status()).control_members}
            assert who == {("a", True, False), ("b", False, True)}

        token = (
            await Access(client.over).create_token(
                CreateTokenRequest(user="dev", groups=["mesh:viewers"], ttl_seconds=600)
            )
        ).token
        door, other = (f"127.0.0.1:{mesh.doors[name]}" for name in ("a", "b"))
        with pytest.raises(Unavailable, match=rf"a leads, at 127.0.0.1:{mesh.ports['a']}"):
            await enrol(other, token)
        assert (await enrol(f"{other},{door}", token)).name == "dev"  # it was not used up

        await mesh.kill("a")  # nobody said goodbye: its lease ends
        await mesh.writes(client, config("two"))
        assert await mesh.leader() == "b"
        assert await epoch(client) > first

        await mesh.start("a")
        second = await epoch(client)
        assert await mesh.stop("b") == 0  # in good order: its lease is given back
        await mesh.writes(client, config("three"))
        assert await mesh.leader() == "a"
        assert await epoch(client) > second
        assert {"one", "two", "three"} <= {o.metadata.name for o in await client.list(ConfigMap)}


async def test_one_etcd_member_killed_and_the_majority_lost_and_back(tmp_path: Path, etcd: EtcdCluster) -> None:
    async with members(tmp_path, etcd, "c") as mesh, AsyncClient(mesh.context(), timeout=60) as client:
        await client.apply(config("before"))
        etcd.kill(0)
        for number in range(5):
            await client.apply(config(f"with-two-{number}"))  # none is refused

        etcd.kill(1)
        with pytest.raises(Unavailable, match=r"lost its majority|no member of etcd"):
            await client.apply(config("refused"))
        assert (await client.get(ConfigMap, "before")).data["x"] == "1"  # what is known is shown

        etcd.start(0, 1)
        await mesh.writes(client, config("after"))
        names = {o.metadata.name for o in await client.list(ConfigMap)}
        assert {"before", "after", *(f"with-two-{n}" for n in range(5))} <= names
        assert mesh.processes["c"].returncode is None


SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{word: canary}}\n"


async def test_a_new_key_of_the_store_reaches_who_follows_and_is_in_etcd_in_a_box_alone(
    tmp_path: Path, etcd: EtcdCluster
) -> None:
    async with members(tmp_path, etcd, "d", "e") as mesh, AsyncClient(mesh.context(), timeout=30) as client:
        keys = {name: tmp_path / name / "store.key" for name in ("d", "e")}
        before = keys["e"].read_text()
        await client.apply(SECRET.format(name="old"))
        async for _ in Secrets(client.over).rotate_keys():
            pass
        assert keys["d"].read_text() != before
        await client.apply(SECRET.format(name="new"))
        await mesh.processes.pop("e").wait()  # it can't read that, ends, and is started again by its supervisor
        await mesh.start("e")

        await mesh.kill("d")
        await mesh.writes(client, SECRET.format(name="newest"))
        assert await mesh.leader() == "e"
        assert keys["e"].read_text() == keys["d"].read_text()
        for name in ("old", "new", "newest"):
            assert (await client.get(Secret, name)).data["word"] == b"canary"

        keys["d"].write_text(before)  # as a pack of before the rotation would have it
        await mesh.start("d")
        assert keys["d"].read_text() == keys["e"].read_text()
        (line,) = keys["d"].read_text().splitlines()
        async with reaching(etcd.address()) as reader:
            found = await reader.range(pb.RangeRequest(key=b"/", range_end=b"0"))
        everything = b"".join(kv.value for kv in found.kvs)
        assert base64.b64decode(line.split()[-1]) not in everything
        assert line.split()[-1].encode() not in everything


def trusting(directory: Path, mesh: Members, *names: str) -> Context:
    """The administrator's context by the authority in this directory."""
    held = Authority(*((directory / name).read_bytes() for name in (BUNDLE, KEY)))
    wish = pki.wish()
    certificate = held.certify(pki.user("admin", ("mesh:admins",)), wish.certificate, int(time.time()), 3600)
    texts = (held.bundle.decode(), certificate.decode(), wish.key.decode())
    return Context(mesh.context(*names).servers, *texts)


async def test_a_new_authority_reaches_who_follows_and_is_in_etcd_in_a_box_alone(
    tmp_path: Path, etcd: EtcdCluster
) -> None:
    first, second = tmp_path / "f" / "pki", tmp_path / "g" / "pki"
    before = test_pki().ca.key.decode()
    async with members(tmp_path, etcd, "f", "g") as mesh:
        async with AsyncClient(mesh.context(), timeout=30) as client:
            await Access(client.over).rotate_authority()
            made = await asyncio.to_thread(wait_for_other, second / KEY, before, 30)
            assert made == (first / KEY).read_text()
            await mesh.kill("f")
            await mesh.writes(client, config("by-the-follower"))

        async with AsyncClient(trusting(second, mesh), timeout=30) as client:
            shown = await Access(client.over).rotate_authority(finish=True)  # while the other one is away
            assert [certificate.note for certificate in shown] == ["issues"]
            both = (first / BUNDLE).read_text()
            await mesh.start("f")
            only = await asyncio.to_thread(wait_for_other, first / BUNDLE, both, 30)
            assert only == (second / BUNDLE).read_text()
            async with AsyncClient(trusting(second, mesh, "f"), timeout=30) as follower:  # by its new certificate
                assert (await follower.get(ConfigMap, "by-the-follower")).data["x"] == "1"

        async with reaching(etcd.address()) as reader:
            found = await reader.range(pb.RangeRequest(key=b"/", range_end=b"0"))
        everything = b"".join(kv.value for kv in found.kvs)
        assert made.splitlines()[1].encode() not in everything


WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: default}}
spec:
  replicas: 4
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: main, image: "example:{tag}"}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: still, namespace: default}}
spec: {{containers: [{{name: main, image: "example:1"}}]}}
"""


class Dying(Election):
    """Of a meshd that dies: it gives nothing back."""

    async def resign(self) -> None:
        pass


@asynccontextmanager
async def leader(
    name: str, etcd: EtcdCluster, prefix: str, agents: Mapping[str, Agent], kind: type[Election] = Election
) -> AsyncIterator[Meshd]:
    """A meshd in this process, from when it leads on."""
    certs = test_pki()
    tls, settings = Tls(certs.server, certs.ca.certificate), Settings(silence=30, wait=5)
    store = await EtcdStore.open(etcd.address(), PlainCodec(), prefix)
    election = kind(store, Candidate(name, "127.0.0.1:1"), 5)
    try:
        async with leading(store, election, tls, settings) as led:
            meshd = Meshd(store, StaticHosts(agents), tls, led)
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(meshd.run())
                await meshd.serving.wait()
                yield meshd
                running.cancel()
    finally:
        await store.close()


async def until(meshd: Meshd, holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await meshd.feed.reached(meshd.feed.view.revision + 1)


def web(meshd: Meshd, image: str) -> set[str]:
    """The pods of the Deployment that are ready with this image, by uid."""
    pods = (pod for pod in meshd.feed.view.pods() if pod.metadata.labels.get("app") == "web")
    return {pod.metadata.uid for pod in pods if is_ready(pod) and pod.spec.containers[0].image == image}


async def apply(meshd: Meshd, manifest: str) -> None:
    certs = test_pki()
    pem = [text.decode() for text in (certs.ca.certificate, certs.admin.certificate, certs.admin.key)]
    async with AsyncClient(Context((f"127.0.0.1:{meshd.ports[0]}",), *pem)) as client:
        await client.apply(manifest)


async def test_a_rolling_update_goes_on_under_the_next_leader(tmp_path: Path, etcd: EtcdCluster) -> None:
    host, config = FakeHost(), AgentConfig("host1", "192.0.2.1", tmp_path)
    certify("host1", config.pki_dir)
    agent = Agent(config, FakeRuntime(host), vitals=lambda: VITALS, exposure=lambda _: "")
    working = asyncio.create_task(agent.run())

    async def take_over(begun: set[str]) -> None:
        async with leader("b", etcd, "/rolling/", {"host1": agent}) as second:
            await until(second, lambda: len(web(second, "example:2")) == 4 and not web(second, "example:1"))
            assert begun <= web(second, "example:2")  # what the first had made goes on
            restarts = [c.restart_count for pod in second.feed.view.pods() for c in pod.status.container_statuses]
            assert restarts == [0] * 5

    begun: set[str] = set()
    async with leader("a", etcd, "/rolling/", {"host1": agent}, Dying) as first:
        await apply(first, WEB.format(tag=1))
        still = Key("Pod", "default", "still")
        await until(first, lambda: len(web(first, "example:1")) == 4 and is_ready(first.feed.view.get(still)))
        kept = {c.id for c in host.containers.values() if host.specs[c.id].pod_name == "still"}
        successor = asyncio.create_task(take_over(begun))
        await apply(first, WEB.format(tag=2))
        await until(first, lambda: bool(web(first, "example:2")))
        begun |= web(first, "example:2")
        assert web(first, "example:1")  # in the middle of it
    await successor
    running = [c for c in host.containers.values() if c.state is State.RUNNING]
    assert {c.id for c in running if host.specs[c.id].pod_name == "still"} == kept
    assert len(running) == 5
    working.cancel()
