"""The proxy's control socket: orders in, what is held out.

Rule: only root and the proxy's own user may connect (peer credentials are checked as well as the socket's mode), and
whoever connects is told first what is held.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import structlog
from google.protobuf.message import DecodeError

from mesh.errors import MeshError
from mesh.v1.node_pb2 import ProxyHeld, ProxyOrder, ServiceTable

log = structlog.get_logger()
MAX_FRAME = 128 * 1024 * 1024


class Control:
    """Serves `path`; `program` carries out one table and returns what is held then, or raises MeshError."""

    def __init__(self, path: Path, held: Callable[[str], ProxyHeld], program: Callable[[ServiceTable], None]) -> None:
        self._path = path
        self._held = held
        self._program = program

    async def run(self) -> None:
        """Listens until cancelled."""
        self._path.unlink(missing_ok=True)
        old_mask = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(self._serve, self._path)
        finally:
            os.umask(old_mask)
        async with server:
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not _trusted(writer):
                return
            await _send(writer, self._held(""))
            while (order := await _receive(reader)) is not None:
                await _send(writer, self._carry_out(order))
        except ConnectionError as error:
            log.info("agent_disconnected", why=str(error))
        finally:
            writer.close()

    def _carry_out(self, order: bytes) -> ProxyHeld:
        try:
            self._program(ProxyOrder.FromString(order).table)
        except (MeshError, DecodeError, OSError) as error:
            log.error("table_refused", error=str(error))
            return self._held(str(error))
        return self._held("")


def _trusted(writer: asyncio.StreamWriter) -> bool:
    sock = writer.get_extra_info("socket")
    pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    if uid in (0, os.getuid()):
        return True
    log.error("peer_refused", pid=pid, uid=uid)
    return False


async def _send(writer: asyncio.StreamWriter, held: ProxyHeld) -> None:
    body = held.SerializeToString()
    writer.write(struct.pack(">I", len(body)) + body)
    await writer.drain()


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
