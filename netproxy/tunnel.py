"""`python -m netproxy.tunnel`: carries connections of encrypted Services from host to host over mutual TLS.

Rules: a process of its own, so that a restart of netproxy ends none of its connections; it is small until the first
one comes. A host shows the certificate that names it, and is believed by nothing else; it may ask for no other
addresses than those that the host's own proxy has allowed (pods of this host). A connection ends as it would without
us: halves close one by one, a reset is a reset.

    netproxy → us, unix socket   one line {"node", "address", "ip", "port"}; "+" when the backend has accepted
    host → host, TLS             one line {"ip", "port"}; "+"; then frames: two bytes of length, and so many bytes
"""

import asyncio
import contextlib
import ipaddress
import json
import os
import resource
import select
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

from mesh.exposition.serving import until_cancelled
from mesh.handed import handed

log = structlog.get_logger()
HOSTS = ("organizationName", "mesh:nodes")  # in the subject of a host's certificate; mesh.pki would be large
PAUSE = 0.1  # seconds without accepting when descriptors have run out
PATIENCE = 5.0  # seconds for a handshake and for a backend to accept
LARGEST = 32768  # bytes in one frame
END, RESET = 0, 0xFFFF  # lengths that mean the end of a direction, and of everything
LINE = 4096
BACKLOG = 4096
_Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Refused(Exception):  # noqa: N818 - no fault of ours
    """The other side does not get what it asks for."""


class Tls:
    """Contexts of the host's certificate, made anew when its files are."""

    def __init__(self, pki: Path) -> None:
        self._pki = pki
        self._stamp: tuple[int, ...] = ()
        self._contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None

    def contexts(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        """To serve and to call; raises OSError, ssl.SSLError."""
        stamp = tuple(file.stat().st_mtime_ns for file in self._files())
        if self._contexts is None or stamp != self._stamp:
            self._contexts = self._made(ssl.PROTOCOL_TLS_SERVER), self._made(ssl.PROTOCOL_TLS_CLIENT)
            self._stamp = stamp
        return self._contexts

    def _files(self) -> tuple[Path, Path, Path]:
        return self._pki / "ca.crt", self._pki / "agent.crt", handed(self._pki / "agent.key")

    def _made(self, protocol: int) -> ssl.SSLContext:
        authority, certificate, key = self._files()
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(authority)
        context.verify_mode = ssl.CERT_REQUIRED
        return context


class Tunnel:
    """One host's end. `allowed`: a file with the networks that others may be brought to, one a line."""

    def __init__(self, port: int, tls: Tls, allowed: Path) -> None:
        self._port = port
        self._tls = tls
        self._allowed = allowed
        self._tasks: set[asyncio.Task[None]] = set()

    # ---- from this host

    async def outward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection of this host's proxy to a backend of another host."""
        sock = writer.get_extra_info("socket")
        _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in {0, os.getuid()}:
            raise Refused("it is not this host's proxy")
        wanted = json.loads(await _line(reader))
        _, context = self._tls.contexts()
        far = await asyncio.open_connection(
            wanted["address"], self._port, ssl=context, server_hostname=wanted["node"], ssl_handshake_timeout=PATIENCE
        )
        try:
            _require_host(far[1])
            far[1].write(json.dumps({"ip": wanted["ip"], "port": wanted["port"]}).encode() + b"\n")
            if await far[0].readexactly(1) != b"+":
                raise Refused("no word of the backend")
            writer.write(b"+")
            await relay((reader, writer), far)
        finally:
            far[1].close()

    # ---- from other hosts

    async def accept(self, listening: socket.socket) -> None:
        """Takes connections of other hosts, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listening)
            except OSError as error:  # no descriptors: the others wait in the kernel
                log.error("tunnel_accepts_nothing", why=str(error))
                await asyncio.sleep(PAUSE)
                continue
            self.take(self.welcome(sock))

    def take(self, work: Coroutine[Any, Any, None]) -> None:
        """Has it done beside all else."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def welcome(self, sock: socket.socket) -> None:
        """One connection of another host."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            context, _ = self._tls.contexts()
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, sock, ssl=context, ssl_handshake_timeout=PATIENCE
            )
        except OSError as error:  # ssl.SSLError too
            log.info("tunnel_refused", way="in", why=str(error))
            sock.close()
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        await guarded(self.inward, "in")(reader, writer)

    async def inward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection of another host, encrypted already, to a backend here."""
        _require_host(writer)
        wanted = json.loads(await _line(reader))
        ip = ipaddress.IPv4Address(wanted["ip"])
        if not any(ip in network for network in self._networks()):
            raise Refused(f"{ip} is no backend of this host")
        async with asyncio.timeout(PATIENCE):
            near = await asyncio.open_connection(str(ip), int(wanted["port"]))
        try:
            writer.write(b"+")
            await relay(near, (reader, writer))
        finally:
            near[1].close()

    def _networks(self) -> list[ipaddress.IPv4Network]:
        return [ipaddress.IPv4Network(line) for line in self._allowed.read_text().split()]


def _require_host(writer: asyncio.StreamWriter) -> None:
    certificate = writer.get_extra_info("peercert") or {}
    parts = [pair for group in certificate.get("subject", ()) for pair in group]
    if HOSTS not in parts:
        raise Refused("its certificate is no host's")


async def _line(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(PATIENCE):
        line = await reader.readuntil(b"\n")
    if len(line) > LINE:
        raise Refused("too long a line")
    return line


# ---- both ways


async def relay(plain: _Pair, framed: _Pair) -> None:
    """Until both directions have ended, or one was reset."""
    taking = asyncio.create_task(_unpack(framed[0], plain[1]))
    tasks = [asyncio.create_task(_pack(plain, framed[1], taking.done)), taking]
    try:
        await asyncio.gather(*tasks)
    except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
        _abort(plain[1])
    finally:
        for task in tasks:
            task.cancel()


async def _pack(plain: _Pair, writer: asyncio.StreamWriter, all_taken: Callable[[], bool]) -> None:
    try:
        while data := await plain[0].read(LARGEST):
            writer.write(struct.pack(">H", len(data)) + data)
            await writer.drain()
        if not all_taken() and _closed(plain[1]):
            raise ConnectionResetError
    except ConnectionError:
        writer.write(struct.pack(">H", RESET))
        raise
    writer.write(struct.pack(">H", END))
    await writer.drain()


async def _unpack(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        (length,) = struct.unpack(">H", await reader.readexactly(2))
        if length == RESET:
            raise ConnectionResetError
        if length == END:
            writer.write_eof()
            return
        writer.write(await reader.readexactly(length))
        await writer.drain()


def _closed(writer: asyncio.StreamWriter) -> bool:
    """Whether the other end takes nothing any more either: netproxy's way to say a reset on a unix socket."""
    poll = select.poll()
    poll.register(writer.get_extra_info("socket").fileno(), select.POLLIN)
    return any(mask & select.POLLHUP for _, mask in poll.poll(0))


def _abort(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.family == socket.AF_INET:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


# ---- the program

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Guarded = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def guarded(serve: Serve, what: str) -> Guarded:
    """What goes wrong with one connection ends that one."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (OSError, ValueError, KeyError, TypeError, EOFError, asyncio.LimitOverrunError, Refused) as error:
            log.info("tunnel_refused", way=what, why=str(error) or type(error).__name__)
        except asyncio.CancelledError:
            return  # the program ends
        finally:
            writer.close()

    return one


async def serve(local: socket.socket, remote: socket.socket, first: socket.socket, tunnel: Tunnel) -> None:
    """Until cancelled; `first` has been accepted already."""
    remote.setblocking(False)
    first.setblocking(False)
    outward = guarded(tunnel.outward, "out")
    if first.family == socket.AF_INET:
        tunnel.take(tunnel.welcome(first))
    else:
        tunnel.take(outward(*await asyncio.open_unix_connection(sock=first)))
    near = await asyncio.start_unix_server(outward, sock=local, backlog=BACKLOG)
    async with asyncio.TaskGroup() as group:
        group.create_task(until_cancelled(near))
        group.create_task(tunnel.accept(remote))


def run(local: socket.socket, remote: socket.socket, first: socket.socket, pki: str, allowed: str) -> None:
    """For ever, from the first connection on."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(serve(local, remote, first, Tunnel(remote.getsockname()[1], Tls(Path(pki)), Path(allowed))))
