"""What runs as a stream: commands in containers, forwarded ports.

Rule: whoever opened a stream closes it by leaving its `async with`; nothing is left open at meshd after that. Input
follows meshd's word that the stream is open (an empty first message): to a call that ends while it is written to, gRPC
gives a status of its own in place of the server's.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import grpc
import grpc.aio

from mesh.errors import MeshError, Unavailable
from mesh.sdk.channel import is_grpcs_own, translated
from mesh.v1 import control_pb2, control_pb2_grpc, node_pb2

_PIECE = 32 * 1024
ExecCall = grpc.aio.StreamStreamCall[control_pb2.ExecInput, control_pb2.ExecOutput]
ForwardCall = grpc.aio.StreamStreamCall[control_pb2.PortForwardInput, control_pb2.PortForwardOutput]


@dataclass(frozen=True, slots=True)
class ExecResult:
    """How a command in a container ended and what it wrote."""

    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.stdout.decode(errors="replace")


class ExecStream:
    """A running command, or a container attached to: iterate for (stream, bytes), "stdout" or "stderr"; after that a
    command's `exit_code` is known."""

    def __init__(self, call: ExecCall, start: control_pb2.ExecInput, server: str) -> None:
        self._call = call
        self._start = start
        self._server = server
        self._turn = asyncio.Lock()  # typing and resizing are tasks of their own, and gRPC carries one write at a time
        self._outputs = aiter(call)
        self._write_failed = False
        self.exit_code: int | None = None

    async def __aenter__(self) -> Self:
        """Raises what meshd has against it."""
        await self._send(self._start)
        try:
            await anext(self._outputs)
        except grpc.aio.AioRpcError as error:
            raise translated(error, self._server) from None
        except StopAsyncIteration:
            raise Unavailable("meshd ended the stream before it was open") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        self._call.cancel()

    async def __aiter__(self) -> AsyncIterator[tuple[str, bytes]]:
        try:
            async for output in self._outputs:
                what = output.WhichOneof("what")
                if what == "exit_code":
                    self.exit_code = output.exit_code
                elif what == "stderr":
                    yield what, output.stderr
                elif what == "stdout":
                    yield what, output.stdout
        except grpc.aio.AioRpcError as error:
            if not (self._write_failed and is_grpcs_own(error)):
                raise translated(error, self._server) from None
        if self.exit_code is None and self._start.HasField("start"):
            raise Unavailable("the command's stream ended before the command: its exit code is not known")

    async def write(self, data: bytes) -> None:
        """Gives the command input; what comes after its end is dropped."""
        for at in range(0, len(data), _PIECE):
            await self._send(control_pb2.ExecInput(stdin=data[at : at + _PIECE]))

    async def resize(self, rows: int, columns: int) -> None:
        """Tells the command's terminal its new size."""
        await self._send(control_pb2.ExecInput(resize=control_pb2.TerminalSize(rows=rows, columns=columns)))

    async def close_stdin(self) -> None:
        """Says that no more input follows."""
        await self._send(control_pb2.ExecInput(close_stdin=True))

    async def _send(self, message: control_pb2.ExecInput) -> None:
        # A call that is over refuses writes; reading tells why it is over.
        try:
            async with self._turn:
                await self._call.write(message)
        except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
            self._write_failed = True


async def run_to_end(stream: ExecStream, stdin: bytes | None) -> ExecResult:
    """Feeds the command, gathers what it writes, returns how it ended."""
    pieces: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
    async with stream:
        feeder = asyncio.create_task(_feed(stream, stdin))
        try:
            async for where, data in stream:
                pieces[where].append(data)
        finally:
            feeder.cancel()
            await asyncio.gather(feeder, return_exceptions=True)
    assert stream.exit_code is not None  # noqa: S101 - the iteration ends with it or raises
    return ExecResult(stream.exit_code, b"".join(pieces["stdout"]), b"".join(pieces["stderr"]))


async def _feed(stream: ExecStream, stdin: bytes | None) -> None:
    if stdin is not None:
        await stream.write(stdin)
        await stream.close_stdin()


class PortForward:
    """A local listener whose connections go to one port of one pod; `port` is the local port once it is entered."""

    def __init__(
        self, stub: "control_pb2_grpc.PodsAsyncStub", start: control_pb2.PortForwardStart, server: str
    ) -> None:
        self._stub = stub
        self._start = start
        self._server = server
        self._calls: set[ForwardCall] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self.address, self.port = "127.0.0.1", 0
        self.problems: asyncio.Queue[MeshError] = asyncio.Queue()

    def at(self, address: str, port: int) -> Self:
        """Where to listen; port 0 takes a free one."""
        self.address, self.port = address, port
        return self

    async def __aenter__(self) -> Self:
        try:
            self._listener = await asyncio.start_server(self._connected, self.address, self.port)
        except OSError as error:
            raise Unavailable(f"cannot listen on {self.address}:{self.port}: {error.strerror or error}") from error
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._listener is not None:
            self._listener.close()
        for call in self._calls:
            call.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        call = self._stub.PortForward()
        self._calls.add(call)
        try:
            await self._carry(call, reader, writer)
        except grpc.aio.AioRpcError as error:
            if not is_grpcs_own(error):
                self.problems.put_nowait(translated(error, self._server))
        except StopAsyncIteration:
            self.problems.put_nowait(Unavailable("meshd ended the stream before it was open"))
        except (OSError, asyncio.CancelledError):
            pass  # the local side went away, or the forward is closed
        finally:
            call.cancel()
            self._calls.discard(call)
            writer.close()

    async def _carry(self, call: ForwardCall, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await call.write(control_pb2.PortForwardInput(start=self._start))
        outputs = aiter(call)
        await anext(outputs)
        upstream = asyncio.create_task(_pump(call, reader))
        try:
            async for output in outputs:
                writer.write(output.data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
        finally:
            upstream.cancel()
            await asyncio.gather(upstream, return_exceptions=True)


async def _pump(call: ForwardCall, reader: asyncio.StreamReader) -> None:
    while data := await reader.read(_PIECE):
        await call.write(control_pb2.PortForwardInput(data=data))
    await call.write(control_pb2.PortForwardInput(close=True))


def exec_options(
    command: list[str], container: str, stdin: bool, tty: bool, size: tuple[int, int]
) -> node_pb2.ExecOptions:
    """What to run; `size` is (rows, columns)."""
    return node_pb2.ExecOptions(
        container=container, command=command, stdin=stdin, tty=tty, rows=size[0], columns=size[1]
    )


def attach_options(container: str, stdin: bool, tty: bool, size: tuple[int, int]) -> node_pb2.AttachOptions:
    """What to attach to; `size` is (rows, columns)."""
    return node_pb2.AttachOptions(container=container, stdin=stdin, tty=tty, rows=size[0], columns=size[1])
