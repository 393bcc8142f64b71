"""A proxy with several processes: whichever has a connection, nothing looks different."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from mesh.v1.node_pb2 import ProxyHeld
from tests.harness.holding import held_proxy
from tests.harness.proxying import (
    DEADLINE,
    PORT,
    Programmer,
    ProxyProcess,
    an_address,
    ask,
    backend,
    echo,
    endpoint,
    service,
)

WORKERS = 3


def hands_of(pid: int) -> list[int]:
    """The other processes of a proxy."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@asynccontextmanager
async def working(folder: Path) -> AsyncIterator[tuple[ProxyProcess, Programmer]]:
    """A proxy of three processes."""
    async with held_proxy(folder) as (process, programmer, _):
        await programmer.host(workers=WORKERS)
        yield process, programmer


@asynccontextmanager
async def stopped(*pids: int) -> AsyncIterator[None]:
    """These processes do nothing meanwhile."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


async def a_connection(process: ProxyProcess, vip: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """One that a hand carries: the proxy itself can't take it."""
    async with stopped(process.pid):
        reader, writer = await asyncio.open_connection(vip, PORT)
        await says(reader, writer, b"hello")
    return reader, writer


async def says(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> None:
    async with asyncio.timeout(DEADLINE):
        writer.write(text)
        assert await reader.readexactly(len(text)) == text


async def test_every_process_takes_connections_and_figures_are_sums(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(echo) as a, working(tmp_path) as (process, programmer):
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", a)]))
        pids = [process.pid, *hands_of(process.pid)]
        assert len(pids) == WORKERS
        for pid in pids:
            async with stopped(*set(pids) - {pid}):
                assert await ask(vip, PORT, b"12345") == b"12345"
        async with asyncio.timeout(DEADLINE):
            while (flows := await programmer.flows()).services[0].backends[0].open:
                pass  # a client sees the end before it is counted
        assert flows.workers == WORKERS
        (told,) = flows.services[0].backends
        assert (told.total, told.open, told.bytes_in, told.bytes_out) == (WORKERS, 0, 5 * WORKERS, 5 * WORKERS)
        assert sum(told.latency) == WORKERS


async def test_an_order_is_acknowledged_when_all_have_carried_it_out_and_leaving_pods_are_told_of_all(
    tmp_path: Path,
) -> None:
    vip = an_address()
    async with backend(echo) as a, backend(echo) as b, working(tmp_path) as (process, programmer):
        leaves = endpoint("127.0.0.1", a)
        await programmer.program(service("web", vip, PORT, [leaves]))
        reader, writer = await a_connection(process, vip)
        held: ProxyHeld = await programmer.program(
            service("web", vip, PORT, [endpoint("127.0.0.1", a, terminating=True), endpoint("127.0.0.1", b)])
        )
        assert held.digest == "table-2"
        assert dict(held.draining) == {leaves.pod_uid: 1}
        _, new_writer = await a_connection(process, vip)
        told = {back.port: back.open for back in (await programmer.flows()).services[0].backends}
        assert told == {a: 1, b: 1}
        await says(reader, writer, b"still the first")
        writer.close()
        await programmer.until(lambda held: not held.draining)
        await programmer.program()
        async with stopped(process.pid):
            try:
                await ask(vip, PORT)
                raise AssertionError("nobody should listen")
            except ConnectionRefusedError:
                pass
        new_writer.close()


async def test_what_a_hand_carries_lives_through_an_upgrade_and_a_kill_of_the_proxy(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(echo) as a, working(tmp_path) as (process, programmer):
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", a)]))
        reader, writer = await a_connection(process, vip)
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
            hands = hands_of(process.pid)
            await process.end(number)
            async with asyncio.timeout(DEADLINE):
                while any(Path(f"/proc/{pid}/fd").exists() and alive(pid) for pid in hands):
                    await asyncio.to_thread(os.sched_yield)
            await process.start()
            await says(reader, writer, b"on and on")
            assert len(hands_of(process.pid)) == WORKERS - 1  # its last host's side says how many
        assert await ask(vip, PORT, b"new") == b"new"
        writer.close()


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


async def test_a_killed_hand_takes_its_own_connections_along_and_is_replaced(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(echo) as a, working(tmp_path) as (process, programmer):
        await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", a)]))
        one, other = hands_of(process.pid)
        async with stopped(one, other):
            reader, writer = await asyncio.open_connection(vip, PORT)
            await says(reader, writer, b"the proxy's own")
        os.kill(one, signal.SIGKILL)
        async with asyncio.timeout(DEADLINE):
            while (await programmer.flows()).workers == WORKERS and one in hands_of(process.pid):
                pass
            assert [await ask(vip, PORT, b"x") for _ in range(20)] == [b"x"] * 20
            await says(reader, writer, b"still there")
            while (await programmer.flows()).workers < WORKERS:
                pass
            (fresh,) = set(hands_of(process.pid)) - {one, other}
            async with stopped(process.pid, other):
                assert await ask(vip, PORT, b"it knows all") == b"it knows all"
        assert fresh
        writer.close()


async def test_a_hand_that_does_not_answer_is_killed_and_the_order_acknowledged(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(echo) as a, working(tmp_path) as (process, programmer):
        async with stopped(hands_of(process.pid)[0]):
            held = await programmer.program(service("web", vip, PORT, [endpoint("127.0.0.1", a)]))
        assert held.digest == "table-1"
        assert [await ask(vip, PORT, b"x") for _ in range(20)] == [b"x"] * 20


async def test_what_one_process_must_know_of_all_stays_with_the_proxy(tmp_path: Path) -> None:
    vip = an_address()
    async with backend(echo) as a, working(tmp_path) as (process, programmer):
        ends = [endpoint("127.0.0.1", a)]
        await programmer.program(service("web", vip, PORT, ends))
        await programmer.program(service("web", vip, PORT, ends, affinity_seconds=60))
        async with stopped(*hands_of(process.pid)):
            assert [await ask(vip, PORT, b"x") for _ in range(5)] == [b"x"] * 5
        await programmer.program(service("web", vip, PORT, ends))
        async with stopped(process.pid):
            assert await ask(vip, PORT, b"shared again") == b"shared again"
