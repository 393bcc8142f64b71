"""When the key of a store is lost: tells which Secrets can't be read, and forgets them, so that meshd serves the rest.

Rule: meshd is stopped; nothing that can be read is touched; what is forgotten is named, so that it can be made anew.
The history goes too, so that everyone who follows lists anew.
"""

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from mesh.errors import NotFound, Unavailable
from mesh.model.keys import Key
from mesh.store.backup import locked
from mesh.store.database import explained, open_database, read_meta, transaction, write_meta
from mesh.store.port import Codec


def unreadable(store: Path, codec: Codec) -> list[Key]:
    """The objects that the codec can't read; raises NotFound, Unavailable while a meshd has the store open."""
    if not store.is_file():
        raise NotFound(f"cannot look at store {store}: there is no such file")
    with locked(store), explained(store), closing(open_database(store)) as connection:
        return _unreadable(connection, codec)


def forget_unreadable(store: Path, codec: Codec) -> tuple[list[Key], Path | None]:
    """Removes those; returns which they were, and where the store is kept as it was, None when nothing was removed."""
    if not store.is_file():
        raise NotFound(f"cannot look at store {store}: there is no such file")
    with locked(store), explained(store), closing(open_database(store)) as connection:
        lost = _unreadable(connection, codec)
        if not lost:
            return [], None
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        kept = store.with_name(f"{store.name}.{time.strftime('%Y%m%dT%H%M%S')}.unreadable")
        shutil.copyfile(store, kept)
        kept.chmod(0o600)
        with transaction(connection):
            connection.executemany("DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?", lost)
            connection.execute("DELETE FROM history")
            write_meta(connection, "compacted", read_meta(connection, "revision"))
        return lost, kept


def _unreadable(connection: sqlite3.Connection, codec: Codec) -> list[Key]:
    lost = []
    for *key, revision, value in connection.execute("SELECT kind, namespace, name, revision, value FROM objects"):
        try:
            codec.decode(Key(*key), value, revision)
        except Unavailable:
            lost.append(Key(*key))
    return lost
