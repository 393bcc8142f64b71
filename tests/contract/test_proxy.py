"""The real proxy process and the agent's end of its socket, together."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mesh.v1.node_pb2 import Fence, ProxyHeld, ServiceTable
from nodeagent.proxy import Proxy

DEADLINE = 60.0


class Seen:
    """Every digest that the agent was told of, in order."""

    def __init__(self) -> None:
        self.digests: list[str] = []
        self.there = False
        self._news = asyncio.Event()

    def tell(self, held: ProxyHeld | None) -> None:
        digest = held.digest if held is not None else ""
        if not self.digests or self.digests[-1] != digest:
            self.digests.append(digest)
        self.there = held is not None
        self._news.set()

    async def connected(self) -> None:
        async with asyncio.timeout(DEADLINE):
            while not self.there:
                self._news.clear()
                await self._news.wait()

    async def until(self, digest: str) -> None:
        async with asyncio.timeout(DEADLINE):
            while not self.digests or self.digests[-1] != digest:
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def agent_end(socket: Path) -> AsyncIterator[tuple[Proxy, Seen]]:
    seen = Seen()
    proxy = Proxy(socket, seen.tell)
    task = asyncio.create_task(proxy.run())
    try:
        yield proxy, seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def process(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    args = ["-m", "netproxy", "--socket", str(folder / "p.sock"), "--last-table", str(folder / "last")]
    child = await asyncio.create_subprocess_exec(sys.executable, *args, stdout=asyncio.subprocess.DEVNULL)
    try:
        yield child
    finally:
        if child.returncode is None:
            child.terminate()
        async with asyncio.timeout(DEADLINE):
            await child.wait()


async def test_a_table_is_acknowledged_by_its_digest(tmp_path: Path) -> None:
    async with process(tmp_path), agent_end(tmp_path / "p.sock") as (proxy, seen):
        await seen.connected()
        proxy.program(ServiceTable(fence=Fence(revision=1), digest="one", last=True))
        await seen.until("one")
        proxy.program(ServiceTable(fence=Fence(revision=2), digest="two", last=True))
        await seen.until("two")
        assert (tmp_path / "p.sock").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "last").stat().st_mode & 0o777 == 0o600


async def test_a_killed_proxy_serves_its_last_table_at_once(tmp_path: Path) -> None:
    async with agent_end(tmp_path / "p.sock") as (proxy, seen):
        async with process(tmp_path) as child:
            await seen.connected()
            proxy.program(ServiceTable(fence=Fence(revision=7), digest="seven", last=True))
            await seen.until("seven")
            child.kill()
            await seen.until("")
        async with process(tmp_path), agent_end(tmp_path / "p.sock") as (_, fresh):
            await fresh.until("seven")  # told before anybody programs it
            assert fresh.digests == ["seven"]


async def test_an_older_table_is_refused_and_the_newer_stays(tmp_path: Path) -> None:
    async with process(tmp_path), agent_end(tmp_path / "p.sock") as (proxy, seen):
        await seen.connected()
        proxy.program(ServiceTable(fence=Fence(revision=5), digest="five", last=True))
        await seen.until("five")
        proxy.program(ServiceTable(fence=Fence(revision=4), digest="four", last=True))
        proxy.program(ServiceTable(fence=Fence(revision=6), digest="six", last=True))
        await seen.until("six")
    assert "four" not in seen.digests


async def test_a_damaged_last_table_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "last").write_bytes(b"\xff\xff\xff")
    async with process(tmp_path), agent_end(tmp_path / "p.sock") as (proxy, seen):
        await seen.connected()
        proxy.program(ServiceTable(fence=Fence(revision=1), digest="one", last=True))
        await seen.until("one")
    assert (tmp_path / "last.bad").exists()
