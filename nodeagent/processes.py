"""A command executed in a container, as a stream: pipes, or a terminal with a size.

Rule: the process lives as long as its stream; when the stream ends, it is killed and waited for.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import termios
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from mesh.v1.node_pb2 import Channel, ExecOptions
from nodeagent.waiting import writable

Put = Callable[["Channel.ValueType", bytes], Awaitable[None]]
BLOCK = 64 * 1024
DRAIN = 1.0  # seconds that output may still come after the end, when a child of the command holds the pipe
END_OF_INPUT = b"\x04"


class Finish(Protocol):
    """Says that nothing follows."""

    def __call__(self, *, exit_code: int | None = None, error: str = "") -> None: ...


class ExecSource:
    """One process."""

    def __init__(self, put: Put, finish: Finish, argv: Sequence[str], options: ExecOptions) -> None:
        self._put = put
        self._finish = finish
        self._argv = argv
        self._options = options
        self._process: asyncio.subprocess.Process | None = None
        self._terminal: int | None = None  # our end
        self._input: asyncio.StreamWriter | None = None
        self._room = asyncio.Event()  # the terminal takes more input
        self.ended = False

    async def begin(self) -> None:
        """Starts the process."""
        if self._options.tty:
            await self._begin_terminal()
            return
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(
            *self._argv, stdin=pipe if self._options.stdin else nothing, stdout=pipe, stderr=pipe,
            start_new_session=True, env=_environment(),
        )  # fmt: skip
        self._input = self._process.stdin

    async def _begin_terminal(self) -> None:
        ours, theirs = os.openpty()
        try:
            self._terminal = ours
            self.resize(self._options.rows or 24, self._options.columns or 80)
            self._process = await asyncio.create_subprocess_exec(
                *self._argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=_environment()
            )
        except BaseException:
            self.end()
            raise
        finally:
            os.close(theirs)
        os.set_blocking(ours, False)

    async def run(self) -> None:
        """Hands on the output, then the exit code."""
        process = self._process
        if process is None:
            return
        if self._terminal is not None:
            pumps = [asyncio.create_task(self._pump_terminal(self._terminal))]
        else:
            pumps = [
                asyncio.create_task(self._pump(stream, channel))
                for stream, channel in ((process.stdout, Channel.STDOUT), (process.stderr, Channel.STDERR))
                if stream is not None
            ]
        try:
            code = await process.wait()
            done, pending = await asyncio.wait(pumps, timeout=DRAIN)
            while pending and any(not p.done() for p in pending) and self._behind:
                _, pending = await asyncio.wait(pending, timeout=DRAIN)
            for pump in done:
                pump.result()
        finally:
            for pump in pumps:
                pump.cancel()
        self._finish(exit_code=code if code >= 0 else 128 - code)

    _behind = False  # the reader has not taken what was put: the output is not at its end, it is only slow

    async def _hand_on(self, channel: "Channel.ValueType", data: bytes) -> None:
        self._behind = True
        await self._put(channel, data)
        self._behind = False

    async def _pump(self, stream: asyncio.StreamReader, channel: "Channel.ValueType") -> None:
        while data := await stream.read(BLOCK):
            await self._hand_on(channel, data)

    async def _pump_terminal(self, terminal: int) -> None:
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(terminal, readable.set)
        try:
            while True:
                await readable.wait()
                readable.clear()
                try:
                    data = os.read(terminal, BLOCK)
                except BlockingIOError:
                    continue
                except OSError:  # EIO: nobody has the other end any more
                    return
                if not data:
                    return
                await self._hand_on(Channel.STDOUT, data)
        finally:
            if self._terminal is not None:
                loop.remove_reader(terminal)

    async def write(self, data: bytes) -> None:
        """Input for the process."""
        if self._terminal is not None:
            if self._options.stdin:
                await self._write_terminal(data)
        elif self._input is not None and not self._input.is_closing():
            with contextlib.suppress(ConnectionError, OSError):
                self._input.write(data)
                await self._input.drain()

    async def _write_terminal(self, data: bytes) -> None:
        """Plain writes: not every event loop has a transport for terminals."""
        rest = memoryview(data)
        while rest and self._terminal is not None:
            try:
                rest = rest[os.write(self._terminal, rest) :]
            except BlockingIOError:
                await writable(self._terminal, self._room, lambda: self._terminal is not None)
            except OSError:  # nobody has the other end any more
                return

    async def close_input(self) -> None:
        """No more input: the pipe's end, or the terminal's end-of-file character."""
        if self._terminal is not None:
            await self.write(END_OF_INPUT)
        elif self._input is not None:
            self._input.close()

    def resize(self, rows: int, columns: int) -> None:
        """A new size of the terminal."""
        if self._terminal is None:
            return
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)
        for pid in _descendants(self._process.pid) if self._process else ():
            _resize_terminal_of(pid, size)

    def end(self) -> None:
        """Kills what still runs, and lets go of the terminal."""
        if self.ended:
            return
        self.ended = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._input is not None:
            self._input.close()
        if self._terminal is not None:
            asyncio.get_running_loop().remove_writer(self._terminal)
            asyncio.get_running_loop().remove_reader(self._terminal)
            os.close(self._terminal)
            self._terminal = None
            self._room.set()


def _descendants(pid: int) -> list[int]:
    """Children of a process, and theirs."""
    try:
        children = [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [*children, *(d for child in children for d in _descendants(child))]


def _resize_terminal_of(pid: int, size: bytes) -> None:
    """OCI runtimes give the command a terminal of its own, and hand on the size only at the start: so set it there."""
    with contextlib.suppress(OSError):
        terminal = os.open(f"/proc/{pid}/fd/0", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
        finally:
            os.close(terminal)


def _environment() -> dict[str, str]:
    """Of the process that enters the container: nothing of ours but where programs are."""
    return {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "TERM": "xterm"}
