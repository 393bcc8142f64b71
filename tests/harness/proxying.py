"""A real proxy process, its control socket, and Services made by hand, on loopback addresses of the test's own.

Rule: every test has addresses that no other test or user of the machine is likely to have; nothing outside of
127.0.0.0/8 is touched.
"""

import asyncio
import errno
import os
import random
import struct
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from mesh.v1.node_pb2 import (
    Fence,
    Flows,
    FlowsRequest,
    HostSide,
    ProxyEndpoint,
    ProxyHeld,
    ProxyOrder,
    ProxyPort,
    ProxyService,
    ServiceTable,
)
from tests.harness.news import News

DEADLINE = 30.0
# Of Services: whoever listens on this port at every address takes it from them, so it is none that others like.
PORT = random.randint(20000, 29000)


def an_address() -> str:
    """A loopback address for a Service."""
    return f"127.{random.randint(64, 250)}.{random.randint(1, 250)}.{random.randint(1, 250)}"


def a_port() -> int:
    """A port in the range of node ports."""
    return random.randint(30100, 32700)


def endpoint(ip: str, *ports: int, ready: bool = True, terminating: bool = False, node: str = "one") -> ProxyEndpoint:
    """An endpoint whose pod's uid is that of its address."""
    name = f"{ip}-{'-'.join(map(str, ports))}"
    return ProxyEndpoint(
        ip=ip, node=node, ready=ready and not terminating, serving=ready, terminating=terminating, ports=ports,
        pod=f"default/{name}", pod_uid=name,
    )  # fmt: skip


def service(
    name: str, address: str, port: int, endpoints: Sequence[ProxyEndpoint], *, protocol: str = "TCP", **more: object
) -> ProxyService:
    """A Service of one port."""
    made = ProxyService(namespace="default", name=name, cluster_ip=address, endpoints=endpoints, **more)  # type: ignore[arg-type]
    if not made.ports:
        made.ports.append(ProxyPort(protocol=protocol, port=port))
    return made


class Programmer:
    """The agent's part on the control socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._revision = 0
        self._names: set[str] = set()
        self.held = ProxyHeld()

    async def _next(self) -> ProxyHeld:
        async with asyncio.timeout(DEADLINE):
            (length,) = struct.unpack(">I", await self._reader.readexactly(4))
            self.held = ProxyHeld.FromString(await self._reader.readexactly(length))
        return self.held

    async def send(self, order: ProxyOrder) -> ProxyHeld:
        """The answer to one order; what was told in between is overwritten by it."""
        body = order.SerializeToString()
        self._writer.write(struct.pack(">I", len(body)) + body)
        return await self._next()

    async def program(self, *services: ProxyService, base: str = "", gone: Sequence[str] = ()) -> ProxyHeld:
        """Orders a table; from nothing, or as a change of `base`."""
        self._revision += 1
        table = ServiceTable(
            fence=Fence(epoch=1, revision=self._revision), digest=f"table-{self._revision}", base=base, last=True,
            services=services, gone=gone,
        )  # fmt: skip
        held = await self.send(ProxyOrder(table=table))
        assert not held.error, held.error
        return held

    async def host(self, **side: object) -> ProxyHeld:
        """Tells the host's side."""
        return await self.send(ProxyOrder(host=HostSide(**{"node": "one", "workers": 1, **side})))  # type: ignore[arg-type]

    async def flows(self, *, connections: bool = False) -> Flows:
        """What passes."""
        request = FlowsRequest(connections=connections)
        held = await self.send(ProxyOrder(flows=request))
        while not held.HasField("flows"):
            held = await self._next()
        return held.flows

    async def until(self, what: Callable[[ProxyHeld], bool]) -> ProxyHeld:
        """Waits for the proxy to tell something."""
        while not what(self.held):
            await self._next()
        return self.held

    def close(self) -> None:
        self._writer.close()


class ProxyProcess:
    """The program itself."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.socket = folder / "p.sock"
        self._args = ["-m", "netproxy", "--socket", str(self.socket), "--last-table", str(folder / "last"), *more]
        self._child: asyncio.subprocess.Process | None = None
        self._lines: list[bytes] = []
        self._news = News()

    async def start(self) -> None:
        """Returns when it listens."""
        self._child = await asyncio.create_subprocess_exec(sys.executable, *self._args, stdout=asyncio.subprocess.PIPE)
        assert self._child.stdout is not None
        self._lines.clear()
        self._reading = asyncio.create_task(self._read())
        await self.logged("netproxy_started")

    async def _read(self) -> None:
        assert self._child is not None
        assert self._child.stdout is not None
        while line := await self._child.stdout.readline():
            self._lines.append(line)
            self._news.ring()
        self._news.ring()

    async def logged(self, event: str, times: int = 1) -> None:
        """Waits until it has logged an event so many times since its start."""

        def there() -> bool:
            found = sum(event.encode() in line for line in self._lines)
            assert found >= times or not self._reading.done(), "netproxy has ended"
            return found >= times

        await self._news.until(there, DEADLINE)

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    async def connect(self) -> Programmer:
        """A connection to the control socket; what is held has been told."""
        reader, writer = await asyncio.open_unix_connection(self.socket)
        programmer = Programmer(reader, writer)
        await programmer._next()
        return programmer

    async def end(self, number: int = 15) -> None:
        """Signals it and waits for its end."""
        assert self._child is not None
        if self._child.returncode is None:
            os.kill(self._child.pid, number)
        async with asyncio.timeout(DEADLINE):
            await self._child.wait()
            await self._reading


@asynccontextmanager
async def proxy(folder: Path, *more: str) -> AsyncIterator[tuple[ProxyProcess, Programmer]]:
    """A running proxy and a connection to it."""
    process = ProxyProcess(folder, *more)
    await process.start()
    try:
        programmer = await process.connect()
        await programmer.host()
        yield process, programmer
        programmer.close()
    finally:
        await process.end()


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


@asynccontextmanager
async def backend(serve: Serve, ip: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """A TCP server; gives its port."""

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)  # type: ignore[misc]
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(guarded, ip, port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def saying(name: str) -> Serve:
    """Says its name and ends."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name.encode())
        await writer.drain()

    return serve


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Gives back what it gets, then ends."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def ask(ip: str, port: int, text: bytes = b"", source: str = "") -> bytes:
    """Connects, sends, ends its half, reads to the end. Raises ConnectionResetError, whenever the reset comes."""
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection(ip, port, local_addr=(source, 0) if source else None)
        writer.write(text)
        try:
            writer.write_eof()
            return await reader.read()
        except OSError as error:
            if error.errno == errno.ENOTCONN:  # the kernel's word for it when the reset came before the end
                raise ConnectionResetError(error.errno, error.strerror) from error
            raise
        finally:
            writer.close()
