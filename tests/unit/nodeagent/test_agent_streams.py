"""Logs as kubectl shows them, and what streams promise: bounds, leases (G1, G3)."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from mesh.errors import NotFound
from mesh.model.times import SECOND
from mesh.v1.node_pb2 import Channel, ExecOptions, LogOptions, StreamBatch, StreamOpen, StreamRead
from nodeagent.logs import Reader, Tail, attempts, reader_for, start_of_tail
from nodeagent.processes import ExecSource
from nodeagent.streams import BATCH, BUFFER, LEASE, Stream
from tests.harness.agents import World, a_pod
from tests.harness.bent_time import bent

STAMP = b"2026-11-22T06:39:53.418314307+00:00"


def line(text: bytes, stream: bytes = b"stdout", tag: bytes = b"F", stamp: bytes = STAMP) -> bytes:
    return b" ".join((stamp, stream, tag, text))


def test_lines() -> None:  # G1
    reader = Reader()
    assert reader.show(line(b"hello  world ")) == (Channel.STDOUT, b"hello  world \n")
    assert reader.show(line(b"", b"stderr")) == (Channel.STDERR, b"\n")
    assert reader.show(STAMP + b" stdout F") == (Channel.STDOUT, b"\n")
    assert reader.show(b"garbage") is None


def test_a_line_in_parts_is_one_line_with_one_timestamp() -> None:
    reader = Reader(timestamps=True)
    assert reader.show(line(b"one ", tag=b"P")) == (Channel.STDOUT, STAMP + b" one ")
    assert reader.show(line(b"other", b"stderr")) == (Channel.STDERR, STAMP + b" other\n")
    assert reader.show(line(b"line")) == (Channel.STDOUT, b"line\n")
    assert reader.show(line(b"next")) == (Channel.STDOUT, STAMP + b" next\n")


def test_since() -> None:  # G3
    options = LogOptions(since_seconds=10)
    now = 1_795_329_593 * SECOND  # 2026-11-22T06:39:53Z
    reader = reader_for(options, now)
    assert reader.show(line(b"old", stamp=b"2026-11-22T06:39:42.999999999Z")) is None
    assert reader.show(line(b"new", stamp=b"2026-11-22T06:39:43.000000000Z")) == (Channel.STDOUT, b"new\n")
    assert reader.show(line(b"later", stamp=b"2026-11-22T07:39:43.5+01:00")) is not None


def test_limit_of_bytes() -> None:  # G3
    reader = reader_for(LogOptions(limit_bytes=5), 0)
    assert reader.show(line(b"abc")) == (Channel.STDOUT, b"abc\n")
    assert reader.show(line(b"def")) == (Channel.STDOUT, b"d")
    assert reader.full
    assert reader.show(line(b"x")) is None


@pytest.mark.parametrize(
    ("count", "expected"), [(0, b""), (1, b"3\n"), (2, b"2\n3\n"), (3, b"1\n2\n3\n"), (9, b"1\n2\n3\n")]
)
def test_the_last_lines(tmp_path: Path, count: int, expected: bytes) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(b"1\n2\n3\n")
    with path.open("rb") as file:
        file.seek(start_of_tail(file.fileno(), count))
        assert file.read() == expected


def test_the_last_lines_of_a_big_file(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    lines = [b"%06d %s" % (n, b"x" * 90) for n in range(5000)]
    path.write_bytes(b"\n".join(lines) + b"\n")
    with path.open("rb") as file:
        file.seek(start_of_tail(file.fileno(), 2000))
        assert file.read() == b"\n".join(lines[-2000:]) + b"\n"


def test_a_half_written_line_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(b"whole\nha")
    tail = Tail(path, None)
    assert tail.lines() == [b"whole"]
    assert tail.lines() is None
    with path.open("ab") as file:
        file.write(b"lf\n")
    assert tail.lines() == [b"half"]
    tail.close()


def test_attempts_with_a_log(tmp_path: Path) -> None:
    (tmp_path / "main").mkdir()
    for name in ("0.log", "10.log", "9.log", "9.log.gz", "x.log"):
        (tmp_path / "main" / name).touch()
    assert attempts(tmp_path, "main") == [0, 9, 10]
    assert attempts(tmp_path, "other") == []
    assert attempts(None, "main") == []


# ---- streams


@bent
async def test_a_producer_waits_for_its_reader() -> None:
    stream = Stream()

    async def produce() -> None:
        for _ in range(100):
            await stream.put(Channel.STDOUT, b"x" * 10_000)
        stream.finish(exit_code=0)

    producer = asyncio.create_task(produce())
    await asyncio.sleep(1)
    assert not producer.done()
    held = stream._size
    assert BUFFER <= held < BUFFER + 10_000
    total, last = 0, False
    while not last:
        batch = await stream.take(0, 1)
        size = sum(len(c.data) for c in batch.chunks)
        assert size <= BATCH
        total, last = total + size, batch.done
    assert total == 1_000_000


@bent
async def test_a_read_waits_for_the_first_chunk_and_no_longer() -> None:
    stream = Stream()
    loop = asyncio.get_running_loop()
    reading = asyncio.create_task(stream.take(0, 10))
    await asyncio.sleep(1)
    await stream.put(Channel.STDERR, b"now")
    assert (await reading).chunks[0].data == b"now"
    assert loop.time() == pytest.approx(1)
    assert not (await stream.take(0, 5)).chunks
    assert loop.time() == pytest.approx(6)


@bent
async def test_a_small_reader_gets_pieces_in_order() -> None:
    stream = Stream()
    await stream.put(Channel.STDOUT, b"abcdef")
    stream.finish(error="cut")
    pieces = [await stream.take(4, 0), await stream.take(4, 0)]
    assert [p.chunks[0].data for p in pieces] == [b"abcd", b"ef"]
    assert [(p.done, p.error) for p in pieces] == [(False, ""), (True, "cut")]


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])  # Ray runs actors on uvloop
def test_a_terminal_on_any_event_loop(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def session() -> tuple[bytes, StreamBatch]:
        stream = Stream()
        options = ExecOptions(stdin=True, tty=True, rows=10, columns=40)
        source = ExecSource(stream.put, stream.finish, ["sh", "-c", "stty size; read x; stty size; wc -c"], options)
        await source.begin()
        running = asyncio.create_task(source.run())
        source.resize(20, 50)
        await source.write(b"go\n" + b"line\n" * 2000)
        await source.close_input()
        out, batch = b"", StreamBatch()
        async with asyncio.timeout(20):
            while not batch.done:
                batch = await stream.take(0, 5)
                out += b"".join(c.data for c in batch.chunks)
            await running
        source.end()
        return out, batch

    with asyncio.Runner(loop_factory=loop) as runner:
        out, last = runner.run(session())
    assert b"20 50" in out
    assert out.split()[-1] == b"10000"
    assert last.exit_code == 0


@bent
async def test_input_to_a_terminal_that_takes_none_ends_with_the_stream() -> None:
    stream = Stream()
    options = ExecOptions(stdin=True, tty=True)
    source = ExecSource(stream.put, stream.finish, ["sleep", "1000"], options)
    await source.begin()
    writing = asyncio.create_task(source.write(b"x\n" * 100_000))
    await asyncio.sleep(1)
    assert not writing.done()
    source.end()
    await asyncio.wait_for(writing, 1)
    assert source._process is not None
    await over(source._process)


async def over(process: asyncio.subprocess.Process) -> None:
    """Waits until nothing of it is left that would outlive its event loop: neither process nor pipes."""
    await process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            await pipe.read()


async def test_a_command_that_can_not_be_started_leaves_no_terminal() -> None:
    async def put(_channel: "Channel.ValueType", _data: bytes) -> None: ...

    def terminals() -> int:
        found = 0
        for fd in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                found += "ptmx" in str(fd.readlink())
        return found

    before = terminals()
    for command in (["/there/is/no/such/program"], ["true\0"], ["true", "x" * 3_000_000]):
        with pytest.raises((OSError, ValueError)):
            await ExecSource(put, Stream().finish, command, ExecOptions(tty=True)).begin()
    assert terminals() == before


async def test_a_stream_that_nobody_reads_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodeagent.streams.LEASE", 2.0)
    assert LEASE == 30.0
    world = World(tmp_path)
    agent = await world.start()
    await world.assign(a_pod("web"))
    await world.until(lambda: world.phase("web") == "Running")
    opened = await agent.open_stream(StreamOpen(pod_uid="uid-web", exec=ExecOptions(command=["sleep", "1000"])))
    kept = await agent.open_stream(StreamOpen(pod_uid="uid-web", exec=ExecOptions(command=["sleep", "1000"])))
    process = agent._streams._open[opened.id].source._process  # type: ignore[union-attr]
    assert process is not None
    async with asyncio.timeout(60):
        while process.returncode is None:
            await agent.read_stream(StreamRead(id=kept.id, wait_milliseconds=50))
    with pytest.raises(NotFound):
        await agent.read_stream(StreamRead(id=opened.id))
    assert not (await agent.read_stream(StreamRead(id=kept.id))).done
    last = agent._streams._open[kept.id].source._process  # type: ignore[union-attr]
    assert last is not None
    await world.kill()
    await over(process)
    await over(last)
