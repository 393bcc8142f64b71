"""A port-forward's connection into a pod's network, where also what listens on 127.0.0.1 is reached.

Rule: one stream, one connection; what fails to connect ends the stream with the reason.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable

from mesh.v1.node_pb2 import Channel
from nodeagent.runtime.netns import socket_in

Put = Callable[["Channel.ValueType", bytes], Awaitable[None]]
Connect = Callable[[str, int], Awaitable[socket.socket]]
BLOCK = 64 * 1024
TIMEOUT = 10.0


async def connect_in(netns: str, port: int) -> socket.socket:
    """A connection to a port of a network namespace's loopback."""
    return await asyncio.to_thread(socket_in, netns, ("127.0.0.1", port), TIMEOUT)


class TunnelSource:
    """Bytes both ways."""

    def __init__(self, put: Put, netns: str, port: int, connect: Connect | None) -> None:
        self._put = put
        self._where = (netns, port)
        self._connect: Connect = connect or connect_in
        self._connecting: asyncio.Future[None] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None
        self.ended = False

    async def begin(self) -> None:
        """Nothing to check: whether somebody listens is told by the stream."""

    async def run(self) -> None:
        """Connects, then hands on what comes."""
        await self._connected()
        reader = self._reader
        while reader is not None and (data := await reader.read(BLOCK)):
            await self._put(Channel.STDOUT, data)

    async def write(self, data: bytes) -> None:
        """Bytes for the pod."""
        await self._connected()
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(data)
            await self._writer.drain()

    async def close_input(self) -> None:
        """No more bytes for the pod; it may still answer."""
        await self._connected()
        if self._writer is not None and self._writer.can_write_eof():
            self._writer.write_eof()

    def resize(self, rows: int, columns: int) -> None:
        """There is no terminal."""

    def end(self) -> None:
        """Closes the connection."""
        self.ended = True
        if self._writer is not None:
            self._writer.close()

    async def _connected(self) -> None:
        """Connects once, whoever comes first; raises OSError."""
        if self._connecting is None:
            self._connecting = asyncio.ensure_future(self._open())
        await asyncio.shield(self._connecting)

    async def _open(self) -> None:
        netns, port = self._where
        try:
            connection = await self._connect(netns, port)
        except OSError as error:
            raise OSError(f"cannot connect to port {port} in the pod: {error.strerror or error}") from error
        connection.setblocking(False)
        self._reader, self._writer = await asyncio.open_connection(sock=connection)
        if self.ended:
            self._writer.close()
