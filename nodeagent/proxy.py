"""The agent's end of the proxy's control socket.

Rule: what the proxy says it holds is the acknowledgement; while it is away it holds nothing that we know of (""), and
it is offered the wanted table again as soon as it is back.
"""

import asyncio
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog
from google.protobuf.message import DecodeError

from mesh.v1.node_pb2 import ProxyHeld, ProxyOrder, ServiceTable

log = structlog.get_logger()


class ProxyPort(Protocol):
    """The agent's end of this host's proxy."""

    def program(self, table: ServiceTable) -> None:
        """Wants a table served."""
        ...

    async def run(self) -> None:
        """Talks to the proxy for ever."""
        ...


class Proxy:
    """Keeps one connection; `on_held(digest)` is called whenever what the proxy holds, as far as known, changes."""

    def __init__(self, socket: Path, on_held: Callable[[str], None]) -> None:
        self._socket = socket
        self._on_held = on_held
        self._wanted: ServiceTable | None = None
        self._changed = asyncio.Event()
        self._held = ""

    def program(self, table: ServiceTable) -> None:
        """Wants `table` served; what is held is told by `on_held`."""
        self._wanted = table
        self._changed.set()

    async def run(self) -> None:
        """Connects, programs, listens; again after 0.1 to 2 s when the proxy is away."""
        pause = 0.1
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(self._socket)
            except (OSError, ValueError):
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)
                continue
            pause = 0.1
            try:
                await self._converse(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, DecodeError) as error:
                log.info("proxy_away", why=str(error))
            finally:
                writer.close()
                self._tell("")

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(self._listen(reader))
            offering = group.create_task(self._offer(writer))
            await asyncio.wait([listening], return_when=asyncio.FIRST_COMPLETED)
            offering.cancel()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while header := await reader.read(4):
            header += await reader.readexactly(4 - len(header))
            held = ProxyHeld.FromString(await reader.readexactly(struct.unpack(">I", header)[0]))
            if held.error:
                log.error("proxy_refused_table", error=held.error)
            self._tell(held.digest)

    async def _offer(self, writer: asyncio.StreamWriter) -> None:
        offered: ServiceTable | None = None
        while True:
            if self._wanted is not None and self._wanted is not offered:
                offered = self._wanted
                body = ProxyOrder(table=offered).SerializeToString()
                writer.write(struct.pack(">I", len(body)) + body)
                await writer.drain()
            self._changed.clear()
            if self._wanted is offered:
                await self._changed.wait()

    def _tell(self, digest: str) -> None:
        if digest != self._held:
            self._held = digest
            self._on_held(digest)
