"""What a host can't do with its own certificate, and what nobody can do with what was on the way to another host.

meshd's API is asked over real sockets; its agents are behind the sealed seam.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc import StatusCode, aio

from mesh import authority, pki
from mesh.errors import Conflict, Forbidden
from mesh.fleet.bridge import RayNode
from mesh.fleet.secured import Secured
from mesh.meshd import Settings
from mesh.model.kinds import pack
from mesh.rpc.tls import Tls
from mesh.sessions import Trust
from mesh.v1 import access_pb2 as ap
from mesh.v1 import control_pb2 as pb
from mesh.v1.access_pb2_grpc import AccessStub
from mesh.v1.control_pb2_grpc import ResourcesStub
from mesh.v1.core_pb2 import Pod, Secret
from mesh.v1.node_pb2 import Assignment, AssignReply, ObserveRequest, SealedSecret
from nodeagent.agent import Agent
from nodeagent.config import AgentConfig
from nodeagent.secrets import Held
from tests.harness.agents import VITALS
from tests.harness.audits import Audits
from tests.harness.control import DEADLINE, RunningMeshd, control
from tests.harness.fake_runtime import FakeHost, FakeRuntime
from tests.harness.figures import Reader
from tests.harness.news import News
from tests.harness.refusals import refused
from tests.harness.seam import Seam
from tests.harness.waiting import wait_for_other

CANARY = b"the-canary-sings"


class Clock:
    """The time of day, which a test sets forward."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> int:
        return time.time_ns() + self.ahead * 1_000_000_000


class Listening(Agent):
    """An agent whose orders a test overhears, as they are once the seam is passed, when they have been carried out."""

    def __init__(self, config: AgentConfig) -> None:
        self.orders: list[Assignment] = []
        self._news = News()
        super().__init__(config, FakeRuntime(FakeHost()), vitals=lambda: VITALS, exposure=lambda _: "")

    async def assign(self, assignment: Assignment) -> AssignReply:
        try:
            return await super().assign(assignment)
        finally:
            self.orders.append(assignment)
            self._news.ring()

    async def ordered(self, true: Callable[[], object]) -> None:
        """Waits for orders that make it true."""
        await self._news.until(true)


@dataclass
class Mesh:
    mesh: RunningMeshd
    held: authority.Authority
    seams: dict[str, Seam]
    audits: Audits
    clock: Clock
    directory: Path

    def channel(self, request: pki.Request) -> aio.Channel:
        wish = pki.wish()
        chain = self.held.certify(request, wish.certificate, int(time.time()), pki.DAY)
        return self.mesh.channel(pki.Pair(chain, wish.key), self.held.bundle)

    def agent(self, name: str) -> Listening:
        made: Listening = self.seams[name].agent
        return made

    async def secret_on(self, node: str) -> None:
        """A Secret, and a pod on the host that has it as files; returns once they are there."""
        secret = Secret(api_version="v1", kind="Secret", type="Opaque", data={"key": CANARY})
        secret.metadata.name, secret.metadata.namespace = "s", "default"
        pod = Pod(api_version="v1", kind="Pod")
        pod.metadata.name, pod.metadata.namespace, pod.spec.node_name = "web", "default", node
        pod.spec.automount_service_account_token = False
        main = pod.spec.containers.add(name="main", image="example:1", image_pull_policy="IfNotPresent")
        main.volume_mounts.add(name="v", mount_path="/v")
        pod.spec.volumes.add(name="v").secret.secret_name = "s"
        stub = ResourcesStub(self.channel(pki.user("admin")))
        await stub.Apply(pb.ApplyRequest(objects=[pack(secret), pack(pod)]), timeout=60)
        agent = self.agent(node)
        await agent.ordered(lambda: any(map(boxes, agent.orders)))


def boxes(order: Assignment) -> list[bytes]:
    return [entry.box for entry in Assignment.FromString(order.signed.assignment).sealed_secrets if entry.box]


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    directory, clock, audits, now = tmp_path / "pki", Clock(), Audits(), int(time.time())
    directory.mkdir(mode=0o700)
    held = authority.made("mesh", now)
    for name, content in held.files().items():
        if content:
            (directory / name).write_bytes(content)
    wish = pki.wish()
    chain = held.certify(pki.server("meshd", ("127.0.0.1", "localhost")), wish.certificate, now, pki.HOST_LIFE)
    (directory / "meshd.crt").write_bytes(chain)
    (directory / "meshd.key").write_bytes(wish.key)
    tls = Tls(pki.Pair(chain, wish.key), held.bundle)
    seams = {name: seam(name, tmp_path / name, held, Trust(lambda: tls.ca, lambda: tls.server), clock) for name in "ab"}
    tasks = [asyncio.create_task(s.agent.run()) for s in seams.values()]
    settings = Settings(authority=directory, clock=clock, audit=audits, wait=1.0)
    async with control(agents={n: s.port for n, s in seams.items()}, settings=settings, tls=tls) as running:
        made = Mesh(running, held, seams, audits, clock, directory)
        feed = running.meshd.feed
        async with asyncio.timeout(DEADLINE):
            while len(list(feed.view.nodes())) < 2:
                await feed.reached(feed.view.revision + 1)
        yield made
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def seam(node: str, root: Path, held: authority.Authority, trust: Trust, clock: Clock) -> Seam:
    config = AgentConfig(node, "192.0.2.1", root, metrics_listen="127.0.0.1:0")
    config.pki_dir.mkdir(parents=True)
    wish = pki.wish()
    chain = held.certify(pki.node(node, ("127.0.0.1",)), wish.certificate, int(time.time()), pki.HOST_LIFE)
    for name, content in (("agent.crt", chain), ("agent.key", wish.key), ("ca.crt", held.bundle)):
        (config.pki_dir / name).write_bytes(content)
    return Seam(Listening(config), config, trust, clock)


# ---- with a host's certificate


async def test_a_host_that_asks_for_another_hosts_secret_is_refused_and_written_down(mesh: Mesh) -> None:
    await mesh.secret_on("a")
    key = pb.ObjectKey(kind="Secret", namespace="default", name="s")
    answer = await refused(ResourcesStub(mesh.channel(pki.node("b"))).Get(pb.GetRequest(key=key), timeout=60))
    assert answer.code is StatusCode.PERMISSION_DENIED
    assert (False, "get secrets s") in mesh.audits.of("mesh:node:b")
    assert not any(CANARY in record.encode() for record in map(str, mesh.audits.records))


@pytest.mark.parametrize("named", ["b", "mesh://node/b", "mesh://user/admin"])
async def test_a_host_that_renews_for_another_name_is_refused_and_written_down(mesh: Mesh, named: str) -> None:
    stub = AccessStub(mesh.channel(pki.node("a")))
    answer = await refused(stub.Renew(ap.RenewRequest(request=csr(named)), timeout=60))
    assert answer.code is StatusCode.PERMISSION_DENIED
    (record,) = [r for r in mesh.audits.records if not r["allowed"] and r["user"] == "mesh:node:a"]
    assert named in record["why"]
    for own in ("a", "mesh://node/a", ""):
        renewed = await stub.Renew(ap.RenewRequest(request=csr(own) if own else pki.wish().certificate), timeout=60)
        assert pki.identity(pki.split(renewed.certificate)[0]) == pki.Identity("a", (pki.NODES,), "node")


def csr(name: str) -> bytes:
    """A request that names somebody."""
    key = ec.generate_private_key(ec.SECP256R1())
    uri = "://" in name
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([] if uri else [x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    if uri:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name)])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


# ---- with a certificate that was taken back


async def test_a_revoked_monitor_reads_no_hosts_figures_any_more(mesh: Mesh, tmp_path: Path) -> None:
    wish, now = pki.wish(), int(time.time())
    chain = mesh.held.certify(pki.user("prometheus", (pki.MONITORS,)), wish.certificate, now, pki.DAY)
    readers = []
    for name in "ab":
        endpoint = mesh.agent(name).stats.endpoint
        await asyncio.wait_for(endpoint.open.wait(), 60)
        readers.append(Reader(endpoint.port, mesh.held.bundle, pki.Pair(chain, wish.key), tmp_path))
    assert [(await reader.get("/metrics"))[0] for reader in readers] == [200, 200]
    admin = AccessStub(mesh.channel(pki.user("admin")))
    await admin.Revoke(ap.RevokeRequest(kind="user", name="somebody", why="left"), timeout=60)
    await all_told(mesh, 1)
    assert [(await reader.get("/metrics"))[0] for reader in readers] == [200, 200]
    await admin.Revoke(ap.RevokeRequest(kind="user", name="prometheus", why="lost"), timeout=60)
    await all_told(mesh, 2)
    assert [(await reader.get("/metrics"))[0] for reader in readers] == [403, 403]


async def all_told(mesh: Mesh, number: int) -> None:
    for agent in map(mesh.agent, "ab"):
        await agent.ordered(lambda agent=agent: told(agent) == number)  # type: ignore[misc]  # mypy infers none of these


def told(agent: Listening) -> int:
    """How many certificates its newest order says count no more; and that it says nothing of whose and why."""
    order = Assignment.FromString(agent.orders[-1].signed.assignment) if agent.orders else Assignment()
    assert not any(b"prometheus" in key.encode() for key in order.revoked)
    return len(order.revoked)


# ---- with what was on its way


async def test_a_sealed_box_opens_on_no_other_host_and_at_no_other_revision(mesh: Mesh) -> None:
    await mesh.secret_on("a")
    order = next(o for o in mesh.agent("a").orders if boxes(o))
    with pytest.raises(Forbidden, match="was signed for a"):
        await mesh.agent("b").assign(order)
    entry = next(e for e in Assignment.FromString(order.signed.assignment).sealed_secrets if e.box)
    for name, changes in (
        ("b", {"key_id": mesh.agent("b").vault.public.id}),
        ("a", {"revision": str(int(entry.revision) + 1)}),
        ("a", {"uid": "another"}),
    ):
        shown = type(entry)()
        shown.CopyFrom(entry)
        for field, value in changes.items():
            setattr(shown, field, value)
        vault = mesh.agent(name).vault
        vault.take([shown])
        opened = vault.open("default", {"s": Held(shown.uid, shown.revision)})
        assert not opened.data, changes
        assert "can't be opened" in opened.why("s")
    vault = mesh.agent("a").vault
    vault.take([entry])
    assert vault.open("default", {"s": Held(entry.uid, entry.revision)}).data == {"s": {"key": CANARY}}


async def test_a_box_that_is_refused_is_written_down_once_by_meshd(mesh: Mesh) -> None:
    await mesh.secret_on("a")
    order = next(o for o in mesh.agent("a").orders if boxes(o))
    entry = next(e for e in Assignment.FromString(order.signed.assignment).sealed_secrets if e.box)
    with pytest.raises(Forbidden):
        await mesh.agent("b").assign(order)
    (whole,) = await refusals(mesh, 1)
    assert (whole["from"], whole["what"]) == ("the orders of host b", [])
    assert "was signed for a" in whole["why"]
    for name, changes in (("b", {"key_id": mesh.agent("b").vault.public.id}), ("a", {"revision": "1"})):
        replayed = SealedSecret()
        replayed.CopyFrom(entry)
        for field, value in changes.items():
            setattr(replayed, field, value)
        vault = mesh.agent(name).vault
        vault.take([replayed])
        for _ in range(3):  # a pod that wants it tries again and again
            vault.open("default", {"s": Held(replayed.uid, replayed.revision)})
    _, *boxed = await refusals(mesh, 3)
    assert {(r["from"], w["namespace"], w["name"], w["revision"]) for r in boxed for w in r["what"]} == {
        ("the orders of host b", "default", "s", entry.revision), ("the orders of host a", "default", "s", "1"),
    }  # fmt: skip
    assert not any(CANARY in str(record).encode() for record in mesh.audits.records)


async def refusals(mesh: Mesh, number: int) -> list[Mapping[str, Any]]:
    """What hosts have refused, as it is in the audit log; so many, and no more."""

    def found() -> list[Mapping[str, Any]]:
        return [r for r in mesh.audits.records if r["method"] == "assign"]

    await mesh.audits.news.until(lambda: len(found()) >= number)
    assert len(found()) == number
    return found()


async def test_what_was_heard_on_the_way_is_refused_everywhere(mesh: Mesh) -> None:
    await mesh.secret_on("a")
    heard = [(method, call) for method, call, _ in mesh.seams["a"].crossed if method == "assign"]
    orders = len(mesh.agent("a").orders), len(mesh.agent("b").orders)
    for method, call in heard:
        assert CANARY not in call
        assert (await mesh.seams["a"].carry(method, call)).error_kind == "Forbidden"
        assert (await mesh.seams["b"].carry(method, call)).no_session
    assert (len(mesh.agent("a").orders), len(mesh.agent("b").orders)) == orders
    (told,) = await refusals(mesh, 1)  # however often
    assert (told["from"], told["allowed"]) == ("the orders of host a", False)
    assert "not new" in told["why"]


async def test_an_older_order_of_meshds_own_is_refused(mesh: Mesh) -> None:
    await mesh.secret_on("a")
    agent = mesh.agent("a")
    old = agent.orders[0]
    assert old != agent.orders[-1]
    with pytest.raises(Conflict):
        await agent.assign(old)


# ---- and its own is kept good


async def test_a_hosts_certificate_is_renewed_in_time_without_a_word_of_its_own(mesh: Mesh) -> None:
    file = mesh.seams["b"].config.pki_dir / "agent.crt"
    before = file.read_text()
    mesh.clock.ahead = 21 * pki.DAY
    await asyncio.to_thread(wait_for_other, file, before, DEADLINE)
    assert pki.expires(file.read_bytes()) > time.time() + 45 * pki.DAY
    # and it is the one by which it proves itself from then on
    mesh.clock.ahead = 35 * pki.DAY
    wish = pki.wish()
    chain = mesh.held.certify(pki.server("meshd", ()), wish.certificate, mesh.clock() // 10**9, pki.DAY)
    trust = Trust(lambda: mesh.held.bundle, lambda: pki.Pair(chain, wish.key))
    later = RayNode("b", Secured("b", mesh.seams["b"].carry, trust, mesh.clock))
    assert (await later.observe(ObserveRequest())).node == "b"
