"""TCP through the real proxy: what a client and a backend see of each other."""

import asyncio
import hashlib
import os
import socket
import struct
from pathlib import Path

from mesh.v1.node_pb2 import ProxyPort, ProxyTuning
from tests.harness.proxying import (
    DEADLINE,
    PORT,
    Serve,
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


async def test_half_close_reaches_the_other_side_both_ways(tmp_path: Path) -> None:
    vip = an_address()
    heard = asyncio.get_running_loop().create_future()

    async def greets_then_listens(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.write_eof()
        heard.set_result(await reader.read())

    async with backend(greets_then_listens) as port, proxy(tmp_path) as (_, programmer):
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", port)]))
        async with asyncio.timeout(DEADLINE):
            reader, writer = await asyncio.open_connection(vip, PORT)
            assert await reader.read() == b"hello"
            writer.write(b"still here")
            writer.write_eof()
            assert await heard == b"still here"
            writer.close()


async def test_a_reset_reaches_the_other_side_as_a_reset(tmp_path: Path) -> None:
    vip = an_address()
    got = asyncio.get_running_loop().create_future()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x")
        try:
            got.set_result(await reader.read())
        except ConnectionResetError as error:
            got.set_result(error)

    async with backend(waits) as port, proxy(tmp_path) as (_, programmer):
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", port)]))
        async with asyncio.timeout(DEADLINE):
            reader, writer = await asyncio.open_connection(vip, PORT)
            assert await reader.read(1) == b"x"
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            assert isinstance(await got, ConnectionResetError)


async def test_a_reader_that_does_not_read_stops_the_writer(tmp_path: Path) -> None:
    """Back-pressure: the proxy takes in no more than the kernel's buffers and its own one read."""
    vip, sent = an_address(), 0
    body = os.urandom(1 << 16)

    async def pours(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.transport.set_write_buffer_limits(0)
        for _ in range(1024):
            writer.write(body)
            await writer.drain()
            sent += len(body)

    async with backend(pours) as port, proxy(tmp_path) as (process, programmer):
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", port)]))
        async with asyncio.timeout(DEADLINE):
            loop = asyncio.get_running_loop()
            with socket.socket() as client:
                client.setblocking(False)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                await loop.sock_connect(client, (vip, PORT))
                before = -1
                while sent != before or not sent:
                    before = sent
                    await programmer.flows()
                    await programmer.flows()
                memory = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096
                assert sent < 1024 * len(body)
                check, size = hashlib.sha256(), 0
                while data := await loop.sock_recv(client, 1 << 18):
                    check.update(data)
                    size += len(data)
    assert size == 1024 * len(body)
    assert check.hexdigest() == hashlib.sha256(body * 1024).hexdigest()
    assert memory < 200 << 20


async def test_a_changed_table_cuts_no_connection_and_blinks_no_listener(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(echo) as a, backend(echo) as b, proxy(tmp_path) as (_, programmer):
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", a)]))
        async with asyncio.timeout(DEADLINE):
            reader, writer = await asyncio.open_connection(vip, PORT)
            for _ in range(20):
                await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", b)]))
                assert await ask(vip, PORT, b"x") == b"x"
            writer.write(b"still the first")
            assert await reader.readexactly(15) == b"still the first"
            writer.close()


async def test_connections_to_a_pod_that_leaves_are_told_until_the_last_ends(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(echo) as a, backend(echo) as b, proxy(tmp_path) as (_, programmer):
        leaves = endpoint("127.0.0.1", a)
        await programmer.program(service("web", vip, PORT, [leaves]))
        reader, writer = await asyncio.open_connection(vip, PORT)
        writer.write(b"x")
        await reader.readexactly(1)
        held = await programmer.program(
            service("web", vip, PORT, [endpoint("127.0.0.1", a, terminating=True), endpoint("127.0.0.1", b)])
        )
        assert dict(held.draining) == {leaves.pod_uid: 1}
        writer.close()
        held = await programmer.until(lambda held: not held.draining)
        assert held.digest == "table-2"


async def test_a_killed_proxy_serves_its_last_table_alone(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(saying("a")) as a, backend(saying("b")) as b, proxy(tmp_path) as (process, programmer):
        one = service("one", vip, PORT, [endpoint("127.0.0.1", a)])
        held = await programmer.program(one)
        await programmer.program(service("two", vip, PORT + 1, [endpoint("127.0.0.1", b)]), base=held.digest)
        await process.end(9)
        await process.start()
        assert (await ask(vip, PORT), await ask(vip, PORT + 1)) == (b"a", b"b")
        again = await process.connect()
        assert again.held.digest == "table-2"
        again.close()


async def test_http_changes_its_backend_between_requests_and_never_within_one(tmp_path: Path) -> None:
    """While a pod leaves: an idle connection lets go of it at once, one in the midst of a request when that is over."""
    vip, go = an_address(), asyncio.Event()

    def serving(name: bytes) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readuntil(b"\r\n\r\n"):
                body = name * 3
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + body[:1])
                if b"/slow" in line:
                    await go.wait()
                writer.write(body[1:])

        return serve

    async def request(ends: tuple[asyncio.StreamReader, asyncio.StreamWriter], path: bytes) -> bytes:
        ends[1].write(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        await ends[0].readuntil(b"\r\n\r\n")
        return await ends[0].readexactly(3)

    async with backend(serving(b"a")) as a, backend(serving(b"b")) as b, proxy(tmp_path) as (_, programmer):
        ports = [ProxyPort(protocol="TCP", port=PORT, app_protocol="http")]
        one, two = endpoint("127.0.0.1", a), endpoint("127.0.0.1", b)
        await programmer.program(service("web", vip, PORT, [one], ports=ports))
        async with asyncio.timeout(DEADLINE):
            idle, busy = [await asyncio.open_connection(vip, PORT) for _ in range(2)]
            assert [await request(ends, b"/") for ends in (idle, busy)] == [b"aaa", b"aaa"]
            slow = asyncio.create_task(request(busy, b"/slow"))
            while (await programmer.flows(connections=True)).services[0].backends[0].bytes_out < 3 * 41 - 2:
                pass
            gone = endpoint("127.0.0.1", a, terminating=True)
            held = await programmer.program(service("web", vip, PORT, [gone, two], ports=ports))
            assert held.draining[one.pod_uid] == 1  # the one in the midst of a request
            assert await request(idle, b"/") == b"bbb"
            go.set()
            assert await slow == b"aaa"
            await programmer.until(lambda held: not held.draining)
            assert await request(busy, b"/") == b"bbb"
            assert await request(idle, b"/") == b"bbb"
            for _, writer in (idle, busy):
                writer.close()


async def test_a_silent_connection_is_closed_and_one_that_speaks_is_not(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(echo) as a, proxy(tmp_path) as (_, programmer):
        tuning = ProxyTuning(idle_timeout_seconds=3)
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", a)], tuning=tuning))
        async with asyncio.timeout(DEADLINE):
            silent, silent_writer = await asyncio.open_connection(vip, PORT)
            speaking, speaking_writer = await asyncio.open_connection(vip, PORT)
            silent_writer.write(b"x")
            assert await silent.readexactly(1) == b"x"
            over = asyncio.create_task(silent.read())
            while not over.done():
                speaking_writer.write(b"y")
                assert await speaking.readexactly(1) == b"y"
            assert await over == b""
            speaking_writer.write(b"z")
            assert await speaking.readexactly(1) == b"z"
            assert await speaking.read() == b""  # once it says nothing any more
            for writer in (silent_writer, speaking_writer):
                writer.close()


async def test_it_says_whether_it_does_its_work(tmp_path: Path) -> None:
    number = a_port()
    async with proxy(tmp_path, "--healthz", f"127.0.0.1:{number}") as (_, programmer):

        async def status(path: bytes) -> bytes:
            return (await ask("127.0.0.1", number, b"GET " + path + b" HTTP/1.1\r\n\r\n"))[9:12]

        async with asyncio.timeout(DEADLINE):
            assert await status(b"/healthz") == b"503"  # there is no table yet
            await programmer.program(service("web", an_address(), PORT, []))
            assert await status(b"/healthz") == b"200"
            await programmer.host(leaving=True)
            assert [await status(p) for p in (b"/healthz", b"/livez")] == [b"503", b"200"]
