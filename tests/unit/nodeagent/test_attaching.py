"""Attaching to a container, against a monitor of the test's own (G4)."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from mesh.errors import NotFound, Unavailable
from mesh.v1.node_pb2 import AttachOptions, Channel, StreamBatch, StreamOpen, StreamRead, StreamWrite
from nodeagent.attaching import PIECE, AttachSource
from nodeagent.streams import Stream
from tests.harness.agents import World, a_container, a_pod
from tests.harness.recorder import world_of

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]  # Ray runs actors on uvloop


def monitor(path: Path) -> socket.socket:
    """What conmon is: a listener of packets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.bind(str(path))
    made.listen()
    made.setblocking(False)
    return made


async def accepted(listener: socket.socket) -> socket.socket:
    made, _ = await asyncio.get_running_loop().sock_accept(listener)
    made.setblocking(False)
    return made


@pytest.mark.parametrize("loop", LOOPS)
def test_both_ways(tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    sizes: list[tuple[int, int]] = []

    async def session() -> tuple[list[tuple[int, bytes]], list[bytes]]:
        listener = monitor(tmp_path / "attach")
        stream = Stream()
        options = AttachOptions(stdin=True, tty=True, rows=10, columns=40)
        source = AttachSource(
            stream.put, stream.finish, tmp_path / "attach", options, lambda r, c: sizes.append((r, c))
        )
        await source.begin()
        theirs = await accepted(listener)
        running = asyncio.create_task(source.run())
        source.resize(20, 50)
        await source.write(b"x" * (PIECE + 1))
        await source.close_input()
        heard = []
        async with asyncio.timeout(20):
            while data := await asyncio.get_running_loop().sock_recv(theirs, 1 << 16):
                heard.append(data)
            theirs.send(b"\x02out")
            theirs.send(b"\x03err")
            theirs.close()
            await running
        batch, chunks = StreamBatch(), []
        while not batch.done:
            batch = await stream.take(0, 5)
            chunks += [(c.channel, c.data) for c in batch.chunks]
        assert not batch.HasField("exit_code")
        source.end()
        listener.close()
        return chunks, heard

    with asyncio.Runner(loop_factory=loop) as runner:
        chunks, heard = runner.run(session())
    assert chunks == [(Channel.STDOUT, b"out"), (Channel.STDERR, b"err")]
    assert [len(packet) for packet in heard] == [PIECE, 1]
    assert sizes == [(10, 40), (20, 50)]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_monitor_that_takes_no_input_holds_nobody_for_ever(
    tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def session() -> None:
        listener = monitor(tmp_path / "attach")
        stream = Stream()
        source = AttachSource(
            stream.put, stream.finish, tmp_path / "attach", AttachOptions(stdin=True), lambda *_: None
        )
        await source.begin()
        theirs = await accepted(listener)
        running, writing = asyncio.create_task(source.run()), asyncio.create_task(source.write(b"x" * (8 << 20)))
        await asyncio.wait({writing}, timeout=0.2)
        assert not writing.done()
        source.end()
        async with asyncio.timeout(30):
            await asyncio.gather(running, writing)
        theirs.close()
        listener.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(session())


async def test_a_monitor_that_is_gone_is_said(tmp_path: Path) -> None:
    stream = Stream()
    source = AttachSource(stream.put, stream.finish, tmp_path / "attach", AttachOptions(stdin=True), lambda *_: None)
    with pytest.raises(Unavailable, match="No such file"):
        await source.begin()


async def opened(world: World, **options: bool) -> str:
    assert world.agent
    asked = StreamOpen(pod_uid="uid-web", attach=AttachOptions(container="main", **options))
    return (await world.agent.open_stream(asked)).id


async def said(world: World, stream: str) -> bytes:
    assert world.agent
    batch = await world.agent.read_stream(StreamRead(id=stream, wait_milliseconds=5000))
    return b"".join(c.data for c in batch.chunks)


async def test_with_input_it_is_the_monitors_and_without_it_the_log(tmp_path: Path) -> None:
    world = world_of(tmp_path, log_dir=tmp_path / "log" / "pods")
    world.host.monitors = tmp_path / "monitors"
    listener = monitor(world.host.monitors / "main")
    agent = await world.start()
    await world.assign(a_pod("web", containers=(a_container(stdin=True, tty=True),)))
    with pytest.raises(NotFound, match="it is not running"):
        await opened(world, stdin=True)
    await world.until(lambda: world.phase("web") == "Running")
    assert world.runtime
    container = world.runtime.find("uid-web", "main")
    world.runtime.write_log(container.id, "before")
    reading = await opened(world)
    talking = await opened(world, stdin=True, tty=True)
    theirs = await accepted(listener)
    theirs.send(b"\x02live")
    assert await said(world, talking) == b"live"
    await agent.write_stream(StreamWrite(id=talking, data=b"word", rows=3, columns=4))
    assert await asyncio.get_running_loop().sock_recv(theirs, 100) == b"word"
    assert ("resize_terminal", "uid-web", "main", "3x4") in world.host.calls
    world.runtime.write_log(container.id, "after")
    assert await said(world, reading) == b"after\n"
    await world.kill()
    theirs.close()
    listener.close()
