"""The store on a disk: one SQLite file, one writing thread with group commit, one reading thread.

Rule: nothing here blocks the event loop, and a commit returns only after its transaction is on the disk. While one
transaction is under way, commits gather for the next one.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from mesh.errors import Unavailable
from mesh.store.backup import backup, locked, restore
from mesh.store.database import explained, open_database, open_reader, unavailable
from mesh.store.encrypted import EncryptedCodec
from mesh.store.history import History, Retention
from mesh.store.ledger import Committed, Ledger, Rows
from mesh.store.mark import Mark
from mesh.store.port import Codec, Event, Snapshot, Write
from mesh.store.reading import read_since, read_snapshot

__all__ = ["Retention", "SqliteStore", "restore"]

T = TypeVar("T")

_TOGETHER = 256  # commits in one transaction at most
_RECENT = 2048  # events at hand, so that whoever keeps up reads no file


@dataclass(frozen=True, slots=True)
class _Job:
    writes: Sequence[Write]
    done: "asyncio.Future[int]"


class SqliteStore:
    """See Store; made by `open`, and used on the event loop that opened it."""

    def __init__(self, path: Path, codec: Codec, threads: "_Threads") -> None:
        self._path = path
        self._codec = codec
        self._threads = threads
        self._newest = Mark(threads.ledger.revision)
        self._recent = History(threads.ledger.revision, _RECENT)
        self._waiting: list[_Job] = []
        self._writing: asyncio.Future[Committed] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    @classmethod
    async def open(cls, path: Path, codec: Codec, retention: Retention | None = None) -> "SqliteStore":
        """Opens the file, making it when there is none; checks it whole and holds it alone.

        Raises:
            Unavailable: another meshd has it open; or it is damaged, too new or unreadable, with what to do.
        """
        opening = asyncio.ensure_future(asyncio.to_thread(_Threads, path, codec, retention))
        try:
            threads = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_give_up)
            raise
        return cls(path, codec, threads)

    async def commit(self, writes: Sequence[Write]) -> int:
        """See Store; a caller that is cancelled meanwhile does not know whether it went through."""
        self._check_open()
        job = _Job(writes, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self._write()
        return await job.done

    async def snapshot(self) -> Snapshot:
        """See Store."""
        return await self._read(lambda reader: read_snapshot(reader, self._codec))

    async def since(self, revision: int, limit: int = 1000) -> Sequence[Event]:
        """See Store."""
        self._check_open()
        if revision >= self._recent.compacted:
            return self._recent.since(revision, limit)
        return await self._read(lambda reader: read_since(reader, self._codec, revision, limit))

    async def wait(self, revision: int) -> int:
        """See Store."""
        return await self._newest.reached(revision + 1)

    async def compact(self, revision: int) -> None:
        """See Store."""
        self._check_open()
        await self._on(self._threads.writing, lambda: self._threads.ledger.compact(revision))
        self._recent.compact(min(revision, self._newest.value))

    async def backup(self, path: Path) -> None:
        """Writes a copy of the store as of now to `path`, in one file, mode 0600; commits go on meanwhile.

        Raises:
            Invalid: `path` can't be a backup's.
            Unavailable: it can't be written; nothing is left behind then.
        """
        self._check_open()
        await asyncio.to_thread(backup, self._path, path)

    async def rewrap(self) -> AsyncGenerator[int, None]:
        """Wraps whatever has another key than the first of the codec's keys, piece by piece, between commits; yields
        how many boxes so far. Raises Unavailable for a box that can't be opened."""
        codec = self._codec
        if not isinstance(codec, EncryptedCodec):
            return
        ledger, total, after = self._threads.ledger, 0, Rows()
        # What is newer has the first key, but for what history says was there before: hence first all objects, and then
        # all of history until then.
        for objects_alone in (True, False):
            newest = await self._on(self._threads.writing, ledger.newest_rows)
            until = Rows(newest.objects, 0) if objects_alone else Rows(after.objects, newest.history)
            while after != until:
                self._check_open()
                count, after = await self._on(self._threads.writing, partial(ledger.rewrap, codec, after, until))
                total += count
                yield total

    async def close(self) -> None:
        """See Store."""
        if self._closed:
            return
        self._closed = True
        self._newest.close(_closed(self._path))
        await self._idle.wait()
        await asyncio.to_thread(self._threads.close)

    def _write(self) -> None:
        """Begins the next transaction with all that wait, unless one is under way."""
        if self._writing is not None or not self._waiting:
            return
        jobs, self._waiting = self._waiting[:_TOGETHER], self._waiting[_TOGETHER:]
        self._idle.clear()
        commits = [job.writes for job in jobs]
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(self._threads.writing, self._threads.ledger.commit, commits)
        self._writing.add_done_callback(lambda done: self._written(jobs, done))

    def _written(self, jobs: Sequence[_Job], done: "asyncio.Future[Committed]") -> None:
        self._writing = None
        error = done.exception()
        if error is None:
            self._tell(jobs, done.result())
        for job in jobs:
            if not job.done.done() and error is not None:
                job.done.set_exception(unavailable(self._path, error) if isinstance(error, sqlite3.Error) else error)
        self._write()
        if self._writing is None:
            self._idle.set()

    def _tell(self, jobs: Sequence[_Job], committed: Committed) -> None:
        if committed.before != self._newest.value:  # a transaction that seemed to fail is there after all
            self._recent = History(committed.before, _RECENT)
        self._recent.add(committed.events)
        for job, result in zip(jobs, committed.results, strict=True):
            if job.done.done():
                continue  # its caller is gone
            if isinstance(result, int):
                job.done.set_result(result)
            else:
                job.done.set_exception(result)
        self._newest.advance(committed.after)

    async def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        self._check_open()
        return await self._on(self._threads.reading, lambda: read(self._threads.reader))

    async def _on(self, thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        def run() -> T:
            with explained(self._path):
                return work()

        return await asyncio.get_running_loop().run_in_executor(thread, run)

    def _check_open(self) -> None:
        if self._closed:
            raise _closed(self._path)


class _Threads:
    """The lock, the two connections and the thread of each; made and closed by a thread, for both block."""

    def __init__(self, path: Path, codec: Codec, retention: Retention | None) -> None:
        with ExitStack() as stack:
            stack.enter_context(locked(path))
            writer = stack.enter_context(closing(open_database(path)))
            self.reader = stack.enter_context(closing(open_reader(path)))
            with explained(path):
                self.ledger = Ledger(writer, codec, retention)
            self.writing = stack.enter_context(ThreadPoolExecutor(1, "store-writer"))
            self.reading = stack.enter_context(ThreadPoolExecutor(1, "store-reader"))
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Waits for what the threads do, closes the connections, lets go of the lock, in this order."""
        self._stack.close()


def _give_up(opened: "asyncio.Future[_Threads]") -> None:
    if not opened.cancelled() and opened.exception() is None:
        opened.result().close()


def _closed(path: Path) -> Unavailable:
    return Unavailable(f"cannot use store {path}: it is closed")
