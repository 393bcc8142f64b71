"""Commits and retention on an open store file; everything here blocks.

Rule: waiting commits share one transaction, each in a savepoint of its own: one that fails leaves no trace and takes
no revision, and none is acknowledged before the transaction is on the disk.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

from mesh.model.keys import Key
from mesh.store.database import pragma, read_meta, transaction, write_meta
from mesh.store.expect import check_commit, check_write
from mesh.store.history import Retention
from mesh.store.port import Codec, Event, Write
from mesh.store.reading import stored_event

_STEP = 500  # new events between two looks at what may be forgotten
_PIECE = 2000  # events one clean-up forgets, about: it shares its transaction with commits that wait
_FREE, _VACUUM = 4096, 1024  # pages: free ones worth giving back, and how many at a time


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of commits that share a transaction.

    The newest revision before and after; for each commit its own one, or why it was refused; all events.
    """

    before: int
    after: int
    results: list[int | Exception]
    events: list[Event]


class Rewrapping(Protocol):
    """A codec whose boxes can be wrapped anew."""

    def rewrapped(self, key: Key, value: bytes, revision: int) -> bytes | None:
        """The same value under the first key; None when it is."""
        ...


@dataclass(frozen=True, slots=True)
class Rows:
    """A place in the tables: the last row of each that was dealt with."""

    objects: int = 0
    history: int = 0


class Ledger:
    """The writing connection's side; `revision` is the newest one that is on the disk."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        codec: Codec,
        retention: Retention | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._connection = connection
        self._codec = codec
        self._retention = retention or Retention()
        self._clock = clock
        self._told: list[Event] = []
        self._unsure = False  # whether a transaction that failed left this and the file apart
        self._new = _STEP  # events since the last look, rolled back ones included
        self._load()

    def commit(self, commits: Sequence[Sequence[Write]]) -> Committed:
        """Stores what is not refused; raises sqlite3.Error, or a bug's error, when none of them is stored."""
        now = int(self._clock())
        self._told = []
        with self._transaction():
            before = self.revision
            results = [self._commit_one(writes, now) for writes in commits]
            if self.revision != before:
                write_meta(self._connection, "revision", self.revision)
                self._retain(now)
        self._give_back()
        return Committed(before, self.revision, results, self._told)

    def compact(self, revision: int) -> None:
        """Forgets events up to and including `revision`."""
        with self._transaction():
            self._forget(min(revision, self.revision))

    def newest_rows(self) -> "Rows":
        """The last rows of objects and history, as of now."""
        objects, history = self._connection.execute(
            "SELECT (SELECT ifnull(max(rowid), 0) FROM objects), (SELECT ifnull(max(id), 0) FROM history)"
        ).fetchone()
        return Rows(objects, history)

    def rewrap(self, codec: "Rewrapping", after: "Rows", until: "Rows") -> tuple[int, "Rows"]:
        """Wraps the data keys of the next boxes with the codec's first key, in one transaction; revisions stay. Of the
        rows after those that an earlier call ended at, up to `until`; returns how many boxes, and where it ended."""
        with self._transaction():
            rows = self._connection.execute(
                "SELECT rowid, kind, namespace, name, revision, value FROM objects "
                "WHERE rowid > ? AND rowid <= ? ORDER BY rowid LIMIT ?", (after.objects, until.objects, _PIECE // 10),
            ).fetchall()  # fmt: skip
            if rows:
                return self._rewrap_objects(codec, rows), Rows(rows[-1][0], after.history)
            events = self._connection.execute(
                "SELECT id, kind, namespace, name, revision, value, previous_revision, previous FROM history "
                "WHERE id > ? AND id <= ? ORDER BY id LIMIT ?", (after.history, until.history, _PIECE // 10),
            ).fetchall()  # fmt: skip
            if events:
                return self._rewrap_history(codec, events), Rows(until.objects, events[-1][0])
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return 0, until

    def _rewrap_objects(self, codec: "Rewrapping", rows: Sequence[tuple[Any, ...]]) -> int:
        count = 0
        for row in rows:
            if (value := codec.rewrapped(Key(*row[1:4]), row[5], row[4])) is not None:
                self._connection.execute("UPDATE objects SET value = ? WHERE rowid = ?", (value, row[0]))
                count += 1
        return count

    def _rewrap_history(self, codec: "Rewrapping", events: Sequence[tuple[Any, ...]]) -> int:
        count = 0
        for number, kind, namespace, name, revision, value, before, previous in events:
            key = Key(kind, namespace, name)
            now = codec.rewrapped(key, value, revision) if value is not None else None
            was = codec.rewrapped(key, previous, before) if previous is not None else None
            if now is not None or was is not None:
                changed = (now or value, was or previous, number)
                self._connection.execute("UPDATE history SET value = ?, previous = ? WHERE id = ?", changed)
                count += 1
        return count

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._unsure:
            self._load()
        self._unsure = True
        with transaction(self._connection):
            yield
        self._unsure = False

    def _load(self) -> None:
        self.revision = read_meta(self._connection, "revision")
        self._compacted = read_meta(self._connection, "compacted")
        held = self._connection.execute("SELECT count(*), ifnull(sum(size), 0) FROM history")
        self._events, self._bytes = held.fetchone()
        self._unsure = False

    def _commit_one(self, writes: Sequence[Write], now: int) -> int | Exception:
        if not writes:
            return self.revision
        events, size, told = self._events, self._bytes, len(self._told)
        self._connection.execute("SAVEPOINT one")
        try:
            check_commit(writes)
            for write in writes:
                self._write(write, self.revision + 1, now)
        except sqlite3.Error:
            raise  # the disk's fault: nobody's commit goes through
        except Exception as error:  # noqa: BLE001 - handed to the one whose commit it is
            self._connection.execute("ROLLBACK TO one")
            self._connection.execute("RELEASE one")
            self._events, self._bytes = events, size
            del self._told[told:]
            return error
        self._connection.execute("RELEASE one")
        self.revision += 1
        return self.revision

    def _write(self, write: Write, revision: int, now: int) -> None:
        key = write.key
        row = self._connection.execute(
            "SELECT revision, value FROM objects WHERE kind = ? AND namespace = ? AND name = ?", key
        ).fetchone()
        before, previous = row or (None, None)
        check_write(write, before)
        value = None if write.object is None else self._codec.encode(key, write.object, revision)
        if value is None:
            self._connection.execute("DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?", key)
        else:
            self._connection.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)", (*key, revision, value))
        size = len(value or b"") + len(previous or b"")
        self._connection.execute(
            "INSERT INTO history VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (revision, now, *key, value, previous, before, size),
        )
        self._told.append(stored_event(self._codec, key, (revision, value), (before, previous)))
        self._events += 1
        self._new += 1
        self._bytes += size

    def _retain(self, now: int) -> None:
        """Forgets what is neither among the newest nor young, and more when a ceiling is passed; a piece at a time."""
        keep = self._retention
        if self._events > keep.ceiling or self._bytes > keep.bytes:
            self._forget(self._ceiling())
        if self._new < _STEP or self._events <= keep.events:
            return
        self._new = 0
        piece = min(self._events - keep.events, _PIECE)
        beyond = self._first("SELECT revision FROM history ORDER BY id LIMIT 1 OFFSET ?", piece)
        young = self._first("SELECT revision FROM history WHERE at > ? ORDER BY id LIMIT 1", now - keep.seconds)
        self._forget(min(beyond, young) - 1)

    def _ceiling(self) -> int:
        """The revision up to which history must go to fit again with some room; never the newest one."""
        events, size, last = self._events, self._bytes, self.revision
        for revision, length in self._connection.execute(
            "SELECT revision, size FROM history ORDER BY id LIMIT ?", (_PIECE,)
        ):
            last = revision
            if events <= self._retention.ceiling * 9 // 10 and size <= self._retention.bytes * 9 // 10:
                break
            events -= 1
            size -= length
        return min(last, self.revision) - 1

    def _first(self, select: str, value: int) -> int:
        """The revision that the statement finds, or the one after the newest."""
        row = self._connection.execute(select, (value,)).fetchone()
        return int(row[0]) if row else self.revision + 1

    def _forget(self, revision: int) -> None:
        if revision <= self._compacted:
            return
        gone = self._connection.execute(
            "SELECT count(*), ifnull(sum(size), 0) FROM history WHERE revision <= ?", (revision,)
        )
        events, size = gone.fetchone()
        self._connection.execute("DELETE FROM history WHERE revision <= ?", (revision,))
        write_meta(self._connection, "compacted", revision)
        self._compacted = revision
        self._events -= events
        self._bytes -= size

    def _give_back(self) -> None:
        """Shortens the file by a piece when a good part of it is free; free pages are used again anyway."""
        with suppress(sqlite3.Error):  # what is committed is committed; the next clean-up tries again
            free = pragma(self._connection, "freelist_count")
            if free > _FREE and free > pragma(self._connection, "page_count") // 4:
                # `execute` would stop after the first page, for this statement has rows without columns.
                self._connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM})")
