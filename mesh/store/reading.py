"""Reads of an open store file, each in one read transaction; everything here blocks.

Rule: values are decoded after the transaction is over, so that a long decoding never holds up the log's clean-up.
"""

import sqlite3

from mesh.model.keys import Key
from mesh.model.kinds import Object
from mesh.store.database import read_meta, transaction
from mesh.store.history import too_old, whole_revisions
from mesh.store.port import Codec, Event, Snapshot

_AFTER = """SELECT kind, namespace, name, revision, value, previous_revision, previous
FROM history WHERE revision > ? ORDER BY id LIMIT ?"""


def read_snapshot(connection: sqlite3.Connection, codec: Codec) -> Snapshot:
    """Every object; raises Unavailable for one that can't be decoded."""
    with transaction(connection, "BEGIN"):
        revision = read_meta(connection, "revision")
        rows = connection.execute("SELECT kind, namespace, name, revision, value FROM objects").fetchall()
    return Snapshot(revision, [codec.decode(Key(*row[:3]), row[4], row[3]) for row in rows])


def read_since(connection: sqlite3.Connection, codec: Codec, revision: int, limit: int) -> list[Event]:
    """Events as `Store.since` gives them; raises TooOld."""
    with transaction(connection, "BEGIN"):
        compacted = read_meta(connection, "compacted")
        if revision < compacted:
            raise too_old(revision, compacted)
        rows = connection.execute(_AFTER, (revision, limit + 1)).fetchall()
        if len(rows) > limit and rows[0][3] == rows[-1][3]:  # one revision is larger than the limit
            rows = connection.execute(_AFTER.replace("revision > ?", "revision = ?"), (rows[0][3], -1)).fetchall()
    events = [stored_event(codec, Key(*row[:3]), (row[3], row[4]), (row[5], row[6])) for row in rows]
    return list(whole_revisions(events, limit))


Stored = tuple[int, bytes | None] | tuple[None, None]  # a revision and the bytes, None when removed; or nothing at all


def stored_event(codec: Codec, key: Key, now: tuple[int, bytes | None], before: Stored) -> Event:
    """The event that led from `before` to `now`; raises Unavailable for what can't be decoded."""
    return Event(now[0], key, _decoded(codec, key, now), _decoded(codec, key, before))


def _decoded(codec: Codec, key: Key, stored: Stored) -> Object | None:
    revision, value = stored
    return None if value is None or revision is None else codec.decode(key, value, revision)
