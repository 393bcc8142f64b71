"""A proxy takes the place of another: nothing that listens or is open notices; only kill -9 ends what is open."""

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
from pathlib import Path

import pytest

from netproxy.hold import receive, send
from tests.harness.holding import Holder, held_proxy
from tests.harness.proxying import (
    DEADLINE,
    PORT,
    an_address,
    ask,
    backend,
    echo,
    endpoint,
    saying,
    service,
)


async def test_connections_go_on_across_upgrades(tmp_path: Path) -> None:
    vip, size, body = an_address(), 4_000_000, os.urandom(1000)
    async with backend(echo) as a, held_proxy(tmp_path) as (process, programmer, _):
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", a)]))
        async with asyncio.timeout(DEADLINE * 3):
            talking = [await asyncio.open_connection(vip, PORT) for _ in range(120)]
            for _, writer in talking:
                writer.write(b"before")
            assert [await reader.readexactly(6) for reader, _ in talking] == [b"before"] * 120
            half, half_writer = talking[0]
            reader, writer = await asyncio.open_connection(vip, PORT)
            writer.write(body * (size // len(body)))
            writer.write_eof()
            for _ in range(2):
                await process.end()
                waiting = asyncio.create_task(ask(vip, PORT, b"in between"))
                await process.start()
                assert await waiting == b"in between"
            for _, each in talking:
                each.write(b"after")
                each.write_eof()
            assert [await reader_.read() for reader_, _ in talking] == [b"after"] * 120
            check = hashlib.sha256()
            while data := await reader.read(1 << 16):
                check.update(data)
            assert check.hexdigest() == hashlib.sha256(body * (size // len(body))).hexdigest()
            again = await process.connect()
            assert again.held.digest == "table-1"
            again.close()
            for _, each in [*talking, (half, half_writer), (reader, writer)]:
                each.close()


async def test_who_waits_is_served_though_the_service_had_nobody_before(tmp_path: Path) -> None:
    """A Service without pods refuses, so its listener is closed; that is over, and must not be done again."""
    vip = an_address()
    async with backend(echo) as a, held_proxy(tmp_path) as (process, programmer, _):
        ends = [endpoint("127.0.0.1", a)]
        held = await programmer.program(service("web", vip, PORT, ends))
        held = await programmer.program(service("web", vip, PORT, []), base=held.digest)
        await programmer.program(service("web", vip, PORT, ends), base=held.digest)
        await process.end()
        async with asyncio.timeout(DEADLINE):
            reader, writer = await asyncio.open_connection(vip, PORT)
            await process.start()
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
        writer.close()


async def test_connections_to_a_leaving_pod_are_counted_after_an_upgrade(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(echo) as a, backend(echo) as b, held_proxy(tmp_path) as (process, programmer, _):
        leaves = endpoint("127.0.0.1", a)
        held = await programmer.program(service("web", vip, PORT, [leaves]))
        reader, writer = await asyncio.open_connection(vip, PORT)
        writer.write(b"x")
        await reader.readexactly(1)
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", b)]), base=held.digest)
        await process.end()
        await process.start()
        again = await process.connect()
        assert dict(again.held.draining) == {leaves.pod_uid: 1}
        writer.close()
        await again.until(lambda held: not held.draining)
        again.close()


async def test_a_killed_proxy_ends_what_it_carried_and_new_connections_wait(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(echo) as a, held_proxy(tmp_path) as (process, programmer, _):
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", a)]))
        async with asyncio.timeout(DEADLINE):
            reader, writer = await asyncio.open_connection(vip, PORT)
            writer.write(b"x")
            assert await reader.read(1) == b"x"
            await process.end(9)
            waiting = [asyncio.create_task(ask(vip, PORT, b"wait")) for _ in range(20)]
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            await process.start()
            assert await asyncio.gather(*waiting) == [b"wait"] * 20


async def test_what_is_not_wanted_any_more_is_not_held(tmp_path: Path) -> None:
    one, two = an_address(), an_address()
    async with backend(saying("a")) as a, held_proxy(tmp_path) as (process, programmer, _):
        ends = [endpoint("127.0.0.1", a)]
        held = await programmer.program(service("one", one, PORT, ends), service("two", two, PORT, ends))
        await programmer.program(base=held.digest, gone=["default/one"])
        await process.end(9)
        with pytest.raises((ConnectionRefusedError, ConnectionResetError)):  # the holder may let it go at that moment
            await ask(one, PORT)
        waiting = asyncio.create_task(ask(two, PORT))
        await process.start()
        assert await waiting == b"a"


async def test_a_holder_that_is_gone_costs_nothing_and_a_new_one_gets_everything(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(echo) as a, held_proxy(tmp_path) as (process, programmer, holder):
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", a)]))
        reader, writer = await asyncio.open_connection(vip, PORT)
        await holder.kill()
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        writer.close()
        await holder.start()
        async with asyncio.timeout(DEADLINE):
            while holder.sockets() < 3:  # its own, the proxy's, the listener
                await programmer.flows()
        await process.end(9)
        waiting = asyncio.create_task(ask(vip, PORT, b"held"))
        await process.start()
        assert await waiting == b"held"


async def test_the_next_proxy_gets_all_that_was_left_however_late_the_holder_hears_of_it(tmp_path: Path) -> None:
    holder = Holder(tmp_path)
    await holder.start()
    try:
        before, after = (socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2))
        with before, after:
            holder.signal(signal.SIGSTOP)  # as on a host without processors to spare
            before.connect(str(holder.path))
            for number in range(5):
                send(before, {"do": "leave", "what": {"number": number}})
            before.close()
            after.settimeout(DEADLINE)
            after.connect(str(holder.path))
            send(after, {"do": "give"})
            holder.signal(signal.SIGCONT)
            assert [receive(after) for _ in range(6)] == [
                *(({"left": {"number": number}}, []) for number in range(5)), ({"done": True}, [])
            ]  # fmt: skip
    finally:
        await holder.kill()
