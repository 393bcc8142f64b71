"""Backup of a store that is in use, and restore of one that is not.

Rule: a file takes its name only when it is whole, checked and on the disk; what a restore replaces is kept beside it.
A backup holds Secrets as the store does, encrypted: without the key file they can't be read.
"""

import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from mesh.errors import Invalid, NotFound, Unavailable
from mesh.files import sync_directory
from mesh.store.database import (
    check,
    connect,
    explained,
    log_of,
    private_file,
    read_meta,
    sync_file,
    transaction,
    write_meta,
)

# A restored store goes on far beyond any revision that the lost one may have given out after the backup, so that no
# watcher, host or compare-and-set takes new revisions for old ones.
LEAP = 1_000_000


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds the store's file alone; raises Unavailable at once when another program does. Ends with the process too."""
    # Not on the file itself: closing any descriptor of it would drop SQLite's own locks.
    lock = path.with_name(path.name + ".lock")
    with explained(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"cannot use store {path}: another meshd has it open; stop that one first") from None
        yield
    finally:
        os.close(file)


def backup(store: Path, target: Path) -> None:
    """Copies the store as of now into one file, mode 0600, while it is written to; replaces an older file there.

    Raises:
        Invalid: the target is the store itself, or its directory is missing.
        Unavailable: it can't be written; nothing is left behind then.
    """
    if not target.parent.is_dir():
        raise Invalid(f"cannot write backup {target}: there is no directory {target.parent}")
    if target.exists() and target.samefile(store):
        raise Invalid(f"cannot write backup {target}: that is the store itself")
    with explained(target):
        fresh = private_file(target)
        try:
            with closing(connect(store)) as source, closing(connect(fresh)) as copy:
                source.backup(copy)  # in one read transaction, which no writer waits for
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
                check(copy, fresh)
            _put(fresh, target)
        finally:
            fresh.unlink(missing_ok=True)


def restore(backup: Path, target: Path) -> Path | None:
    """Replaces the store by a checked copy of the backup; returns where the old file is kept, None if there was none.

    The revision leaps ahead and the history is empty, so that everyone who follows lists anew.

    Raises:
        NotFound: there is no such backup.
        Unavailable: the backup is damaged, or a meshd has the store open; the store is as it was then.
    """
    if not backup.is_file():
        raise NotFound(f"cannot restore {backup}: there is no such file")
    with locked(target), explained(target):
        fresh = private_file(target)
        try:
            shutil.copyfile(backup, fresh)
            _leap(fresh, backup, _settled(target))
            return replace(fresh, target)
        finally:
            fresh.unlink(missing_ok=True)


def replace(fresh: Path, target: Path) -> Path | None:
    """Puts a whole new store in the place of the one that is `locked`; returns where that is kept, None if there was
    none."""
    _settled(target)
    kept = _keep(target)
    _put(fresh, target)
    return kept


def put_backup(fresh: Path, target: Path) -> None:
    """Gives a whole new file the name of a backup; see `backup` for what it raises."""
    if not target.parent.is_dir():
        raise Invalid(f"cannot write backup {target}: there is no directory {target.parent}")
    with explained(target):
        _put(fresh, target)


def _leap(fresh: Path, backup: Path, passed: int) -> None:
    with explained(backup), closing(connect(fresh)) as copy:
        check(copy, backup)
        with transaction(copy):
            revision = max(read_meta(copy, "revision"), passed) + LEAP
            copy.execute("DELETE FROM history")
            write_meta(copy, "revision", revision)
            write_meta(copy, "compacted", revision)


def _settled(target: Path) -> int:
    """Moves the old store's log into it, so that it is one file; returns its revision, 0 when it can't be read."""
    if target.exists():
        with suppress(sqlite3.Error), closing(connect(target)) as old:
            old.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return read_meta(old, "revision")
    return 0


def _keep(target: Path) -> Path | None:
    """Gives the old file a second name; its own one stays until the new file takes it, so there is always a store."""
    log = log_of(target)
    if not target.exists() and not log.exists():
        return None
    kept = target.with_name(f"{target.name}.{time.strftime('%Y%m%dT%H%M%S')}-{time.time_ns() % 1_000_000:06}.old")
    if target.exists():
        os.link(target, kept)
    if log.exists():  # of a damaged store
        log.rename(log_of(kept))
    target.with_name(target.name + "-shm").unlink(missing_ok=True)
    return kept


def _put(fresh: Path, target: Path) -> None:
    sync_file(fresh)
    fresh.rename(target)
    sync_directory(target.parent)
