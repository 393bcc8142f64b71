"""Services marked `mesh/encrypted`: two hosts' tunnels between a real proxy and its backends."""

import asyncio
import os
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from mesh import pki
from mesh.fleet.witness import Handshakes
from mesh.v1.node_pb2 import Neighbour, ProxyTuning
from tests.harness.control import test_pki
from tests.harness.figures import write_pki
from tests.harness.holding import listening
from tests.harness.proxying import (
    DEADLINE,
    PORT,
    Programmer,
    ProxyProcess,
    a_port,
    an_address,
    ask,
    backend,
    echo,
    endpoint,
    proxy,
    saying,
    service,
)

ENCRYPTED = ProxyTuning(encrypted=True)
POD = "127.0.0.22"  # a pod of the second host


class Host:
    """One host's tunnel."""

    def __init__(self, folder: Path, ip: str, port: int) -> None:
        self.folder, self.ip, self.port = folder, ip, port
        self.socket = folder / "tunnel.sock"
        self.allowed = folder / "tunnel.sock.allowed"
        folder.mkdir(exist_ok=True)

    def certify(self, request: pki.Request) -> None:
        write_pki(self.folder / "pki", test_pki().ca, "agent", pki.issue(test_pki().ca, request, int(time.time())))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        words = (str(self.socket), f"{self.ip}:{self.port}", str(self.folder / "pki"), str(self.allowed))
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "netproxy.knock", *words, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(DEADLINE):
                while True:
                    try:
                        _, writer = await asyncio.open_unix_connection(self.socket)
                        break
                    except (FileNotFoundError, ConnectionRefusedError):
                        await asyncio.to_thread(os.sched_yield)
            writer.close()  # who only knocks is no connection
            yield
        finally:
            child.kill()
            await child.wait()


@asynccontextmanager
async def two_hosts(
    folder: Path, node: str = "two", address: str = "", *more: str
) -> AsyncIterator[tuple[ProxyProcess, Programmer, Host]]:
    """The first with a proxy, the second's tunnel; `node`: whose certificate the second shows."""
    number = a_port()
    one, two = Host(folder / "one", "127.0.0.11", number), Host(folder / "two", "127.0.0.12", number)
    one.certify(pki.node("one"))
    two.certify(pki.node(node))
    two.allowed.write_text(f"{POD}/32\n")
    async with one.running(), two.running(), proxy(folder, "--tunnel", str(one.socket), *more) as (process, programmer):
        await programmer.host(neighbours=[Neighbour(node="two", address=address or two.ip)])
        yield process, programmer, two


@asynccontextmanager
async def recorded(target: str, port: int) -> AsyncIterator[tuple[str, bytearray]]:
    """An address in front of another that keeps what passes."""
    ip, seen = "127.0.0.13", bytearray()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            seen.extend(data)
            writer.write(data)
        writer.close()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(target, port)
        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))

    async with backend(pass_on, ip, port):
        yield ip, seen


async def test_what_goes_to_another_host_is_encrypted_and_comes_back_whole(tmp_path: Path) -> None:
    vip, body = an_address(), b"a secret word " * 100_000
    async with (
        backend(echo, POD) as far,
        two_hosts(tmp_path) as (_, programmer, two),
        recorded(two.ip, two.port) as (ip, seen),
    ):
        await programmer.host(neighbours=[Neighbour(node="two", address=ip)])
        ends = [endpoint(POD, far, node="two")]
        await programmer.program(service("web", vip, PORT, ends, tuning=ENCRYPTED))
        assert await ask(vip, PORT, body) == body  # and halves are closed one by one
        assert len(seen) > 2 * len(body)
        assert b"secret" not in seen
        flows = (await programmer.flows()).services[0].backends[0]
        assert (flows.total, flows.bytes_in, flows.bytes_out) == (1, len(body), len(body))


async def test_a_backend_of_this_host_is_reached_directly_and_a_far_one_that_refuses_is_passed_over(
    tmp_path: Path,
) -> None:
    vip = an_address()
    with socket.socket() as nobody:
        nobody.bind((POD, 0))
        async with backend(saying("near")) as near, backend(saying("far"), POD) as far, two_hosts(tmp_path) as (
            _, programmer, _two,
        ):  # fmt: skip
            ends = [
                endpoint("127.0.0.1", near),
                endpoint(POD, far, node="two"),
                endpoint(POD, nobody.getsockname()[1], node="two"),
            ]
            await programmer.program(service("web", vip, PORT, ends, tuning=ENCRYPTED))
            said = Counter([await ask(vip, PORT) for _ in range(40)])
            flows = {b.port: b for b in (await programmer.flows()).services[0].backends}
    assert set(said) == {b"near", b"far"}
    assert flows[nobody_port(flows, near, far)].failed >= 1


def nobody_port(flows: dict[int, object], *others: int) -> int:
    (port,) = set(flows) - set(others)
    return port


async def test_a_reset_passes_through_both_ways(tmp_path: Path) -> None:
    vip, got = an_address(), asyncio.get_running_loop().create_future()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x")
        try:
            if await reader.read(1) == b"r":
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
        except ConnectionResetError as error:
            got.set_result(error)

    async with backend(waits, POD) as far, two_hosts(tmp_path) as (_, programmer, _two):
        await programmer.program(service("web", vip, PORT, [endpoint(POD, far, node="two")], tuning=ENCRYPTED))
        async with asyncio.timeout(DEADLINE):
            reader, writer = await asyncio.open_connection(vip, PORT)
            assert await reader.read(1) == b"x"
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            assert isinstance(await got, ConnectionResetError)
            reader, writer = await asyncio.open_connection(vip, PORT)
            writer.write(b"r")
            assert await reader.read(1) == b"x"
            with suppress(ConnectionResetError):
                assert await reader.read(1) == b""
            writer.close()


@pytest.mark.parametrize("wrong", ["another host's certificate", "a user's certificate", "not a pod of that host"])
async def test_nothing_goes_where_it_should_not(tmp_path: Path, wrong: str) -> None:
    """And nothing goes in plain instead."""
    vip, node = an_address(), "three" if wrong.startswith("another") else "two"
    async with backend(saying("far"), POD) as far, two_hosts(tmp_path, node) as (_, programmer, two):
        if wrong.startswith("a user"):
            user = pki.Request("two", (pki.ADMINS,), ("two",), ("mesh://user/two",), server=True, client=True)
            two.certify(user)
        if wrong.startswith("not"):
            two.allowed.write_text("127.0.0.99/32\n")
        ends = [endpoint(POD, far, node="two")]
        await programmer.program(service("web", vip, PORT, ends, tuning=ENCRYPTED))
        with pytest.raises(ConnectionResetError):
            await ask(vip, PORT)
        await programmer.program(service("web", vip, PORT, ends))
        assert await ask(vip, PORT) == b"far"  # not encrypted, it would have been reached


async def test_the_proxy_says_who_may_be_reached_from_outside(tmp_path: Path) -> None:
    async with proxy(tmp_path, "--tunnel", str(tmp_path / "tunnel.sock")) as (_, programmer):
        await programmer.host(pod_cidr="10.244.3.0/24", node_addresses=["192.0.2.7", "127.0.0.1"])
        file = tmp_path / "tunnel.sock.allowed"
        assert file.read_text().split() == ["10.244.3.0/24", "192.0.2.7/32"]
        assert file.stat().st_mode & 0o777 == 0o600


async def test_a_tunnel_bears_witness_to_its_host_and_serves_on(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(saying("far"), POD) as far, two_hosts(tmp_path) as (_, programmer, two):
        witness = Handshakes(lambda: test_pki().ca.certificate, two.port)
        async with asyncio.timeout(DEADLINE):
            while not await witness("two", two.ip):
                pass  # the first question makes a tunnel of what waits for one
        assert not await witness("one", two.ip)
        await programmer.program(service("web", vip, PORT, [endpoint(POD, far, node="two")], tuning=ENCRYPTED))
        assert await ask(vip, PORT) == b"far"


async def test_an_encrypted_connection_lives_through_an_upgrade_of_the_proxy(tmp_path: Path) -> None:
    vip, holder = an_address(), tmp_path / "hold.sock"
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "netproxy.hold", str(holder))
    try:
        await listening(holder)
        async with backend(echo, POD) as far, two_hosts(tmp_path, "two", "", "--holder", str(holder)) as (
            process, programmer, _two,
        ):  # fmt: skip
            await programmer.program(service("web", vip, PORT, [endpoint(POD, far, node="two")], tuning=ENCRYPTED))
            async with asyncio.timeout(DEADLINE):
                reader, writer = await asyncio.open_connection(vip, PORT)
                writer.write(b"before")
                assert await reader.readexactly(6) == b"before"
                await process.end()
                await process.start()
                writer.write(b"after")
                assert await reader.readexactly(5) == b"after"
                writer.close()
    finally:
        child.kill()
        await child.wait()
