"""The door to a program's figures: HTTP/1.1 over mutual TLS, GET only.

Rules: nobody without a certificate of our authority is heard, and nobody whom `allowed` does not name is answered.
Files of certificates are looked at with every handshake, so that renewed ones need no restart. A client that is slow,
or asks too much, is left, and never holds up another.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import h11
import structlog

from mesh.errors import Forbidden, Invalid, MeshError, NotFound, Unavailable
from mesh.exposition.serving import until_cancelled
from mesh.exposition.text import CONTENT_TYPE
from mesh.pki import ADMINS, BACKDATE, MONITORS, SCHEME, Identity

_log = structlog.get_logger("mesh.exposition")

HANDSHAKE = 10.0  # seconds
REQUEST = 10.0  # for the rest of a request whose first byte came, and for sending an answer's piece
IDLE = 300.0  # between two requests
AGAIN = 60.0  # between two attempts to listen
MOST = 64  # connections at once
_PIECE = 1 << 18
_STATUS = {Forbidden: 403, NotFound: 404, Invalid: 400, Unavailable: 503}


@dataclass(frozen=True, slots=True)
class Files:
    """The authority's certificate, our certificate and its key; PEM."""

    ca: Path
    certificate: Path
    key: Path

    def stamp(self) -> tuple[tuple[int, int], ...]:
        """Differs when one of them was replaced; raises OSError when one is missing."""
        stats = (f.stat() for f in (self.ca, self.certificate, self.key))
        return tuple((s.st_mtime_ns, s.st_ino) for s in stats)


def tls_context(files: Files) -> ssl.SSLContext:
    """For a server whose clients must have a certificate of our authority; raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files.certificate, files.key)
    context.load_verify_locations(files.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked, and by whom."""

    path: str
    query: Mapping[str, str]
    who: Identity
    accept: str = ""  # as the header says it


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said."""

    body: bytes
    content_type: str = CONTENT_TYPE


def allowed(who: Identity) -> bool:
    """Whether `who` may read figures: administrators and monitors."""
    return ADMINS in who.groups or MONITORS in who.groups


@dataclass(slots=True)
class Door:
    """An open one. `answer` raises MeshErrors for what it does not say."""

    files: Files
    answer: Callable[[Request], Awaitable[Answer]]
    allowed: Callable[[Identity], bool] = allowed
    _context: ssl.SSLContext | None = None
    _stamp: tuple[tuple[int, int], ...] = ()
    _open: set["asyncio.Task[None]"] = field(default_factory=set)

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Opens it; raises OSError: a file is missing, the address is taken, or is not ours (yet)."""
        first = self._current()
        first.sni_callback = self._renew
        return await asyncio.start_server(self._accept, host, port, ssl=first, ssl_handshake_timeout=HANDSHAKE)

    async def keep(self, host: str, port: int, opened: Callable[[int], None]) -> None:
        """Keeps it open until cancelled; what hinders that is said once, and tried again. `opened` hears the port."""
        said = ""
        while True:
            try:
                server = await self.listen(host, port)
            except OSError as error:  # a wrong certificate too: SSLError is one
                if said != str(error):
                    said = str(error)
                    _log.warning("figures_not_offered", host=host, port=port, why=said)
                await asyncio.sleep(AGAIN)
                continue
            found = server.sockets[0].getsockname()[1]
            _log.info("figures_offered", host=host, port=found)
            opened(found)
            try:
                await until_cancelled(server)
            finally:
                for task in list(self._open):
                    task.cancel()

    def _renew(self, peer: Any, _name: str | None, _first: ssl.SSLContext) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):  # files that are just being replaced: the old ones hold
            peer.context = self._current()

    def _current(self) -> ssl.SSLContext:
        stamp = self.files.stamp()
        if self._context is None or stamp != self._stamp:
            self._context, self._stamp = tls_context(self.files), stamp
        return self._context

    # ---- one connection

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= MOST:
            writer.close()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._talk(reader, writer)
        except (OSError, TimeoutError, h11.ProtocolError) as error:
            _log.debug("reader_left", error=str(error))
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        who = identity_of(writer.get_extra_info("peercert") or {})
        connection = h11.Connection(h11.SERVER)
        while True:
            connection.receive_data(await asyncio.wait_for(reader.read(_PIECE), IDLE))
            async with asyncio.timeout(REQUEST):
                request = await _request(connection, reader)
            if request is None:
                return
            status, answer = await self._answer(request, who)
            body = b"" if request.method == b"HEAD" else answer.body
            headers = [("content-type", answer.content_type), ("content-length", str(len(answer.body)))]
            writer.write(connection.send(h11.Response(status_code=status, headers=headers)) or b"")
            for start in range(0, len(body), _PIECE):
                writer.write(connection.send(h11.Data(data=body[start : start + _PIECE])) or b"")
                async with asyncio.timeout(REQUEST):
                    await writer.drain()
            writer.write(connection.send(h11.EndOfMessage()) or b"")
            async with asyncio.timeout(REQUEST):
                await writer.drain()
            if connection.states[h11.SERVER] is not h11.DONE:  # the client asked for the end
                return
            connection.start_next_cycle()

    async def _answer(self, request: h11.Request, who: Identity) -> tuple[int, Answer]:
        url = urlsplit(request.target.decode("ascii", "replace"))
        if request.method not in (b"GET", b"HEAD"):
            return 405, _words("only GET is answered here")
        if not self.allowed(who):
            _log.warning("figures_refused", user=who.name, groups=who.groups, path=url.path)
            return 403, _words(f'"{who.name}" may not read figures: it needs the group {MONITORS}')
        try:
            accept = next((value.decode("ascii", "replace") for key, value in request.headers if key == b"accept"), "")
            return 200, await self.answer(Request(url.path, dict(parse_qsl(url.query)), who, accept))
        except MeshError as error:
            status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
            return status, _words(error.message)
        except Exception as error:  # noqa: BLE001 - a bug is in the log, not on the wire, and ends no other reader
            _log.error("figures_failed", path=url.path, exc_info=error)
            return 500, _words("this could not be told; the log has why")


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request | None:
    """The next request, with its end; None when the client has gone."""
    request: h11.Request | None = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_PIECE))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.EndOfMessage):
            return request
        elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
            return None


def identity_of(certificate: Mapping[str, Any]) -> Identity:
    """Whom a certificate names, as `ssl` tells it: by its URI, of which a common name may only be the beginning."""
    parts = [pair for rdn in certificate.get("subject", ()) for pair in rdn]
    groups = tuple(value for key, value in parts if key == "organizationName")
    name, kind = next((value for key, value in parts if key == "commonName"), ""), "user"
    for what, value in certificate.get("subjectAltName", ()):
        if what == "URI" and value.startswith(SCHEME):
            kind, _, named = value.removeprefix(SCHEME).partition("/")
            name = unquote(named)
    begins = certificate.get("notBefore", "")
    issued = int(ssl.cert_time_to_seconds(begins)) + BACKDATE if begins else 0
    return Identity(name, groups, kind, int(certificate.get("serialNumber", "0"), 16), issued)


def _words(text: str) -> Answer:
    return Answer(text.encode() + b"\n", "text/plain; charset=utf-8")
