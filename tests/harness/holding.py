"""A proxy whose sockets another program keeps, as on a host."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.harness.proxying import DEADLINE, Programmer, ProxyProcess, proxy


class Holder:
    """The program that keeps sockets."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "hold.sock"
        self._child: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._child = await asyncio.create_subprocess_exec(sys.executable, "-m", "netproxy.hold", str(self.path))
        await listening(self.path)

    def sockets(self) -> int:
        """How many it has open."""
        assert self._child is not None
        return sum(1 for link in Path(f"/proc/{self._child.pid}/fd").iterdir() if _leads_to(link).startswith("socket:"))

    def signal(self, number: int) -> None:
        assert self._child is not None
        self._child.send_signal(number)

    async def kill(self) -> None:
        assert self._child is not None
        if self._child.returncode is None:
            self._child.kill()
        await self._child.wait()
        self.path.unlink(missing_ok=True)


async def listening(path: Path) -> None:
    """Returns when somebody listens there: its name is there before, and a proxy that is refused comes again only a
    second later."""
    async with asyncio.timeout(DEADLINE):
        while not any(_listens(line.split(), path) for line in Path("/proc/net/unix").read_text().splitlines()):
            await asyncio.to_thread(os.sched_yield)


def _listens(words: list[str], path: Path) -> bool:
    return words[3] == "00010000" and words[-1] == str(path)


def _leads_to(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # closed since it was listed
        return ""


@asynccontextmanager
async def held_proxy(folder: Path) -> AsyncIterator[tuple[ProxyProcess, Programmer, Holder]]:
    holder = Holder(folder)
    await holder.start()
    try:
        async with proxy(folder, "--holder", str(holder.path)) as (process, programmer):
            yield process, programmer, holder
    finally:
        await holder.kill()
