"""GET over HTTP/1.1 as probes need it: redirects within one host, no verification, no reuse, 10 KiB of body (P12, P13).

Rule: whoever calls sets the deadline; what is no HTTP is Malformed.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from urllib.parse import quote, urljoin, urlsplit

from nodeagent.probes.wanted import USER_AGENT, HttpCheck

BODY = 10 * 1024
HEAD = 64 * 1024
REDIRECTS = 10
FOLLOWED = (301, 302, 303, 307, 308)
_PLAIN = "/?&=%:;@!$'()*+,~[]|{}"  # what stays as it is in a path with a query
Connect = Callable[[str, int], Awaitable[socket.socket]]


class Malformed(Exception):  # noqa: N818 - an answer, not an error of ours
    """The answer can't be understood, or leads nowhere."""


@dataclass(frozen=True, slots=True)
class Response:
    """Status and the first 10 KiB of the body."""

    status: int
    location: str
    body: bytes


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # (P14)
    return context


_TLS = _unverified()


def url(check: HttpCheck) -> str:
    """As people write it."""
    host = f"[{check.host}]" if ":" in check.host else check.host
    return f"{'https' if check.tls else 'http'}://{host}:{check.port}{check.path}"


async def get(check: HttpCheck, connect: Connect) -> Response:
    """The last answer: redirects to the same host are followed, at most 10; one to another host is the answer.

    Raises OSError, Malformed.
    """
    first = check.host
    for _ in range(REDIRECTS + 1):
        response = await _get(check, connect)
        if response.status not in FOLLOWED or not response.location:
            return response
        target = urlsplit(urljoin(url(check), response.location))
        if target.scheme not in ("http", "https"):
            raise Malformed(f'unsupported protocol scheme "{target.scheme}"')
        if target.hostname != first.lower():
            return response
        tls = target.scheme == "https"
        path = f"{target.path or '/'}?{target.query}" if target.query else target.path or "/"
        check = replace(check, tls=tls, port=target.port or (443 if tls else 80), path=path)
    raise Malformed(f"stopped after {REDIRECTS} redirects")


def request(check: HttpCheck) -> bytes:
    """The request's bytes; a header of the probe's replaces a standard one of its name, empty removes it."""
    host = f"[{check.host}]" if ":" in check.host else check.host
    standard = {"host": f"{host}:{check.port}", "user-agent": USER_AGENT, "accept": "*/*"}
    names = {"host": "Host", "user-agent": "User-Agent", "accept": "Accept"}
    own: list[tuple[str, str]] = []
    for name, value in check.headers:
        if name.lower() == "host":
            standard["host"] = value or standard["host"]
            continue
        standard.pop(name.lower(), None)
        if value or name.lower() not in names:
            own.append((name, value))
    lines = [f"GET {quote(check.path, safe=_PLAIN)} HTTP/1.1", *(f"{names[n]}: {v}" for n, v in standard.items())]
    lines += [f"{name}: {value}".replace("\r", " ").replace("\n", " ") for name, value in own]
    text = "\r\n".join([*lines, "Connection: close", "", ""])
    return text.encode("latin-1", errors="replace")


async def _get(check: HttpCheck, connect: Connect) -> Response:
    sock = await connect(check.host, check.port)
    try:
        reader, writer = await asyncio.open_connection(
            sock=sock, limit=HEAD, ssl=_TLS if check.tls else None,
            server_hostname=_server_name(check) if check.tls else None,
        )  # fmt: skip
    except BaseException:
        sock.close()
        raise
    try:
        writer.write(request(check))
        response = await _answer(reader)
    except asyncio.LimitOverrunError as error:
        _abort(sock, writer)
        raise Malformed("the answer's head is too long") from error
    except BaseException:
        _abort(sock, writer)
        raise
    if check.tls:
        writer.transport.abort()
    else:
        writer.close()
    return response


def _abort(sock: socket.socket, writer: asyncio.StreamWriter) -> None:
    """Lets go without waiting for the other side: it may be gone, and closing would linger for it."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _server_name(check: HttpCheck) -> str:
    """What the probe's Host header names, as Kubernetes does; else the address."""
    given = next((v for n, v in check.headers if n.lower() == "host" and v), "")
    with contextlib.suppress(ValueError):
        return urlsplit(f"//{given}").hostname or check.host
    return check.host


async def _answer(reader: asyncio.StreamReader) -> Response:
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise Malformed("EOF" if not error.partial else "malformed HTTP response") from error
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split(" ", 2)
        if not words[0].startswith("HTTP/1.") or len(words) < 2 or not words[1].isdigit():
            raise Malformed(f'malformed HTTP response "{first[:80]}"')
        status = int(words[1])
        if status >= 200 or status == 101:
            break
    headers = {n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in lines if line)}
    body = b"" if status in (204, 304) or status < 200 else await _body(reader, headers)
    return Response(status, headers.get("location", ""), body)


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return await _chunks(reader)
    text = headers.get("content-length", "")
    if text and not text.isdigit():
        raise Malformed(f'bad Content-Length "{text[:40]}"')
    if text:
        return await reader.readexactly(min(int(text), BODY))
    body = bytearray()
    while len(body) < BODY and (data := await reader.read(BODY - len(body))):
        body += data
    return bytes(body)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while len(body) < BODY:
        try:
            size = int((await reader.readline()).split(b";")[0], 16)
        except ValueError as error:
            raise Malformed("malformed chunked encoding") from error
        if size == 0:
            break
        body += await reader.readexactly(min(size, BODY - len(body)))
        if len(body) < BODY:
            await reader.readexactly(2)
    return bytes(body)
