"""A new authority, and certificates that expire, while somebody follows a log and a rollout goes on: nothing drops."""

import asyncio
import time

from grpc import StatusCode, aio

from mesh import pki
from mesh.authority import Authority
from mesh.sdk.access import Access
from mesh.v1 import control_pb2 as pb
from mesh.v1 import node_pb2
from mesh.v1.access_pb2 import WhoAmIRequest
from mesh.v1.access_pb2_grpc import AccessStub
from mesh.v1.apps_pb2 import Deployment
from mesh.v1.control_pb2_grpc import PodsStub, ResourcesStub
from mesh.v1.core_pb2 import Pod
from tests.contract.test_accounts import Place, place  # noqa: F401 - the fixture
from tests.harness.refusals import refused
from tests.harness.waiting import wait_for_text

LIFE = 8  # seconds of the certificate with which everything begins
REPLICAS = 3
MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec: {containers: [{name: app, image: "example:1", imagePullPolicy: IfNotPresent}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: "example:1", imagePullPolicy: IfNotPresent}]}
"""


def says(where: Place, pod: Pod, line: str) -> None:
    """The pod's container says a line."""
    log = where.root / "log" / "pods" / f"default_talker_{pod.metadata.uid}" / "app" / "0.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        file.write(f"2027-01-15T08:00:00.000000000+00:00 stdout F {line}\n")


def short_lived(where: Place) -> pki.Pair:
    """An administrator's certificate that ends in a moment."""
    held = Authority((where.directory / "ca.crt").read_bytes(), (where.directory / "ca.key").read_bytes())
    wish = pki.wish()
    return pki.Pair(held.certify(pki.user("admin"), wish.certificate, int(time.time()), LIFE), wish.key)


def renew_host(where: Place) -> None:
    """As a host does in time."""
    keeper = where.mesh.meshd.enrolment
    assert keeper is not None
    directory = where.root / "pki"
    csr = pki.wish((directory / "agent.key").read_bytes()).certificate
    (directory / "agent.crt").write_bytes(keeper.certificates.certify(pki.node("node1"), csr))
    (directory / "ca.crt").write_bytes(keeper.certificates.authority.bundle)


def rolled(deployment: Deployment) -> bool:
    status = deployment.status
    image = deployment.spec.template.spec.containers[0].image
    return image == "example:2" and status.updated_replicas == status.available_replicas == status.replicas == REPLICAS


async def follow(watch: "aio.UnaryStreamCall[pb.WatchRequest, pb.WatchEvent]") -> list[int]:
    """How many replicas were available at each change, until the rollout is over."""
    available: list[int] = []
    while True:
        event = await watch.read()
        assert event is not aio.EOF
        if event.type == pb.WatchEvent.BOOKMARK:
            continue
        deployment = Deployment.FromString(event.object.value)
        available.append(deployment.status.available_replicas)
        if rolled(deployment):
            return available


async def test_a_new_authority_and_expired_certificates_drop_nothing(place: Place) -> None:  # noqa: F811 - the fixture
    async with place.admin() as admin:
        await admin.apply(MANIFEST)
        talker = await admin.wait(Pod, "talker", condition="Ready", timeout=60)
        await admin.wait(Deployment, "web", jsonpath=f"{{.status.availableReplicas}}={REPLICAS}", timeout=60)
    pair, roots = short_lived(place), (place.directory / "ca.crt").read_bytes()
    channel = place.mesh.channel(pair, roots)
    watch = ResourcesStub(channel).Watch(pb.WatchRequest(kind="Deployment", namespace="default"))
    rollout = asyncio.ensure_future(follow(watch))
    options = node_pb2.LogOptions(follow=True)
    logs = PodsStub(channel).Logs(pb.LogsRequest(namespace="default", pod="talker", options=options))
    assert talker is not None
    says(place, talker, "before")
    assert (await logs.read()).data == b"before\n"

    async with place.admin() as admin:
        await Access(admin.over).rotate_authority()
        says(place, talker, "two authorities")
        assert (await logs.read()).data == b"two authorities\n"
        container = {"name": "app", "image": "example:2"}
        template = {"template": {"spec": {"containers": [{**container, "imagePullPolicy": "IfNotPresent"}]}}}
        await admin.patch(Deployment, "web", {"spec": template})
        renew_host(place)
    async with place.admin() as admin:
        await Access(admin.over).rotate_authority(finish=True)
    renew_host(place)

    expired = asyncio.Event()
    asyncio.get_running_loop().call_later(max(0, pki.expires(pair.certificate) + 1 - time.time()), expired.set)
    await expired.wait()
    anew = place.mesh.channel(pair, (place.directory / "ca.crt").read_bytes())
    refusal = await refused(AccessStub(anew).WhoAmI(WhoAmIRequest(), timeout=60))
    assert refusal.code is StatusCode.UNAVAILABLE  # a handshake; what stands is not touched
    says(place, talker, "after")
    assert (await asyncio.wait_for(logs.read(), 60)).data == b"after\n"
    available = await asyncio.wait_for(rollout, 30)
    assert min(available) >= REPLICAS, available
    async with place.admin() as admin:  # and orders go on being taken
        await admin.patch(Deployment, "web", {"spec": {"replicas": 1}})
        await admin.wait(Deployment, "web", jsonpath="{.status.replicas}=1", timeout=30)
    bundle = (place.directory / "ca.crt").read_text()
    assert bundle != roots.decode()
    await asyncio.to_thread(wait_for_text, place.volume(talker) / "ca.crt", bundle, 60)
