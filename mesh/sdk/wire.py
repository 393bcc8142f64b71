"""The connection of a client, kept fresh: its certificate is renewed at two thirds of its life, by itself.

Rule: what is under way stays on the connection that it began on; new calls take the newest certificate. A certificate
that other programs have renewed on the disk counts too. What can't be renewed is told only once it has expired.
"""

import asyncio
import logging
import time
from pathlib import Path

import grpc.aio

from mesh import pki
from mesh.errors import Forbidden, MeshError
from mesh.files import whole_file
from mesh.sdk.channel import answer, leading, open_channel
from mesh.sdk.context import Context
from mesh.v1.access_pb2 import Certified, RenewRequest
from mesh.v1.access_pb2_grpc import AccessStub

_LOOK = 30.0  # seconds between two looks at the files
_TRY = 600.0  # seconds between two attempts to renew
_TIMEOUT = 10.0
_log = logging.getLogger(__name__)


class Wire:
    """Of one context."""

    def __init__(self, context: Context) -> None:
        self.server = context.servers[0]
        self._context = context
        self._channels: dict[str, grpc.aio.Channel] = {}  # by server, with the newest certificate
        self._left: list[grpc.aio.Channel] = []  # those on which something may still be under way
        self._astray = False
        self._files: tuple[bytes, ...] = ()
        self._look_at = self._try_at = 0.0

    async def channel(self) -> grpc.aio.Channel:
        """The channel for the next call; raises Forbidden when the certificate has expired."""
        now = time.monotonic()
        if now >= self._look_at or self._astray:
            self._look_at = now + _LOOK
            await self._refresh(now)
        return self._channels[self.server]

    def lost(self) -> None:
        """The server in use did not do what was asked: where there are several, the next call looks for the leader."""
        self._astray = len(self._context.servers) > 1

    async def close(self) -> None:
        """Ends every stream."""
        for channel in (*self._left, *self._channels.values()):
            await channel.close()
        self._channels.clear()
        self._left.clear()
        self._look_at = 0.0

    async def _refresh(self, now: float) -> None:
        await self._open_if_new()
        if self._context.token:
            return  # its host renews it
        certificate = self._context.pem("certificate")
        clock = int(time.time())
        if pki.due(certificate, clock) or now < self._try_at:
            return
        self._try_at = now + _TRY
        if (ended := pki.expires(certificate)) < clock:
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(ended))
            raise Forbidden(
                f"this context's certificate expired at {when}: `mesh login` with a new token, or on the mesh's first "
                "host `sudo mesh up`"
            )
        try:
            await self._renew()
        except (MeshError, OSError, TimeoutError) as error:
            _log.info("the certificate is due and could not be renewed: %s", error)
        else:
            await self._open_if_new()

    async def _open_if_new(self) -> None:
        files = self._context.files
        if files != self._files:
            self._left += self._channels.values()
            self._channels.clear()
            self._files = files
        if self._astray or self.server not in self._channels:
            self._astray = False
            for server in self._context.servers:
                if server not in self._channels:
                    self._channels[server] = open_channel(self._context, server)
            self.server = await leading(self._channels)

    async def _renew(self) -> None:
        if not _is_file(self._context.certificate) or not _is_file(self._context.key):
            return
        certified = await renewed(self._channels[self.server], self.server, self._context)
        await asyncio.to_thread(keep, self._context, certified)


async def renewed(channel: grpc.aio.Channel, server: str, context: Context) -> Certified:
    """A new certificate for the context's key; raises MeshError."""
    request = RenewRequest(request=pki.wish(context.pem("key")).certificate)
    return await answer(AccessStub(channel).Renew(request, timeout=_TIMEOUT), server)


def keep(context: Context, certified: Certified) -> None:
    """Writes a renewed certificate, and the authorities to trust, to the context's files; raises OSError."""
    written = [(context.certificate, certified.certificate)]
    if _is_file(context.ca) and context.pem("ca") != certified.authorities:
        written.append((context.ca, certified.authorities))
    for path, content in written:
        with whole_file(Path(path).expanduser()) as file:
            file.write(content)


def _is_file(value: str) -> bool:
    return not value.lstrip().startswith("-----BEGIN")
