"""Who has Ray's token and no certificate: he may call the actor, and answer in its place; nothing comes of it.

The seam is the real one but for Ray itself: RayNode, sealed bytes, NodeActor, Agent over the fake runtime.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mesh import pki
from mesh.errors import Unavailable
from mesh.fleet.bridge import RayNode
from mesh.fleet.secured import Secured
from mesh.sessions import LIFE, Opening, Trust
from mesh.v1 import node_pb2
from mesh.v1.node_pb2 import Assignment, ExecOptions, Observed, ObserveRequest, Reply, SealedCall, StreamOpen
from nodeagent.agent import Agent
from nodeagent.config import AgentConfig
from tests.harness.bent_time import bent
from tests.harness.fake_runtime import FakeHost, FakeRuntime
from tests.harness.seam import Seam, SeamPki

PKI = SeamPki.made()
CANARY = "the-canary-sings"
METHODS = {
    "assign": Assignment(node="a", digest="forged"),
    "program": node_pb2.ServiceTable(digest="forged", last=True),
    "flows": node_pb2.FlowsRequest(),
    "observe": ObserveRequest(),
    "open_stream": StreamOpen(pod_uid="u", exec=ExecOptions(command=["sh"])),
    "read_stream": node_pb2.StreamRead(id="s"),
    "write_stream": node_pb2.StreamWrite(id="s", data=b"x"),
    "close_stream": node_pb2.StreamClose(id="s"),
}


class Recorded:
    """An agent that remembers what reached it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def observe(self, request: ObserveRequest) -> Observed:
        self.calls.append("observe")
        return Observed(node="a", boot=CANARY, version=len(self.calls))

    async def open_stream(self, request: StreamOpen) -> node_pb2.StreamOpened:
        self.calls.append("open_stream")
        return node_pb2.StreamOpened(id=CANARY)


def config_of(root: Path, node: str = "a") -> AgentConfig:
    made = AgentConfig(node, "192.0.2.1", root)
    PKI.admit(node, made.pki_dir)
    return made


@pytest.fixture
async def seam(tmp_path: Path) -> Seam:
    return Seam(Recorded(), config_of(tmp_path), PKI.trust)


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Seam]:
    """A real agent behind the seam."""
    config = config_of(tmp_path)
    made = Agent(config, FakeRuntime(FakeHost()), clock=time.time_ns)
    task = asyncio.create_task(made.run())
    yield Seam(made, config, PKI.trust)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def calls(seam: Seam) -> list[str]:
    held: list[str] = seam.agent.calls
    return held


# ---- he calls


async def test_what_crosses_can_not_be_read(seam: Seam) -> None:
    opened = await seam.port.open_stream(StreamOpen(pod_uid="u", exec=ExecOptions(command=["echo", "a-secret-word"])))
    assert opened.id == CANARY
    crossed = b"".join(call + answer for _, call, answer in seam.crossed)
    assert b"a-secret-word" not in crossed
    assert CANARY.encode() not in crossed


@pytest.mark.parametrize("method", METHODS)
async def test_a_plain_call_does_and_tells_nothing(agent: Seam, method: str) -> None:
    await agent.port.observe(ObserveRequest())  # a session is there
    for payload in (METHODS[method].SerializeToString(), b"", b"\xff\xff"):
        reply = await agent.carry(method, payload)
        assert reply == Reply(no_session=True)
    assert (await agent.port.observe(ObserveRequest())).run_digest == ""


async def test_a_call_heard_before_is_not_done_again(seam: Seam) -> None:
    await seam.port.open_stream(StreamOpen(pod_uid="u"))
    (heard, _) = seam.of("open_stream")[0]
    for method in METHODS:  # nor as another one
        reply = await seam.carry(method, heard)
        assert (reply.error_kind, reply.box) == ("Forbidden", b"")
    assert calls(seam) == ["open_stream"]


async def test_what_is_refused_is_told_to_meshd(agent: Seam) -> None:
    await agent.port.observe(ObserveRequest())
    (heard, _) = agent.of("observe")[0]
    other = pki.issue(PKI.ca, pki.node("b"), int(time.time()))
    stranger = Opening("a", Trust(lambda: PKI.ca.certificate, lambda: other))
    for _ in range(3):
        assert (await agent.carry("observe", heard)).error_kind == "Forbidden"
        assert (await agent.carry("hello", stranger.hello.SerializeToString())).error_kind == "Forbidden"
    observed = await agent.port.observe(ObserveRequest())
    assert [r.method for r in observed.refusals] == ["observe", "hello"]
    assert "not new" in observed.refusals[0].why
    events = [e for e in observed.events if e.reason == "CallRefused"]
    told = [(e.involved_object.kind, e.message.split()[0], e.count) for e in events]
    assert told == [("Node", "observe", 1), ("Node", "hello", 1)]
    assert agent.agent.stats.meter.operations.refused == {"observe": 3, "hello": 3}


async def test_a_call_changed_on_its_way_is_not_done(seam: Seam) -> None:
    await seam.port.observe(ObserveRequest())
    call = SealedCall.FromString(seam.of("observe")[0][0])
    for number in (call.number, call.number + 1, call.number + 9999):
        made = SealedCall(session=call.session, number=number, box=call.box[::-1])
        assert (await seam.carry("observe", made.SerializeToString())).error_kind == "Forbidden"
    assert calls(seam) == ["observe"]
    await seam.port.observe(ObserveRequest())  # and meshd is not hindered


@pytest.mark.parametrize(
    "pair",
    [
        pki.issue(PKI.ca, pki.node("b"), int(time.time())),
        pki.issue(PKI.ca, pki.user("meshd"), int(time.time())),
        pki.issue(pki.make_ca("mesh", int(time.time())), pki.server("meshd", ()), int(time.time())),
    ],
    ids=["another host", "an administrator", "another authority"],
)
async def test_who_is_not_meshd_gets_no_session(seam: Seam, pair: pki.Pair) -> None:
    thief = RayNode("a", Secured("a", seam.carry, Trust(lambda: PKI.ca.certificate, lambda: pair)))
    with pytest.raises(Unavailable):
        await thief.open_stream(StreamOpen(pod_uid="u"))
    assert not calls(seam)


async def test_old_hellos_push_no_session_out(seam: Seam) -> None:
    await seam.port.observe(ObserveRequest())
    hello = seam.of("hello")[0][0]
    for _ in range(50):
        assert (await seam.carry("hello", hello)).HasField("welcome")
    await seam.port.observe(ObserveRequest())
    assert len(seam.of("hello")) == 51


async def test_a_host_that_knows_no_authority_takes_nothing(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    seam = Seam(Recorded(), config, PKI.trust)
    (config.pki_dir / "ca.crt").unlink()
    with pytest.raises(Unavailable, match="no certificate of the mesh yet"):
        await seam.port.observe(ObserveRequest())
    made = Agent(config, FakeRuntime(FakeHost()), clock=time.time_ns)
    task = asyncio.create_task(made.run())
    for order in (Assignment(node="a"), Assignment(signed=node_pb2.SignedOrder(assignment=b"", certificate=b"x"))):
        with pytest.raises(Exception, match=r"not signed|not of this mesh|can't be read"):
            await made.assign(order)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# ---- he answers


class Posing:
    """Stands where the actor of "a" should be; `answer` says what comes back."""

    def __init__(self, seam: Seam) -> None:
        self.seam = seam
        self.posing = False
        self.instead = Reply()

    async def carry(self, method: str, payload: bytes, seconds: float) -> Reply:
        return self.instead if self.posing else await self.seam.carry(method, payload, seconds)


async def test_who_poses_as_a_host_is_not_believed(seam: Seam, tmp_path: Path) -> None:
    posing = Posing(seam)
    node = RayNode("a", Secured("a", posing.carry, PKI.trust))
    await node.observe(ObserveRequest())
    heard = Reply.FromString(seam.of("observe")[0][1])
    forged = Observed(node="a", boot=CANARY, version=7, full=True).SerializeToString()
    posing.posing = True
    for instead in (Reply(payload=forged), Reply(box=forged), heard, Reply(), Reply(error_kind="NotFound")):
        posing.instead = instead
        with pytest.raises(Unavailable):
            await node.observe(ObserveRequest())


async def test_another_host_of_the_mesh_is_not_this_one(seam: Seam, tmp_path: Path) -> None:
    other = Seam(Recorded(), config_of(tmp_path / "b", "b"), PKI.trust)
    assert (await RayNode("b", Secured("b", other.carry, PKI.trust)).observe(ObserveRequest())).node == "a"  # recorded

    async def elsewhere(method: str, payload: bytes, seconds: float) -> Reply:
        if method != "hello":
            return await other.carry(method, payload, seconds)
        own = Opening("b", PKI.trust).hello  # a hello heard on its way to b
        return await other.carry(method, own.SerializeToString(), seconds)

    with pytest.raises(Unavailable, match='who answers as host "a" does not prove it'):
        await RayNode("a", Secured("a", elsewhere, PKI.trust)).observe(ObserveRequest())


async def test_answers_can_not_be_exchanged(seam: Seam) -> None:
    answers: dict[int, Reply] = {}

    async def crossing(method: str, payload: bytes, seconds: float) -> Reply:
        reply = await seam.carry(method, payload, seconds)
        if method == "hello":
            return reply
        answers[SealedCall.FromString(payload).number] = reply
        return answers[min(answers)]

    node = RayNode("a", Secured("a", crossing, PKI.trust))
    assert (await node.observe(ObserveRequest())).version == 1
    with pytest.raises(Unavailable, match="not its own"):
        await node.observe(ObserveRequest())


# ---- and meshd and its hosts go on


async def test_an_agent_that_was_started_again_is_reached_at_once_and_called_once(seam: Seam) -> None:
    await seam.port.observe(ObserveRequest())
    seam.restart()
    await asyncio.gather(*(seam.port.observe(ObserveRequest()) for _ in range(5)))
    assert calls(seam) == ["observe"] * 6
    assert len(seam.of("hello")) == 2


@bent
async def test_a_session_lasts_an_hour(tmp_path: Path) -> None:
    now = time.time_ns()
    seam = Seam(Recorded(), config_of(tmp_path), PKI.trust, lambda: now)
    for _ in range(3):
        await seam.port.observe(ObserveRequest())
    assert len(seam.of("hello")) == 1
    await asyncio.sleep(LIFE)
    await seam.port.observe(ObserveRequest())
    assert len(seam.of("hello")) == 2


async def test_an_order_over_the_seam_is_still_one_that_meshd_signed(agent: Seam) -> None:
    with pytest.raises(Exception, match="not signed by the control service"):
        await agent.port.assign(Assignment(node="a", digest="d"))
