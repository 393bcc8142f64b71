"""What every agent promises of logs, exec and port-forward: the same bodies as test_agent_port.py has."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mesh.errors import NotFound
from mesh.v1.core_pb2 import Pod
from mesh.v1.node_pb2 import (
    ExecOptions,
    LogOptions,
    PortForwardOptions,
    StreamClose,
    StreamOpen,
    StreamRead,
    StreamWrite,
)
from tests.harness.bodies import DEADLINE, Body
from tests.harness.fake_runtime import Program

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
    program = Program(exit_after=1, output=["early", "late"])
    pod = await body.running("echo early; sleep 3; echo late", program=program, restart_policy="Never")
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
    resized = b"until [ \"$(stty size)\" = '20 1''00' ]; do sleep 0.1; done; stty size; echo t''wo\n"
    await body.agent.write_stream(StreamWrite(id=stream, data=resized))
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
