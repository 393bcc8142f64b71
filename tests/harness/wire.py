"""A wire that a test can cut: a TCP relay on a loopback port.

async with wire(mesh.address) as line:
    client = …(line.address)
    line.cut()          # every connection breaks and no new one is made
    line.mend()
    line.delay = 0.5    # a new connection carries nothing for so many seconds
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Wire:
    """See the module."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._open: set[asyncio.StreamWriter] = set()
        self._cut = False
        self._server: asyncio.Server | None = None
        self.made = 0  # connections so far
        self.delay = 0.0

    @property
    def address(self) -> str:
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Breaks every connection; new ones are refused from now on."""
        self._cut = True
        for writer in self._open:
            writer.transport.abort()

    def mend(self) -> None:
        """New connections go through again."""
        self._cut = False

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)

    async def stop(self) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.transport.abort()
            return
        self.made += 1
        await asyncio.sleep(self.delay)
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        self._open |= {writer, far_writer}
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        self._open -= {writer, far_writer}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


@contextlib.asynccontextmanager
async def wire(target: str) -> AsyncIterator[Wire]:
    """A relay to `target` ("host:port"), ended afterwards."""
    line = Wire(target)
    await line.start()
    try:
        yield line
    finally:
        await line.stop()
