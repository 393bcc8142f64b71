"""meshd among agents of other releases: neighbours serve and are served, others are given nothing and said why; what a
newer release has written is kept, and refused where a user would rely on it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from grpc import aio

from mesh.model import protocol
from mesh.model.fields import copy_of
from mesh.model.kinds import key_of, pack, revision_of, unpack
from mesh.model.manifest import load
from mesh.model.unknown import unknown_field
from mesh.store.memory import MemoryStore
from mesh.store.port import Write
from mesh.v1 import control_pb2 as pb
from mesh.v1.core_pb2 import Node, Pod
from mesh.v1.node_pb2 import Protocol
from tests.harness.cli import Cli
from tests.harness.control import RunningMeshd, control
from tests.harness.scripted_host import ScriptedHost, says
from tests.harness.versions import FRESH, Dialect, OtherAgent

DEADLINE = 60.0
FORMER = Dialect.former(protocol.PROTOCOL - 1)
TOMORROW = Dialect.tomorrow()
SERVED = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers: [{name: app, image: "hello:1", env: [{name: A, valueFrom: {configMapKeyRef: {name: c, key: a}}}]}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data: {a: b}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


@pytest.fixture
def scripted() -> ScriptedHost:
    host = ScriptedHost("host1")
    host.logs["web/app"] = b"hello\n"
    host.commands["hostname"] = says(b"web\n")
    return host


async def node(mesh: RunningMeshd, fits: Callable[[Node], bool]) -> Node:
    """The host's Node as soon as it fits."""
    async with asyncio.timeout(DEADLINE):
        while True:
            view = mesh.meshd.feed.view
            held = view.node("host1")
            if held is not None and fits(held):
                return held
            await mesh.meshd.feed.reached(view.revision + 1)


async def host_of(mesh: RunningMeshd) -> pb.HostStatus:
    (host,) = (await mesh.control.Status(pb.StatusRequest())).hosts
    return host


def tainted(held: Node) -> bool:
    return any((t.key, t.effect) == ("mesh/version-skew", "NoSchedule") for t in held.spec.taints)


@pytest.mark.parametrize(
    ("dialect", "said", "speaks"),
    [(FORMER, None, protocol.PROTOCOL - 1),
     (TOMORROW, Protocol(speaks=protocol.PROTOCOL + 1, oldest=protocol.PROTOCOL), protocol.PROTOCOL + 1)],
    ids=["former", "tomorrow"],
)  # fmt: skip
async def test_an_agent_of_a_neighbouring_release_serves(
    scripted: ScriptedHost, tmp_path: Path, dialect: Dialect, said: Protocol | None, speaks: int
):
    async with control(agents={"host1": OtherAgent(scripted, dialect, said)}) as mesh:
        cli = Cli(mesh, tmp_path)
        applied = await cli("apply", "--wait", "-f", "-", stdin=SERVED)
        assert applied.code == 0, applied.err
        assert (await cli("logs", "web")).out == "hello\n"
        assert (await cli("exec", "web", "--", "hostname")).out == "web\n"
        order = scripted.assignments[-1]
        assert ([p.metadata.name for p in order.pods], [c.data["a"] for c in order.config_maps if "a" in c.data]) == (
            ["web"], ["b"])  # fmt: skip
        async with asyncio.timeout(DEADLINE):
            await scripted.serves("default/web")
        host = await host_of(mesh)
        assert (host.protocol, host.skew) == (speaks, "")
        status = await cli("status")
        assert (status.code, "Everything is well." in status.out) == (0, True), status.out
        assert (await cli("delete", "pod", "web", "--wait")).code == 0
        assert not (await node(mesh, lambda _: True)).spec.taints


async def test_what_a_newer_agent_says_is_kept_for_a_newer_meshd(scripted: ScriptedHost, tmp_path: Path):
    newer = OtherAgent(scripted, TOMORROW, Protocol(speaks=protocol.PROTOCOL + 1, oldest=protocol.PROTOCOL))
    async with control(agents={"host1": newer}) as mesh:
        assert (await Cli(mesh, tmp_path)("apply", "--wait", "-f", "-", stdin=SERVED)).code == 0
        stored = {type(o).__name__: o for o in (await mesh.store.snapshot()).objects if isinstance(o, Node | Pod)}
        assert unknown_field(stored["Node"]) == f"status: field {FRESH}"
        assert unknown_field(stored["Pod"]) == f"status: field {FRESH}"


@pytest.mark.parametrize(
    ("said", "words"),
    [(Protocol(speaks=9, oldest=8), "needs at least protocol 8, and this release speaks 2: upgrade this one"),
     (None, "the agent of host1 speaks protocol 1, and this release needs at least 2: upgrade the agent of host1")],
    ids=["newer", "older"],
)  # fmt: skip
async def test_an_agent_too_far_away_is_given_nothing_until_it_is_another_one(
    scripted: ScriptedHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Protocol | None, words: str
):
    monkeypatch.setattr(protocol, "OLDEST", 2)
    agent = OtherAgent(scripted, FORMER if said is None else TOMORROW, said)
    async with control(agents={"host1": agent}) as mesh:
        cli = Cli(mesh, tmp_path)
        held = await node(mesh, tainted)
        (condition,) = (c for c in held.status.conditions if c.type == "VersionSkew")
        assert words in condition.message
        assert (await cli("apply", "-f", "-", stdin=SERVED)).code == 0
        host = await host_of(mesh)
        assert (host.connected, host.assignment_held) == (True, False)
        assert words in host.skew
        status = await cli("status")
        assert status.code == 1
        assert f"! host host1 is given no orders: {host.skew}" in status.out
        assert words in (await cli("describe", "node", "host1")).out
        assert (scripted.assignments, scripted.pieces) == ([], [])
        agent.protocol = protocol.ours()  # upgraded
        scripted.restart()
        assert (await cli("wait", "pod/web", "--for=condition=Ready", "--timeout=60s")).code == 0
        held = await node(mesh, lambda n: not n.spec.taints)
        assert "VersionSkew" not in {c.type for c in held.status.conditions}
        assert (await host_of(mesh)).skew == ""


async def test_hosts_of_another_release_are_seen(scripted: ScriptedHost, tmp_path: Path):
    scripted.release = "mesh 0.0.9"
    async with control(agents={"host1": OtherAgent(scripted, FORMER)}) as mesh:
        cli = Cli(mesh, tmp_path)
        await node(mesh, lambda n: any(c.type == "Ready" and c.status == "True" for c in n.status.conditions))
        for verb in (("get", "nodes"), ("status",)):
            line = next(line for line in (await cli(*verb)).out.splitlines() if line.startswith("host1"))
            assert "mesh 0.0.9" in line


# ---- objects


def the_pod() -> Pod:
    (pod,) = load(SERVED.split("---", maxsplit=1)[0], "a test").objects
    assert isinstance(pod, Pod)
    pod.metadata.namespace = "default"
    return pod


async def seen(mesh: RunningMeshd, fits: Callable[[Pod], bool]) -> Pod:
    """The pod as soon as it fits."""
    async with asyncio.timeout(DEADLINE):
        while (pod := mesh.meshd.feed.view.pod("default", "web")) is None or not fits(pod):
            await mesh.meshd.feed.reached(mesh.meshd.feed.view.revision + 1)
    return pod


async def test_a_field_that_nobody_here_knows_is_refused_from_users():
    newer = the_pod()
    newer.spec.containers[0].CopyFrom(TOMORROW.said(newer.spec.containers[0]))
    async with control() as mesh:
        for call in (
            lambda: mesh.resources.Create(pb.CreateRequest(object=pack(newer))),
            lambda: mesh.resources.Apply(pb.ApplyRequest(objects=[pack(newer)])),
        ):
            with pytest.raises(aio.AioRpcError) as refused:
                await call()
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert f"spec.containers: field {FRESH}: is not known to this release" in (refused.value.details() or "")


async def test_what_a_newer_meshd_has_stored_outlives_its_going_back(scripted: ScriptedHost):
    scripted.hold.add("web")
    store = MemoryStore()
    async with control(agents={"host1": scripted}, store=store) as mesh:
        await mesh.resources.Apply(pb.ApplyRequest(objects=[pack(the_pod())]))
        pod = await seen(mesh, lambda pod: pod.status.phase == "Pending" and bool(pod.spec.node_name))
        newer = copy_of(pod)
        newer.spec.CopyFrom(TOMORROW.said(pod.spec))
        await store.commit([Write(key_of(newer), newer)])
        scripted.start("web")
        pod = await seen(mesh, lambda pod: pod.status.phase == "Running")  # the host's status was written over it
        assert unknown_field(pod) == f"spec: field {FRESH}"
        changed = copy_of(pod)
        changed.metadata.labels["by"] = "user"
        answer = unpack((await mesh.resources.Update(pb.UpdateRequest(object=pack(changed)))).object)
        assert revision_of(answer) > revision_of(pod)
        assert unknown_field(answer) == f"spec: field {FRESH}"
