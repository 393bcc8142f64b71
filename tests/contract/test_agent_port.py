"""What every agent promises the control side: one suite over AgentPort.

Bodies: an Agent in this process over the fake runtime, the same as meshd has it (sealed, through the actor), and one
over a real Podman.
"""

import asyncio
import contextlib
import itertools
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mesh.errors import Conflict, Invalid, NotFound, Unavailable
from mesh.fleet.port import AgentPort
from mesh.v1.core_pb2 import Container, Pod, PodSpec
from mesh.v1.meta_pb2 import ObjectMeta
from mesh.v1.node_pb2 import (
    Assignment,
    Channel,
    ExecOptions,
    Fence,
    LogOptions,
    Observed,
    ObserveRequest,
    PodReport,
    PortForwardOptions,
    ServiceTable,
    StreamBatch,
    StreamClose,
    StreamOpen,
    StreamRead,
    StreamWrite,
)
from nodeagent.agent import Agent
from nodeagent.config import AgentConfig
from nodeagent.runtime.podman import PodmanRuntime
from tests.harness.fake_runtime import FakeHost, FakeRuntime, Program
from tests.harness.podman import IMAGE, PodmanHost, podman_host
from tests.harness.seam import Seam, SeamPki
from tests.harness.unproven import Unproven

DEADLINE = 30.0
NUMBERS = itertools.count(1)


@dataclass
class Body:
    """An agent, and how to make its containers do something."""

    agent: AgentPort
    node: str
    pod_cidr: str
    fake: FakeHost | None
    revision: int = 0

    def pod(self, script: str = "sleep 100000", *, program: Program | None = None, **spec: Any) -> Pod:
        """A pod whose container runs a shell script; over the fake, `program`."""
        uid = f"00000000-0000-4000-8000-{next(NUMBERS):012d}"
        name = f"pod-{uid[-4:]}"
        if self.fake is not None:
            self.fake.programs[f"{name}/main"] = program or Program()
        container = Container(name="main", image=IMAGE, image_pull_policy="IfNotPresent", command=["sh", "-c", script])
        spec.setdefault("termination_grace_period_seconds", 1)
        metadata = ObjectMeta(name=name, namespace="default", uid=uid, generation=1)
        return Pod(metadata=metadata, spec=PodSpec(containers=[container], node_name=self.node, **spec))

    async def assign(self, *pods: Pod) -> str:
        """The host's whole set; returns the digest that it says to hold."""
        self.revision += 1
        order = Assignment(node=self.node, digest=f"d{self.revision}", pod_cidr=self.pod_cidr, pods=pods)
        order.cluster_cidr = "10.199.0.0/16"
        order.fence.epoch, order.fence.revision = 1, self.revision
        return (await self.agent.assign(order)).run_digest

    async def until(self, pod: Pod, true: Any) -> PodReport:
        """What is said of a pod once `true(report)`."""
        boot, version = "", 0
        async with asyncio.timeout(DEADLINE):
            while True:
                observed = await self.observe(boot, version, wait=5000)
                boot, version = observed.boot, observed.version
                for report in observed.pods:
                    if report.uid == pod.metadata.uid and true(report):
                        return report

    async def observe(self, boot: str = "", version: int = 0, wait: int = 0) -> Observed:
        """One observe."""
        return await self.agent.observe(ObserveRequest(boot=boot, after_version=version, wait_milliseconds=wait))

    async def running(self, script: str = "sleep 100000", **fields: Any) -> Pod:
        """A pod that runs."""
        pod = self.pod(script, **fields)
        await self.assign(pod)
        await self.until(pod, lambda r: r.status.phase == "Running")
        return pod

    async def open(self, pod: Pod, **what: Any) -> str:
        """A stream."""
        return (await self.agent.open_stream(StreamOpen(pod_uid=pod.metadata.uid, **what))).id

    async def batches(self, stream: str) -> AsyncIterator[StreamBatch]:
        """All batches until the last."""
        async with asyncio.timeout(DEADLINE):
            while True:
                batch = await self.agent.read_stream(StreamRead(id=stream, wait_milliseconds=2000))
                yield batch
                if batch.done:
                    return

    async def drained(self, stream: str) -> tuple[bytes, bytes, StreamBatch]:
        """Everything of both channels, and the last batch."""
        out = {Channel.STDOUT: b"", Channel.STDERR: b""}
        last = StreamBatch()
        async for batch in self.batches(stream):
            last = batch
            for chunk in batch.chunks:
                out[chunk.channel] += chunk.data
        return out[Channel.STDOUT], out[Channel.STDERR], last

    async def read_until(self, stream: str, text: bytes) -> bytes:
        """What comes on stdout until it holds `text`."""
        got = b""
        async for batch in self.batches(stream):
            got += b"".join(c.data for c in batch.chunks)
            if text in got:
                return got
        raise AssertionError(f"the stream ended with {got!r}")


@pytest.fixture(scope="session", params=["fake", "sealed", pytest.param("podman", marks=pytest.mark.host)])
def agent_host(request: pytest.FixtureRequest) -> Iterator[PodmanHost | str]:
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(podman_host()) if request.param == "podman" else request.param


@pytest.fixture
async def body(agent_host: PodmanHost | str) -> AsyncIterator[Body]:
    with contextlib.ExitStack() as stack:
        if isinstance(agent_host, str):
            root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            fake = FakeHost(log_dir=root / "log" / "pods", pod_cidr="10.199.1.0/24")
            config = AgentConfig("node1", "127.0.0.1", root)
            agent = Agent(config, FakeRuntime(fake), clock=FakeRuntime.now, identity=Unproven.at(config))
            made = Body(agent, "node1", "10.199.1.0/24", fake)
            if agent_host == "sealed":
                pki = SeamPki.made()
                pki.admit("node1", config.pki_dir)
                made.agent = Seam(agent, config, pki.trust).port
        else:
            identity = Unproven.at(agent_host.config)
            agent = Agent(agent_host.config, PodmanRuntime(agent_host.config), identity=identity)
            revision = int(asyncio.get_running_loop().time() * 1000)  # the checkpoint of the test before is on the host
            made = Body(agent, agent_host.config.node_name, agent_host.pod_cidr, None, revision)
        task = asyncio.create_task(agent.run())
        yield made
        await made.assign()
        async with asyncio.timeout(DEADLINE):
            await agent.emptied()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_default_executor()  # a write that a thread has begun is ended


# ---- orders and what is observed


async def test_the_first_observe_is_full_and_tells_of_the_host(body: Body) -> None:
    observed = await body.observe()
    assert (observed.full, observed.run_digest, observed.route_digest) == (True, "", "")
    async with asyncio.timeout(DEADLINE):
        while not observed.HasField("report"):
            observed = await body.observe(observed.boot, observed.version, wait=1000)
    status = observed.report.status
    assert set(status.capacity) == {"cpu", "memory", "ephemeral-storage", "pods"}
    assert observed.report.labels["kubernetes.io/os"] == "linux"
    assert {c.type for c in status.conditions} == {"Ready", "MemoryPressure", "DiskPressure", "PIDPressure"}


async def test_an_order_is_acknowledged_by_its_digest(body: Body) -> None:
    assert await body.assign() == f"d{body.revision}"
    observed = await body.observe()
    assert (observed.run_digest, observed.fence.revision) == (f"d{body.revision}", body.revision)


async def test_an_older_order_is_refused_and_the_same_again_is_not(body: Body) -> None:
    await body.assign()
    body.revision -= 1
    await body.assign()
    body.revision -= 2
    with pytest.raises(Conflict):
        await body.assign()
    body.revision += 2


async def test_an_order_for_another_host_is_refused(body: Body) -> None:
    body.node, mine = "elsewhere", body.node
    with pytest.raises(Invalid):
        await body.assign()
    body.node = mine


async def test_a_waiting_observe_is_answered_by_news(body: Body) -> None:
    await body.assign()
    seen = await body.observe()
    pod = body.pod()
    async with asyncio.timeout(DEADLINE):
        waiting = asyncio.create_task(body.observe(seen.boot, seen.version, wait=20000))
        await body.assign(pod)
        answer = await waiting
    assert not answer.full
    assert answer.version > seen.version


async def test_an_observe_without_news_waits_and_answers_empty(body: Body) -> None:
    await body.assign()
    seen = await body.observe()
    async with asyncio.timeout(DEADLINE):
        while True:  # what the host says of itself may still settle
            again = await body.observe(seen.boot, seen.version, wait=300)
            if again.version == seen.version:
                break
            seen = again
    assert not again.full
    assert not again.pods
    assert not again.HasField("report")


async def test_a_cursor_of_another_boot_gets_everything(body: Body) -> None:
    pod = await body.running()
    observed = await body.observe("another", 10_000)
    assert observed.full
    assert [p.uid for p in observed.pods] == [pod.metadata.uid]


async def test_a_deleted_pod_is_gone_with_its_last_status(body: Body) -> None:
    pod = await body.running("trap 'exit 7' TERM; sleep 100000 & wait $!", program=Program(on_term=7))
    pod.metadata.deletion_timestamp.seconds = 1
    pod.metadata.deletion_grace_period_seconds = 20
    await body.assign(pod)
    report = await body.until(pod, lambda r: r.gone)
    assert report.status.phase == "Failed"
    assert report.status.container_statuses[0].state.terminated.exit_code == 7


async def test_a_pod_of_a_finished_command_succeeds(body: Body) -> None:
    pod = body.pod("exit 0", program=Program(exit_after=0), restart_policy="Never")
    await body.assign(pod)
    report = await body.until(pod, lambda r: r.status.phase == "Succeeded")
    assert report.status.container_statuses[0].state.terminated.reason == "Completed"


async def test_without_a_proxy_a_table_is_refused_for_now(body: Body) -> None:
    with pytest.raises(Unavailable):
        await body.agent.program(ServiceTable(fence=Fence(revision=1), digest="x"))


# ---- logs


def said(*lines: str) -> dict[str, Any]:
    """A container that says this and stays."""
    script = "; ".join(f"echo {line}" for line in lines)
    return {"script": f"{script}; sleep 100000", "program": Program(output=lines)}


async def logs_of(body: Body, pod: Pod, **options: Any) -> bytes:
    stream = await body.open(pod, logs=LogOptions(container="main", **options))
    out, _, last = await body.drained(stream)
    assert last.error == ""
    return out


async def spoken(body: Body, pod: Pod, text: bytes) -> None:
    """Returns once the log holds the text."""
    stream = await body.open(pod, logs=LogOptions(follow=True))
    await body.read_until(stream, text)
    await body.agent.close_stream(StreamClose(id=stream))


async def test_logs(body: Body) -> None:
    pod = await body.running(**said("one", "two", "three"))
    await spoken(body, pod, b"three")
    assert await logs_of(body, pod) == b"one\ntwo\nthree\n"
    assert await logs_of(body, pod, tail_lines=2) == b"two\nthree\n"
    assert await logs_of(body, pod, tail_lines=0) == b""
    assert await logs_of(body, pod, limit_bytes=6) == b"one\ntw"
    assert await logs_of(body, pod, since_unix_nanos=4_000_000_000 * 10**9) == b""
    stamped = (await logs_of(body, pod, timestamps=True, tail_lines=1)).split(b" ")
    assert stamped[1] == b"three\n"
    assert stamped[0].startswith(b"20")


async def test_the_log_of_a_finished_pod_stays(body: Body) -> None:
    pod = body.pod("echo done", program=Program(exit_after=0.05, output=["done"]), restart_policy="Never")
    await body.assign(pod)
    await body.until(pod, lambda r: r.status.phase == "Succeeded")
    assert await logs_of(body, pod) == b"done\n"


async def test_following_ends_when_the_container_stops(body: Body) -> None:
    program = Program(exit_after=0.5, output=["early", "late"])
    pod = await body.running("echo early; sleep 0.5; echo late", program=program, restart_policy="Never")
    assert await logs_of(body, pod, follow=True) == b"early\nlate\n"


async def test_the_previous_attempts_log(body: Body) -> None:
    lives = [Program(exit_after=0.1, exit_code=1, output=["first"]), Program(output=["second"])]
    pod = body.pod("echo life; exit 1", program=lives)  # type: ignore[arg-type]
    await body.assign(pod)
    await body.until(pod, lambda r: r.status.container_statuses[0].restart_count == 1)
    before = await logs_of(body, pod, previous=True)
    assert before in (b"first\n", b"life\n")


async def test_logs_that_are_not_there(body: Body) -> None:
    pod = await body.running()
    with pytest.raises(NotFound, match="no container"):
        await body.open(pod, logs=LogOptions(container="nobody"))
    with pytest.raises(NotFound, match="previous"):
        await body.open(pod, logs=LogOptions(previous=True))
    with pytest.raises(NotFound):
        await body.agent.open_stream(StreamOpen(pod_uid="nobody", logs=LogOptions()))


# ---- exec


async def test_exec_tells_channels_and_exit_code(body: Body) -> None:
    pod = await body.running()
    command = ["sh", "-c", "echo out; echo err >&2; exit 5"]
    out, err, last = await body.drained(await body.open(pod, exec=ExecOptions(command=command)))
    assert (out, err, last.exit_code, last.error) == (b"out\n", b"err\n", 5, "")


async def test_exec_takes_input_to_its_end(body: Body) -> None:
    pod = await body.running()
    stream = await body.open(pod, exec=ExecOptions(command=["cat"], stdin=True))
    for piece in (b"a" * 50_000, b"b" * 50_000):
        await body.agent.write_stream(StreamWrite(id=stream, data=piece))
    await body.agent.write_stream(StreamWrite(id=stream, close=True))
    out, _, last = await body.drained(stream)
    assert (len(out), out[:1], out[-1:], last.exit_code) == (100_000, b"a", b"b", 0)


async def test_exec_of_much_output_loses_nothing(body: Body) -> None:
    pod = await body.running()
    stream = await body.open(pod, exec=ExecOptions(command=["sh", "-c", "head -c 3000000 /dev/zero"]))
    sizes = [batch.ByteSize() async for batch in body.batches(stream)]
    assert sum(sizes) >= 3_000_000
    assert max(sizes) < 95_000


async def test_exec_with_a_terminal_has_its_size(body: Body) -> None:
    pod = await body.running()
    options = ExecOptions(command=["sh"], stdin=True, tty=True, rows=33, columns=77)
    stream = await body.open(pod, exec=options)
    await body.agent.write_stream(StreamWrite(id=stream, data=b"stty size; echo o''ne\n"))
    assert b"33 77" in await body.read_until(stream, b"one")
    await body.agent.write_stream(StreamWrite(id=stream, rows=20, columns=100))
    await body.agent.write_stream(StreamWrite(id=stream, data=b"sleep 0.2; stty size; echo t''wo\n"))
    assert b"20 100" in await body.read_until(stream, b"two")
    await body.agent.write_stream(StreamWrite(id=stream, data=b"exit 9\n"))
    _, _, last = await body.drained(stream)
    assert last.exit_code == 9


async def test_exec_where_nothing_runs(body: Body) -> None:
    pod = body.pod("exit 0", program=Program(exit_after=0), restart_policy="Never")
    await body.assign(pod)
    await body.until(pod, lambda r: r.status.phase == "Succeeded")
    with pytest.raises(NotFound, match="not running"):
        await body.open(pod, exec=ExecOptions(command=["true"]))


async def test_a_closed_stream_is_over(body: Body) -> None:
    pod = await body.running()
    stream = await body.open(pod, exec=ExecOptions(command=["sleep", "1000"]))
    await body.agent.close_stream(StreamClose(id=stream))
    await body.agent.close_stream(StreamClose(id=stream))
    with pytest.raises(NotFound):
        await body.agent.read_stream(StreamRead(id=stream))


# ---- port-forward


@contextlib.asynccontextmanager
async def forwarded(body: Body) -> AsyncIterator[tuple[Pod, int]]:
    """A pod in which a web server listens on 127.0.0.1."""
    if body.fake is None:
        yield await body.running("httpd -f -p 127.0.0.1:7000"), 7000
        return

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 404 Not Found\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield await body.running(host_network=True), server.sockets[0].getsockname()[1]


async def test_a_port_is_forwarded_both_ways(body: Body, monkeypatch: pytest.MonkeyPatch) -> None:
    async with forwarded(body) as (pod, port):
        if body.fake is not None:
            use_our_network(monkeypatch)
        stream = await opened_tunnel(body, pod, port)
        await body.agent.write_stream(StreamWrite(id=stream, data=b"GET /x HTTP/1.0\r\n"))
        await body.agent.write_stream(StreamWrite(id=stream, data=b"\r\n", close=True))
        out, _, last = await body.drained(stream)
        assert b" 404 Not Found" in out
        assert last.error == ""


def use_our_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake has no namespaces: what it connects to is here."""

    async def here(netns: str, port: int) -> socket.socket:
        return await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port), 5)

    monkeypatch.setattr(sys.modules["nodeagent.tunnel"], "connect_in", here)


async def opened_tunnel(body: Body, pod: Pod, port: int) -> str:
    """A stream to a port that somebody listens on, at the latest in a moment."""
    async with asyncio.timeout(DEADLINE):
        while True:
            stream = await body.open(pod, port_forward=PortForwardOptions(port=port))
            await body.agent.write_stream(StreamWrite(id=stream))
            batch = await body.agent.read_stream(StreamRead(id=stream, wait_milliseconds=200))
            if not batch.done:
                return stream


async def test_nobody_listening_is_an_error_in_words(body: Body, monkeypatch: pytest.MonkeyPatch) -> None:
    if body.fake is not None:
        use_our_network(monkeypatch)
    pod = await body.running()
    stream = await body.open(pod, port_forward=PortForwardOptions(port=9))
    _, _, last = await body.drained(stream)
    assert "cannot connect to port 9" in last.error
