"""A client's place at a running container's own input and output, through the socket of its monitor.

Rules: a monitor speaks in packets, whose first byte says which output it is. Leaving closes the container's input where
it asked for that (`stdinOnce`), which is the monitor's doing.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from mesh.errors import Unavailable
from mesh.v1.node_pb2 import AttachOptions, Channel
from nodeagent.waiting import writable

Put = Callable[["Channel.ValueType", bytes], Awaitable[None]]
PACKET = 64 * 1024
PIECE = 8 * 1024  # of input; the monitor takes no bigger packets than 32 KiB
CHANNELS = {2: Channel.STDOUT, 3: Channel.STDERR}


class Finish(Protocol):
    """Says that nothing follows."""

    def __call__(self, *, exit_code: int | None = None, error: str = "") -> None: ...


class AttachSource:
    """One client; `resized` is told the terminal's size."""

    def __init__(
        self, put: Put, finish: Finish, path: Path, options: AttachOptions, resized: Callable[[int, int], None]
    ) -> None:  # fmt: skip
        self._put = put
        self._finish = finish
        self._path = path
        self._options = options
        self._resized = resized
        self._socket: socket.socket | None = None
        self._readable = asyncio.Event()
        self._room = asyncio.Event()  # the monitor takes more, or we leave
        self.ended = False

    async def begin(self) -> None:
        """Takes the place; raises Unavailable."""
        try:
            self._socket = connect(self._path)
        except OSError as error:
            raise Unavailable(f"the container's monitor does not take us in: {error.strerror or error}") from error
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable.set)
        if self._options.rows and self._options.columns:
            self.resize(self._options.rows, self._options.columns)

    async def run(self) -> None:
        """Hands on the output until the container has ended."""
        while self._socket is not None:
            await self._readable.wait()
            self._readable.clear()
            try:
                while self._socket is not None and (data := self._socket.recv(PACKET)):
                    await self._put(CHANNELS.get(data[0], Channel.STDOUT), data[1:])
                break
            except BlockingIOError:
                continue
            except ConnectionError:
                break
        self._finish()

    async def write(self, data: bytes) -> None:
        """Input for the container; what it can't take any more is dropped."""
        rest = data if self._options.stdin else b""
        while rest and self._socket is not None:
            try:
                self._socket.send(rest[:PIECE])
                rest = rest[PIECE:]
            except BlockingIOError:
                await writable(self._socket.fileno(), self._room, lambda: self._socket is not None)
            except OSError:  # it has ended, or its input is closed
                return

    async def close_input(self) -> None:
        """No more input from this client."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # it has ended
                self._socket.shutdown(socket.SHUT_WR)

    def resize(self, rows: int, columns: int) -> None:
        """A new size of the client's terminal."""
        self._resized(rows, columns)

    def end(self) -> None:
        """Leaves."""
        self.ended = True
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            asyncio.get_running_loop().remove_writer(self._socket.fileno())
            self._socket.close()
            self._socket = None
            self._readable.set()
            self._room.set()


def connect(path: Path) -> socket.socket:
    """A connection to a monitor; its path may be longer than an address of a socket. Raises OSError."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    directory = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        made.connect(f"/proc/self/fd/{directory}/{path.name}")
    except BaseException:
        made.close()
        raise
    finally:
        os.close(directory)
    return made
