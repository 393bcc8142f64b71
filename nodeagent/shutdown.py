"""Graceful shutdown of this host (L19): pods end by priority within the time there is, and no new ones are taken.

    <root>/run/shutdown        the order: {"seconds": 30, "critical": 10}; taken back by removing it
    <root>/run/shutdown.done   all pods have ended, or their time is over

Rule: the order is a file, so that an agent that is started again goes on with it; a reboot forgets it. Critical pods
end last, in the time that is kept for them; static pods end too and come back with the host.
"""

import asyncio
import json
import select
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from nodeagent.board import Board
from nodeagent.pods.stopping import SHORTEST_GRACE
from nodeagent.pods.worker import Worker
from nodeagent.runtime import syscalls
from nodeagent.wholefile import write_whole

log = structlog.get_logger()

CRITICAL = 2_000_000_000  # priorities from here on are of what a host needs
REASON, MESSAGE = "Terminated", "Pod was terminated in response to imminent node shutdown."
TROUBLE = "node is shutting down"
KILLED = 5.0  # seconds that what was killed may take to be gone
READ = 5.0  # seconds that the last news may take to be read
IN_DELETE = 0x200


@dataclass(frozen=True, slots=True)
class Order:
    """Seconds that all pods have together, and how many of them are kept for critical ones."""

    seconds: int
    critical: int

    @classmethod
    def read(cls, path: Path) -> "Order | None":
        """The order of a file, if there is one."""
        try:
            told = json.loads(path.read_text())
            return cls(int(told["seconds"]), min(int(told["critical"]), int(told["seconds"])))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.error("shutdown_order_unreadable", why=repr(error))
            return None


def carry_out(run_dir: Path, order: Order) -> bool:
    """Gives the order to this host's agent and waits until it is carried out; False when that took too long. Blocks."""
    watch = syscalls.Inotify()
    watch.add(run_dir, syscalls.IN_CLOSE_WRITE)
    until = time.monotonic() + order.seconds + 2 * KILLED + READ
    try:
        write_order(run_dir, order)
        while not done(run_dir).exists():
            left = until - time.monotonic()
            if left <= 0 or not select.select([watch.fd], [], [], left)[0]:
                return False
            watch.read()
    finally:
        watch.close()
    return True


def write_order(run_dir: Path, order: Order) -> None:
    """Gives the order to this host's agent."""
    done(run_dir).unlink(missing_ok=True)
    write_whole(path_of(run_dir), json.dumps({"seconds": order.seconds, "critical": order.critical}).encode())


def path_of(run_dir: Path) -> Path:
    """Where the order is."""
    return run_dir / "shutdown"


def done(run_dir: Path) -> Path:
    """What tells that it is carried out."""
    return run_dir / "shutdown.done"


class Shutdown:
    """Waits for the order and carries it out; `changed` is told when it comes or is taken back."""

    def __init__(
        self, run_dir: Path, workers: Mapping[str, Worker], board: Board, changed: Callable[[], None]
    ) -> None:  # fmt: skip
        self._run_dir = run_dir
        self._workers = workers
        self._board = board
        self._changed = changed
        self.closing = path_of(run_dir).exists()

    async def run(self) -> None:
        """For ever."""
        if not self._run_dir.is_dir():
            return  # a host of the mind
        watch = syscalls.Inotify()
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        watch.add(self._run_dir, syscalls.IN_MOVED_TO | IN_DELETE)

        def wake() -> None:
            watch.read()
            news.set()

        loop.add_reader(watch.fd, wake)
        try:
            while True:
                order = Order.read(path_of(self._run_dir))
                await self.take(order)
                await news.wait()
                news.clear()
        finally:
            loop.remove_reader(watch.fd)
            watch.close()

    async def take(self, order: Order | None) -> None:
        """Carries an order out, once; None takes it back for pods that come from now on."""
        if (order is not None) is not self.closing:
            self.closing = order is not None
            self._changed()
        for worker in self._workers.values():
            if worker.static:
                worker.halt(REASON, MESSAGE, order.seconds) if order else worker.resume()
        if order is None or done(self._run_dir).exists():
            return
        log.warning("host_shuts_down", seconds=order.seconds, critical=order.critical)
        mine = list(self._workers.values())
        regular = [w for w in mine if w.pod.spec.priority < CRITICAL]
        await _end(regular, order.seconds - order.critical)
        await _end([w for w in mine if w not in regular], order.critical)
        await self._board.told(READ)
        await asyncio.to_thread(done(self._run_dir).write_text, "")


async def _end(workers: list[Worker], seconds: int) -> None:
    """Ends pods; returns when nothing of them runs, or their time is over."""
    for worker in workers:
        worker.halt(REASON, MESSAGE, seconds)
    waits = [asyncio.ensure_future(worker.still.wait()) for worker in workers]
    if waits:
        _, late = await asyncio.wait(waits, timeout=max(seconds, SHORTEST_GRACE) + KILLED)
        for wait in late:
            wait.cancel()
