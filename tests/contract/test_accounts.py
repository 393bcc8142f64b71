"""A pod calls the mesh's API as its service account, over real sockets: what it may, and when its token dies (E14)."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from grpc import StatusCode, aio

from mesh import pki
from mesh.errors import Forbidden, NotFound, Unavailable
from mesh.meshd import Settings
from mesh.sdk import context as contexts
from mesh.sdk.access import Access
from mesh.sdk.client import AsyncClient
from mesh.sdk.context import Context
from mesh.v1 import access_pb2 as ap
from mesh.v1 import control_pb2 as pb
from mesh.v1.access_pb2_grpc import AccessStub
from mesh.v1.control_pb2_grpc import ResourcesStub
from mesh.v1.core_pb2 import Pod, ServiceAccount
from mesh.v1.net_pb2 import EndpointSlice, Service
from nodeagent.agent import Agent
from nodeagent.config import AgentConfig
from tests.harness.agents import VITALS
from tests.harness.audits import Audits
from tests.harness.authorities import Clock, issue, made_in, put
from tests.harness.cli import run_here
from tests.harness.control import RunningMeshd, control
from tests.harness.fake_runtime import FakeHost, FakeRuntime
from tests.harness.refusals import refused
from tests.harness.waiting import wait_for_other

NAMES = ("127.0.0.1", "localhost", "kubernetes.default.svc")
MANIFEST = """
apiVersion: v1
kind: Namespace
metadata: {name: other}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: readers}
roleRef: {kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: reader, namespace: default}]
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  serviceAccountName: reader
  containers: [{name: app, image: "example:1", imagePullPolicy: IfNotPresent}]
  volumes: [{name: own, projected: {sources: [{serviceAccountToken: {path: vault, audience: vault}}]}}]
"""


@dataclass
class Place:
    """A meshd with its doors, and one host."""

    mesh: RunningMeshd
    host: FakeHost
    root: Path
    clock: Clock
    directory: Path
    audits: Audits = field(default_factory=Audits)

    @property
    def door(self) -> str:
        return f"127.0.0.1:{self.mesh.meshd.ports[1]}"

    def admin(self) -> AsyncClient:
        pair = [str(self.directory / f"admin.{end}") for end in ("crt", "key")]
        return AsyncClient(Context((self.mesh.address,), str(self.directory / "ca.crt"), *pair))

    def volume(self, pod: Pod, name: str = "") -> Path:
        volume = next(v.name for v in pod.spec.volumes if v.name == name or (not name and "api-access" in v.name))
        return self.root / "run" / "volumes" / pod.metadata.uid / volume

    def client(self, directory: Path) -> AsyncClient:
        """As the SDK of a program in the pod finds it."""
        found = contexts.in_cluster(directory)
        assert found is not None
        return AsyncClient(found)


@pytest.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    directory, clock, audits = tmp_path / "pki", Clock(), Audits()
    held, tls = made_in(directory, NAMES)
    config, host = AgentConfig("node1", "192.0.2.1", tmp_path / "node1"), FakeHost()
    config.pki_dir.mkdir(parents=True)
    host.log_dir = config.log_dir
    put(issue(held, pki.node("node1"), int(time.time())), config.pki_dir, "agent")
    (config.pki_dir / "ca.crt").write_bytes(held.bundle)
    settings = Settings(authority=directory, listen_tokens=("127.0.0.1:0",), clock=clock, audit=audits)
    agent = Agent(config, FakeRuntime(host), vitals=lambda: VITALS, exposure=lambda _: "")
    task = asyncio.create_task(agent.run())
    async with control(agents={"node1": agent}, settings=settings, tls=tls) as mesh:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(mesh.meshd.ports[1]))
        yield Place(mesh, host, config.root, clock, directory, audits)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def running(place: Place, name: str = "web") -> Pod:
    async with place.admin() as admin:
        await admin.apply(MANIFEST)
        await admin.wait(Pod, name, condition="Ready", timeout=60)
        return await admin.get(Pod, name)


async def test_a_pod_reads_its_namespace_and_no_other(place: Place) -> None:
    pod = await running(place)
    directory = place.volume(pod)
    assert (directory / "namespace").read_text() == "default"
    assert (directory / "ca.crt").read_bytes() == (place.directory / "ca.crt").read_bytes()
    async with place.client(directory) as client:
        who = await Access(client.over).whoami()
        assert who.name == "system:serviceaccount:default:reader"
        assert who.by == "token of pod default/web"
        assert [p.metadata.name for p in await client.list(Pod)] == ["web"]
        for call in (client.list(Pod, namespace="other"), client.get("secret", "x"), client.delete(Pod, "web")):
            with pytest.raises(Forbidden, match="may not"):
                await call
        with pytest.raises(Forbidden):
            await Access(client.over).create_token(ap.CreateTokenRequest(user="eve", ttl_seconds=600))
    refusals = [r for r in place.audits.records if not r["allowed"]]
    assert {r["user"] for r in refusals} == {"system:serviceaccount:default:reader"}
    assert (directory / "token").read_text() not in str(place.audits.records)


async def test_a_token_for_somebody_else_is_refused_here_and_known_in_a_review(place: Place) -> None:
    pod = await running(place)
    vault = (place.volume(pod, "own") / "vault").read_text()
    assert (await refused(called(place, vault))).message.startswith("the token is for another audience")
    async with place.client(place.volume(pod)) as client:  # anyone may ask about a token that he has
        review = await Access(client.over).review_token(vault, ["vault"])
        assert (review.authenticated, review.pod, list(review.audiences)) == (True, "web", ["vault"])
        assert review.name == "system:serviceaccount:default:reader"
        other = await Access(client.over).review_token(vault)
        assert (other.authenticated, "another audience" in other.why) == (False, True)


async def called(place: Place, token: str) -> ap.WhoAmIResponse:
    ca = (place.directory / "ca.crt").read_bytes()
    async with aio.secure_channel(place.door, grpc.ssl_channel_credentials(ca)) as channel:
        metadata = (("authorization", f"Bearer {token}"),)
        return await AccessStub(channel).WhoAmI(ap.WhoAmIRequest(), metadata=metadata, timeout=60)


async def test_a_token_dies_with_its_pod_and_so_do_its_streams(place: Place) -> None:
    pod = await running(place)
    token = (place.volume(pod) / "token").read_text()
    ca = (place.directory / "ca.crt").read_bytes()
    async with aio.secure_channel(place.door, grpc.ssl_channel_credentials(ca)) as channel:
        metadata = (("authorization", f"Bearer {token}"),)
        watch = ResourcesStub(channel).Watch(pb.WatchRequest(kind="Service", namespace="default"), metadata=metadata)
        await watch.read()
        async with place.admin() as admin:
            await admin.delete(Pod, "web", grace=1)
            await admin.wait(Pod, "web", delete=True, timeout=60)
        code = (await refused(ended(watch))).code
        assert code is StatusCode.PERMISSION_DENIED
    assert "not there any more" in (await refused(called(place, token))).message
    assert any('pod "web"' in r["why"] for r in place.audits.records if not r["allowed"])
    assert not (place.root / "run" / "volumes" / pod.metadata.uid).exists()


async def ended(watch: "aio.UnaryStreamCall[pb.WatchRequest, pb.WatchEvent]") -> None:
    while await watch.read() is not aio.EOF:
        pass


async def test_a_token_dies_with_its_account_and_an_account_of_the_same_name_gets_another(place: Place) -> None:
    pod = await running(place)
    file = place.volume(pod) / "token"
    token = file.read_text()
    async with place.admin() as admin:
        await admin.delete(ServiceAccount, "reader")
        assert "is not there any more" in (await refused(called(place, token))).message
        await admin.apply("{apiVersion: v1, kind: ServiceAccount, metadata: {name: reader}}\n")
    assert "is not there any more" in (await refused(called(place, token))).message
    fresh = await asyncio.to_thread(wait_for_other, file, token, 60)
    assert (await called(place, fresh)).name == "system:serviceaccount:default:reader"


async def test_a_token_is_renewed_before_it_expires_and_the_sdk_follows(place: Place) -> None:
    pod = await running(place)
    directory = place.volume(pod)
    async with place.client(directory) as client:
        before = (directory / "token").read_text()
        assert (await Access(client.over).whoami()).by == "token of pod default/web"
        place.clock.ahead = 2900  # more than 80 % of an hour; the host's link is woken by any change
        async with place.admin() as admin:
            await admin.patch(Pod, "web", {"metadata": {"labels": {"a": "b"}}})
        after = await asyncio.to_thread(wait_for_other, directory / "token", before, 60)
        place.clock.ahead = 3700
        assert "has expired" in (await refused(called(place, before))).message
        assert (await called(place, after)).name == "system:serviceaccount:default:reader"
        assert (await Access(client.over).whoami()).name == "system:serviceaccount:default:reader"


async def test_a_token_that_is_not_there_is_said_where_the_call_is_made(place: Place) -> None:
    directory = place.volume(await running(place))
    async with place.client(directory) as client:
        (directory / "token").unlink()
        with pytest.raises(Unavailable, match=r"cannot read the token in .*: No such file"):
            await client.get(Pod, "web")


async def test_tokens_that_are_asked_for(place: Place, tmp_path: Path) -> None:
    await running(place)
    async with place.admin() as admin:
        access = Access(admin.over)
        made = await access.request_token(ap.RequestTokenRequest(account="reader", expiration_seconds=600))
        assert (await called(place, made.token)).by == "token"
        bound = await access.request_token(ap.RequestTokenRequest(account="reader", pod="web"))
        assert (await access.review_token(bound.token)).pod == "web"
        for request, error in (
            (ap.RequestTokenRequest(account="nobody"), NotFound),
            (ap.RequestTokenRequest(account="reader", pod="nothing"), NotFound),
            (ap.RequestTokenRequest(account="default", pod="web"), Exception),
            (ap.RequestTokenRequest(account="reader", expiration_seconds=599), Exception),
            (ap.RequestTokenRequest(account="reader", expiration_seconds=7 * 86_400 + 1), Exception),
        ):
            with pytest.raises(error):
                await access.request_token(request)
    place.clock.ahead = 601
    assert "has expired" in (await refused(called(place, made.token))).message
    # with the token alone nobody makes more of them
    async with place.client(place.volume(await running(place))) as client:
        with pytest.raises(Forbidden, match="serviceaccounts/token"):
            await Access(client.over).request_token(ap.RequestTokenRequest(account="reader"))


async def test_the_commands(place: Place, tmp_path: Path) -> None:
    await running(place)
    config = contexts.Contexts().having(Context(
        (place.mesh.address,), str(place.directory / "ca.crt"), str(place.directory / "admin.crt"),
        str(place.directory / "admin.key"), name="m",
    ))  # fmt: skip
    where = {"MESHCONFIG": str(contexts.write(config, tmp_path / "config"))}
    made = await asyncio.to_thread(run_here, ["create", "token", "reader", "--duration", "10m"], b"", where)
    assert made.code == 0, made.err
    review = await asyncio.to_thread(run_here, ["auth", "review-token"], made.out.encode(), where)
    assert (review.code, review.out) == (0, "yes - system:serviceaccount:default:reader\n"), review.err
    wrong = await asyncio.to_thread(run_here, ["auth", "review-token"], b"eyJ.x.y", where)
    assert (wrong.code, wrong.out.startswith("no - ")) == (1, True)


async def test_forged_tokens_are_refused_and_written_down_and_slowed(place: Place) -> None:
    await running(place)
    for token in ("x", "a.b.c", ""):
        assert (await refused(called(place, token))).code is StatusCode.PERMISSION_DENIED
    said = [r["why"] for r in place.audits.records if not r["allowed"]]
    assert len(said) == 3
    ca = (place.directory / "ca.crt").read_bytes()
    async with aio.secure_channel(place.door, grpc.ssl_channel_credentials(ca)) as channel:
        stub, metadata = AccessStub(channel), (("authorization", "Bearer a.b.c"),)
        calls = [refused(stub.WhoAmI(ap.WhoAmIRequest(), metadata=metadata, timeout=30)) for _ in range(200)]
        codes = [refusal.code for refusal in await asyncio.gather(*calls)]
    assert StatusCode.UNAVAILABLE in codes  # as many as strangers have, all together
    # who has a certificate is known by it, whatever else he brings
    async with place.admin() as admin:
        assert (await Access(admin.over).whoami()).name == "admin"


async def test_every_namespace_has_an_account_and_pods_are_told_where_the_api_is(place: Place) -> None:
    pod = await running(place)
    async with place.admin() as admin:
        where = {"namespace": "other", "timeout": 10.0}
        first = await admin.wait(ServiceAccount, "default", jsonpath="{.metadata.name}", **where)
        await admin.delete(ServiceAccount, "default", namespace="other")
        again = await admin.wait(ServiceAccount, "default", jsonpath="{.metadata.name}", **where)
        assert first.metadata.uid != again.metadata.uid
        service = await admin.get(Service, "kubernetes")
        assert (service.spec.cluster_ip, service.spec.ports[0].port) == ("10.96.0.1", 443)
        ends = await admin.get(EndpointSlice, "kubernetes")
        assert (ends.endpoints[0].addresses[0], ends.ports[0].port) == ("127.0.0.1", place.mesh.meshd.ports[1])
    (container,) = [c for c in place.host.containers.values() if c.pod_uid == pod.metadata.uid]
    env = place.host.specs[container.id].env
    assert (env["KUBERNETES_SERVICE_HOST"], env["KUBERNETES_SERVICE_PORT"]) == ("10.96.0.1", "443")


async def test_a_stream_ends_when_its_token_does(place: Place) -> None:
    await running(place)
    async with place.admin() as admin:
        made = await Access(admin.over).request_token(ap.RequestTokenRequest(account="reader", expiration_seconds=600))
    place.clock.ahead = 599
    with pytest.raises(Unavailable, match="has expired"):
        async with AsyncClient(Context((place.door,), str(place.directory / "ca.crt"), "", "",
                                       token=written(place, made.token))) as client:  # fmt: skip
            stub = ResourcesStub(await client.over.channel())
            watch = stub.Watch(pb.WatchRequest(kind="Service", namespace="default"))
            while True:
                try:
                    if await asyncio.wait_for(watch.read(), 20) is aio.EOF:
                        break
                except aio.AioRpcError as error:
                    raise Unavailable(error.details() or "") from None


def written(place: Place, token: str) -> str:
    path = place.directory / "token"
    path.write_text(token)
    return str(path)
