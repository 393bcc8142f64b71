"""The proxy's control socket: orders in, what is held out.

Rule: only root and the proxy's own user may connect (peer credentials are checked as well as the socket's mode);
whoever connects is told first what is held, and again after every order and whenever the proxy has news.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
from google.protobuf.message import DecodeError

from mesh.errors import MeshError
from mesh.v1.node_pb2 import ProxyHeld, ProxyOrder

log = structlog.get_logger()
MAX_FRAME = 128 * 1024 * 1024


class Control:
    """Serves `path`; `carry_out` does one order and returns the answer, or raises MeshError."""

    def __init__(
        self, path: Path, held: Callable[[str], ProxyHeld], carry_out: Callable[[ProxyOrder], Awaitable[ProxyHeld]]
    ) -> None:
        self._path = path
        self._held = held
        self._carry_out = carry_out
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> asyncio.Server:
        """Listens when it returns."""
        self._path.unlink(missing_ok=True)
        old_mask = os.umask(0o177)
        try:
            return await asyncio.start_unix_server(self._serve, self._path)
        finally:
            os.umask(old_mask)

    def tell(self) -> None:
        """There are news: everyone connected is told what is held."""
        for writer in self._writers:
            _write(writer, self._held(""))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not _trusted(writer):
                return
            self._writers.add(writer)
            _write(writer, self._held(""))
            while (order := await _receive(reader)) is not None:
                _write(writer, await self._answer(order))
                await writer.drain()
        except ConnectionError as error:
            log.info("agent_disconnected", why=str(error))
        except asyncio.CancelledError:
            return  # the program ends; asyncio's streams would log it as an error
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, order: bytes) -> ProxyHeld:
        try:
            return await self._carry_out(ProxyOrder.FromString(order))
        except (MeshError, DecodeError, OSError, ValueError) as error:
            log.error("order_refused", error=str(error))
            return self._held(str(error) or type(error).__name__)


def _trusted(writer: asyncio.StreamWriter) -> bool:
    sock = writer.get_extra_info("socket")
    pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    if uid in (0, os.getuid()):
        return True
    log.error("peer_refused", pid=pid, uid=uid)
    return False


def _write(writer: asyncio.StreamWriter, held: ProxyHeld) -> None:
    body = held.SerializeToString()
    writer.write(struct.pack(">I", len(body)) + body)


async def _receive(reader: asyncio.StreamReader) -> bytes | None:
    """The next frame, or None at the end."""
    try:
        (length,) = struct.unpack(">I", await reader.readexactly(4))
        if length > MAX_FRAME:
            log.error("frame_too_long", length=length)
            return None
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return None
