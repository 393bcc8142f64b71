"""Logs, exec, attach and port-forward: streams that their reader pulls in batches.

Rule: a stream holds at most BUFFER bytes, then its producer waits; one that nobody reads for LEASE seconds ends, and
its process with it. A batch stays below BATCH bytes, so that it crosses Ray inline.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from mesh.errors import Invalid, NotFound, Unavailable
from mesh.model.pods import container_named, default_container, status_named
from mesh.v1 import node_pb2
from mesh.v1.core_pb2 import Pod
from mesh.v1.node_pb2 import (
    Channel,
    Chunk,
    LogOptions,
    StreamBatch,
    StreamClose,
    StreamClosed,
    StreamOpen,
    StreamOpened,
    StreamRead,
    StreamWrite,
    StreamWritten,
)
from nodeagent.attaching import AttachSource
from nodeagent.following import FileWatch, LogSource
from nodeagent.imagestreams import ImageSource, ImageStreams
from nodeagent.pods.worker import Worker
from nodeagent.processes import ExecSource
from nodeagent.runtime.port import Runtime, RuntimeFailure
from nodeagent.runtime.seen import SeenContainer, State
from nodeagent.stats.hoststats import HostStats
from nodeagent.stats.source import MeasureSource
from nodeagent.tunnel import Connect, TunnelSource
from nodeagent.volumes.tree import Tree

log = structlog.get_logger()

Source = LogSource | ExecSource | AttachSource | TunnelSource | ImageSource | MeasureSource

BUFFER = 256 * 1024
BATCH = 88 * 1024
LEASE = 30.0
LONGEST_WAIT = 20.0
MOST = 200  # streams at once on a host


class Stream:
    """What flows from one producer to its reader."""

    def __init__(self) -> None:
        self._chunks: deque[tuple[Channel.ValueType, bytes]] = deque()
        self._size = 0
        self._readable = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._done = False
        self._exit_code: int | None = None
        self._error = ""

    async def put(self, channel: "Channel.ValueType", data: bytes) -> None:
        """Adds output; waits while the reader is behind."""
        for start in range(0, len(data), BATCH):
            await self._room.wait()
            piece = data[start : start + BATCH]
            if self._chunks and self._chunks[-1][0] == channel and len(self._chunks[-1][1]) + len(piece) <= BATCH:
                self._chunks[-1] = (channel, self._chunks[-1][1] + piece)
            else:
                self._chunks.append((channel, piece))
            self._size += len(piece)
            self._readable.set()
            if self._size >= BUFFER:
                self._room.clear()

    def finish(self, *, exit_code: int | None = None, error: str = "") -> None:
        """Nothing follows."""
        if not self._done:
            self._done, self._exit_code, self._error = True, exit_code, error
        self._readable.set()

    async def take(self, most: int, seconds: float) -> StreamBatch:
        """What there is, waiting for the first of it."""
        if not self._readable.is_set() and seconds > 0:
            timer = asyncio.get_running_loop().call_later(seconds, self._readable.set)
            await self._readable.wait()
            timer.cancel()
        batch, room = StreamBatch(), min(most or BATCH, BATCH)
        while self._chunks and room > 0:
            channel, data = self._chunks.popleft()
            if len(data) > room:
                self._chunks.appendleft((channel, data[room:]))
                data = data[:room]
            batch.chunks.append(Chunk(channel=channel, data=data))
            room -= len(data)
            self._size -= len(data)
        if self._size < BUFFER:
            self._room.set()
        if not self._chunks:
            if self._done:
                batch.done, batch.error = True, self._error
                if self._exit_code is not None:
                    batch.exit_code = self._exit_code
            else:
                self._readable.clear()
        return batch


class _Open:
    """A stream, its source and its lease."""

    def __init__(self, stream: Stream, source: Source, expire: Callable[[], None]) -> None:
        self.stream = stream
        self.source = source
        self.task: asyncio.Task[None] | None = None
        self._expire = expire
        self._lease: asyncio.TimerHandle | None = None
        self.renew()

    def renew(self) -> None:
        """Somebody is interested."""
        self.end_lease()
        self._lease = asyncio.get_running_loop().call_later(LEASE, self._expire)

    def end_lease(self) -> None:
        """No more expiry."""
        if self._lease is not None:
            self._lease.cancel()
            self._lease = None


class Streams:
    """The open streams of this host."""

    def __init__(  # noqa: PLR0913, PLR0917 - what streams come from
        self, runtime: Runtime, tree: Tree, find: Callable[[str], Worker | None],
        spawn: Callable[[Coroutine[Any, Any, None]], None], images: ImageStreams,
        stats: HostStats, connect: Connect | None = None,
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._tree = tree
        self._find = find
        self._spawn = spawn
        self._images = images
        self._stats = stats
        self._connect = connect
        self._watch = FileWatch()
        self._open: dict[str, _Open] = {}

    # ---- the calls

    async def open(self, request: StreamOpen) -> StreamOpened:
        """Begins a stream; raises NotFound, Invalid."""
        if len(self._open) >= MOST:
            raise Invalid(f"cannot open a stream: {MOST} are open on this host")
        stream = Stream()
        source = self._source(request, stream)
        await source.begin()
        name = secrets.token_hex(12)
        self._open[name] = _Open(stream, source, lambda: self._expired(name))
        self._spawn(self._run(self._open[name]))
        return StreamOpened(id=name)

    async def read(self, request: StreamRead) -> StreamBatch:
        """The next chunks; raises NotFound once it is over."""
        opened = self._get(request.id)
        opened.renew()
        batch = await opened.stream.take(request.max_bytes, min(request.wait_milliseconds / 1000, LONGEST_WAIT))
        opened.renew()
        if batch.done:
            self._end(request.id)
        return batch

    async def write(self, request: StreamWrite) -> StreamWritten:
        """Input, a new size of the terminal, the end of input; waits while the other side is behind."""
        opened = self._get(request.id)
        opened.renew()
        if request.rows and request.columns:
            opened.source.resize(request.rows, request.columns)
        if request.data:
            await opened.source.write(request.data)
        if request.close:
            await opened.source.close_input()
        return StreamWritten()

    async def close(self, request: StreamClose) -> StreamClosed:
        """Ends a stream and what feeds it."""
        self._end(request.id)
        return StreamClosed()

    async def close_all(self) -> None:
        """The agent ends."""
        for name in list(self._open):
            self._end(name)

    # ---- inside

    async def _run(self, opened: _Open) -> None:
        if opened.source.ended:
            return
        opened.task = asyncio.current_task()
        try:
            await opened.source.run()
        except OSError as error:
            opened.stream.finish(error=str(error))
        finally:
            opened.source.end()
            opened.stream.finish()

    def _get(self, name: str) -> _Open:
        if name not in self._open:
            raise NotFound("the stream is over, or nobody read it for too long")
        return self._open[name]

    def _expired(self, name: str) -> None:
        log.info("stream_expired", stream=name)
        self._end(name)

    def _end(self, name: str) -> None:
        opened = self._open.pop(name, None)
        if opened is None:
            return
        opened.end_lease()
        opened.stream.finish()
        opened.source.end()
        if opened.task is not None:
            opened.task.cancel()

    def _source(self, request: StreamOpen, stream: Stream) -> Source:
        what = request.WhichOneof("what")
        if what == "image_load":
            return self._images.load(stream.put, stream.finish)
        if what == "image_remove":
            return self._images.remove(stream.put, stream.finish, request.image_remove.image)
        if what == "measure":
            return MeasureSource(stream.put, stream.finish, self._stats, request.measure)
        worker = self._find(request.pod_uid)
        if worker is None:
            raise NotFound(f"there is no pod with uid {request.pod_uid} on this host")
        if what == "logs":
            name = _named(worker.pod, request.logs.container)
            directory = self._tree.log_directory(request.pod_uid)
            return LogSource(stream.put, request.logs, directory, _Container(worker, name), self._watch)
        if what == "exec":
            name = _named(worker.pod, request.exec.container)
            container = _running(worker, name)
            if container is None:
                pod = worker.pod.metadata.name
                raise NotFound(f"cannot execute in container {name} of pod {pod}: it is not running")
            if not request.exec.command:
                raise Invalid("exec.command must name a program")
            try:
                argv = self._runtime.exec_command(container, request.exec.command, tty=request.exec.tty)
            except RuntimeFailure as failure:
                raise Unavailable(failure.message) from failure
            return ExecSource(stream.put, stream.finish, argv, request.exec)
        if what == "port_forward":
            sandbox = worker.seen.sandbox if worker.seen else None
            if sandbox is None:
                raise NotFound(f"cannot forward to pod {worker.pod.metadata.name}: it has no network yet")
            return TunnelSource(stream.put, sandbox.netns, request.port_forward.port, self._connect)
        if what == "attach":
            return self._attach(request, stream, worker)
        raise Invalid("what to stream is not said")

    def _attach(self, request: StreamOpen, stream: Stream, worker: Worker) -> Source:
        options = request.attach
        name = _named(worker.pod, options.container)
        container = _running(worker, name)
        if container is None:
            raise NotFound(f"cannot attach to container {name} of pod {worker.pod.metadata.name}: it is not running")
        if options.stdin:
            resized = lambda rows, columns: self._runtime.resize_terminal(container, rows, columns)  # noqa: E731
            return AttachSource(stream.put, stream.finish, self._runtime.attachment(container), options, resized)
        directory, followed = self._tree.log_directory(request.pod_uid), _Container(worker, name)
        wanted = LogOptions(container=name, follow=True, tail_lines=0)
        return LogSource(stream.put, wanted, directory, followed, self._watch)


class _Container:
    """What a log wants to know of its container."""

    def __init__(self, worker: Worker, name: str) -> None:
        self._worker = worker
        self.name = name

    def runs(self, attempt: int) -> bool:
        """This very attempt runs."""
        running = _running(self._worker, self.name)
        return running is not None and running.attempt == attempt

    @property
    def waits(self) -> bool:
        """It ended and waits to be started again: its last end is its "previous" one (lastState)."""
        status = status_named(self._worker.status.container_statuses, self.name)
        return status is not None and status.state.HasField("waiting") and status.last_state.HasField("terminated")


def _named(pod: Pod, name: str) -> str:
    name = name or default_container(pod)
    if container_named(pod.spec, name) is None:
        raise NotFound(f"pod {pod.metadata.name} has no container {name}")
    return name


def _running(worker: Worker, name: str) -> SeenContainer | None:
    latest = worker.seen.latest(name) if worker.seen else None
    return latest if latest and latest.state is State.RUNNING else None


class StreamCalls:
    """The calls of an AgentPort that concern streams, for whoever has `_streams`."""

    _streams: Streams

    async def open_stream(self, request: node_pb2.StreamOpen) -> node_pb2.StreamOpened:
        """Begins logs, exec or a port-forward; raises NotFound, Invalid."""
        return await self._streams.open(request)

    async def read_stream(self, request: node_pb2.StreamRead) -> node_pb2.StreamBatch:
        """The next chunks; raises NotFound."""
        return await self._streams.read(request)

    async def write_stream(self, request: node_pb2.StreamWrite) -> node_pb2.StreamWritten:
        """Input; raises NotFound."""
        return await self._streams.write(request)

    async def close_stream(self, request: node_pb2.StreamClose) -> node_pb2.StreamClosed:
        """Ends a stream."""
        return await self._streams.close(request)


__all__ = ["Connect", "Stream", "StreamCalls", "Streams"]
