"""UDP through the real proxy: replies come from the address that was asked, stale flows end."""

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mesh.v1.node_pb2 import ProxyPort
from tests.harness.proxying import DEADLINE, a_port, an_address, endpoint, proxy, service


class Naming(asyncio.DatagramProtocol):
    """Answers with its name and what it got."""

    def __init__(self, name: bytes) -> None:
        self.name = name

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(self.name + data, addr)


async def naming(name: str) -> tuple[asyncio.DatagramTransport, int]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Naming(name.encode()), ("127.0.0.1", 0))
    return transport, transport.get_extra_info("sockname")[1]


@contextmanager
def client(ip: str, port: int) -> Iterator[socket.socket]:
    """Connected: it hears nothing but what comes from the address that it asked."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect((ip, port))
        yield sock


async def ask(sock: socket.socket, text: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE):
        await loop.sock_sendall(sock, text)
        return await loop.sock_recv(sock, 65535)


async def test_replies_come_from_the_address_that_was_asked(tmp_path: Path) -> None:
    vip, number = an_address(), a_port()
    transport, port = await naming("a")
    async with proxy(tmp_path) as (_, programmer):
        ports = [ProxyPort(protocol="UDP", port=53, node_port=number)]
        await programmer.program(service("dns", vip, 53, [endpoint("127.0.0.1", port)], ports=ports))
        for address in ((vip, 53), ("127.0.0.1", number), ("127.0.0.2", number)):
            with client(*address) as sock:
                assert await ask(sock, b"1") == b"a1"
                assert len(await ask(sock, b"x" * 60000)) == 60001
    transport.close()


async def test_a_flow_keeps_its_backend_and_flows_go_everywhere(tmp_path: Path) -> None:
    vip = an_address()
    (one, a), (two, b) = await naming("a"), await naming("b")
    async with proxy(tmp_path) as (_, programmer):
        ends = [endpoint("127.0.0.1", a), endpoint("127.0.0.1", b)]
        await programmer.program(service("dns", vip, 53, ends, protocol="UDP"))
        said: Counter[bytes] = Counter()
        for _ in range(40):
            with client(vip, 53) as sock:
                answers = {await ask(sock, b"") for _ in range(3)}
                assert len(answers) == 1
                said.update(answers)
    assert set(said) == {b"a", b"b"}
    one.close()
    two.close()


async def test_a_flow_moves_when_its_backend_stops_serving(tmp_path: Path) -> None:
    vip = an_address()
    (one, a), (two, b) = await naming("a"), await naming("b")
    async with proxy(tmp_path) as (_, programmer):
        with ExitStack() as stack:
            await programmer.program(service("dns", vip, 53, [endpoint("127.0.0.1", a)], protocol="UDP"))
            flows = [stack.enter_context(client(vip, 53)) for _ in range(5)]
            assert [await ask(sock, b"") for sock in flows] == [b"a"] * 5
            await programmer.program(service("dns", vip, 53, [endpoint("127.0.0.1", b)], protocol="UDP"))
            assert [await ask(sock, b"") for sock in flows] == [b"b"] * 5
    one.close()
    two.close()


async def test_a_backend_that_refuses_is_left_and_no_endpoint_refuses(tmp_path: Path) -> None:
    vip = an_address()
    transport, a = await naming("a")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        refusing = nobody.getsockname()[1]
    async with proxy(tmp_path) as (_, programmer):
        ends = [endpoint("127.0.0.1", a), endpoint("127.0.0.1", refusing)]
        await programmer.program(service("dns", vip, 53, ends, protocol="UDP"))
        for _ in range(20):
            with client(vip, 53) as sock:
                loop = asyncio.get_running_loop()
                async with asyncio.timeout(DEADLINE):
                    heard = asyncio.create_task(loop.sock_recv(sock, 100))
                    while not heard.done():  # a datagram may be lost: programs ask again
                        await loop.sock_sendall(sock, b"x")
                        await asyncio.wait([heard], timeout=0.05)
                    assert await heard == b"ax"
        await programmer.program(service("dns", vip, 53, [], protocol="UDP"))
        with client(vip, 53) as sock:
            try:
                await ask(sock, b"x")
                refused = False
            except ConnectionRefusedError:
                refused = True
        assert refused
    transport.close()
