"""The SQLite file of a store: what lies in it, how it is opened and checked, and its errors in words.

Rule: everything here blocks, so only threads of `store.sqlite` and the command line call it. One connection writes,
others only read; a file that is not whole is never opened.
"""

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import structlog

from mesh.errors import Unavailable
from mesh.files import sync_directory
from mesh.store.schema import APPLICATION, SCHEMA, STEPS, VERSION

log = structlog.get_logger()

KEPT = "{name}.schema-{version}.bak"  # the store as it was before its schema moved forward, beside it


def open_database(path: Path) -> sqlite3.Connection:
    """Opens for writing, makes the file when there is none, checks it and moves its schema forward; raises Unavailable.

    Every commit on the connection is on the disk when it returns (WAL, synchronous FULL).
    """
    with explained(path):
        if not path.exists():
            _create(path)
        path.chmod(0o600)
        connection = connect(path)
        try:
            check(connection, path)
            _migrate(connection, path)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {16 << 20}")
        except BaseException:
            connection.close()
            raise
        return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Opens beside the writer; sees every commit that has returned."""
    with explained(path):
        connection = connect(path)
        connection.execute("PRAGMA query_only = 1")
        return connection


def connect(path: Path) -> sqlite3.Connection:
    """A connection without implicit transactions, to an existing file; threads may hand it over."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=5, isolation_level=None, check_same_thread=False)


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Raises Unavailable unless the file is a whole store of a version that is known."""
    if path.stat().st_size == 0 or pragma(connection, "application_id") != APPLICATION:
        raise damaged(path, "it is no store")
    version = pragma(connection, "user_version")
    if version > VERSION:
        raise Unavailable(
            f"cannot open store {path}: its schema is version {version}, this mesh knows up to {VERSION}; "
            "use the newer mesh, or restore a backup of this one"
        )
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise damaged(path, str(found).replace("\n", " "))
    if {name for (name,) in connection.execute("SELECT name FROM meta")} < {"revision", "compacted"}:
        raise damaged(path, "its revision is missing")


def pragma(connection: sqlite3.Connection, name: str) -> int:
    """A PRAGMA's number."""
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def read_meta(connection: sqlite3.Connection, name: str) -> int:
    """A number of the table meta: "revision" or "compacted"."""
    return int(connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0])


def write_meta(connection: sqlite3.Connection, name: str, value: int) -> None:
    """Sets a number of the table meta."""
    connection.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """Commits at the end; rolls back when anything is raised, the commit itself included."""
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself has rolled back after some errors
            connection.execute("ROLLBACK")
        raise


def log_of(path: Path) -> Path:
    """The write-ahead log of a database file."""
    return path.with_name(path.name + "-wal")


def damaged(path: Path, why: str) -> Unavailable:
    """The error of a file that can't be trusted."""
    return Unavailable(f"cannot open store {path}: it is damaged ({why}); restore a backup with `mesh restore FILE`")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns what disks do to SQLite into Unavailable; what can only be a bug goes through."""
    try:
        yield
    except sqlite3.Error as error:
        raise unavailable(path, error) from error
    except OSError as error:
        raise Unavailable(f"cannot use store {path}: {error.strerror}") from error


def unavailable(path: Path, error: sqlite3.Error) -> Exception:
    """The error in words; the same error when it is a bug of ours."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF  # the primary code
    if code == sqlite3.SQLITE_FULL:
        return Unavailable(f"cannot write store {path}: the disk is full; free some space")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path, str(error))
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM,
                sqlite3.SQLITE_BUSY, sqlite3.SQLITE_NOLFS):  # fmt: skip
        return Unavailable(
            f"cannot use store {path}: {error} ({error.sqlite_errorname}); check the disk and its rights"
        )
    return error


def sync_file(path: Path) -> None:
    """Makes a file's content durable; not for a file that SQLite has open in this process (closing drops its locks)."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def private_file(beside: Path) -> Path:
    """A new empty file, mode 0600, in the directory of `beside`, to be renamed once it is whole."""
    path = beside.with_name(f".{beside.name}.{secrets.token_hex(4)}")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return path


def _create(path: Path) -> None:
    """Puts an empty store in place in one step, so that an empty or half made file is always a damaged one."""
    if log_of(path).exists():
        raise Unavailable(
            f"cannot make store {path}: its log {log_of(path).name} is there without it; "
            "put the file back, or move the log away to begin anew"
        )
    fresh = private_file(path)
    try:
        with closing(connect(fresh)) as connection:
            connection.executescript(SCHEMA)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        sync_file(fresh)
        fresh.rename(path)
        sync_directory(path.parent)
    finally:
        fresh.unlink(missing_ok=True)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Moves the schema forward, step by step, each all or nothing; before the first one a copy is put beside it."""
    version = pragma(connection, "user_version")
    if version < 1:
        raise damaged(path, f"there was never a schema version {version}")
    if version == VERSION:
        return
    kept = _keep(connection, path, version)
    log.info("store_migrates", path=str(path), version=version, to=VERSION, kept=str(kept))
    for number in range(version, VERSION):
        with transaction(connection):
            for statement in STEPS[number - 1]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1}")


def _keep(connection: sqlite3.Connection, path: Path, version: int) -> Path:
    """A whole copy in one file, mode 0600, that a mesh of the former version opens; replaces an older one."""
    kept = path.with_name(KEPT.format(name=path.name, version=version))
    fresh = private_file(path)
    try:
        with closing(connect(fresh)) as copy:
            connection.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")
        sync_file(fresh)
        fresh.rename(kept)
        sync_directory(path.parent)
    finally:
        fresh.unlink(missing_ok=True)
    return kept
