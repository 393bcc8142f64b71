"""Reads of an open store file, each in one read transaction; everything here blocks.

Rule: values are decoded after the transaction is over, so that a long decoding never holds up the log's clean-up.
"""

import sqlite3
from typing import NamedTuple

from mesh.model.keys import Key
from mesh.model.kinds import Object
from mesh.store.database import read_meta, transaction
from mesh.store.history import too_old, whole_revisions
from mesh.store.port import Codec, Event, Snapshot


class _Row(NamedTuple):
    """An event as it lies in the table history."""

    revision: int
    kind: str
    namespace: str
    name: str
    value: bytes | None
    previous: bytes | None
    before: int | None  # the revision of `previous`

    def event(self, codec: Codec) -> Event:
        key = Key(self.kind, self.namespace, self.name)
        return Event(
            self.revision,
            key,
            _decoded(codec, key, self.value, self.revision),
            _decoded(codec, key, self.previous, self.before),
        )


_AFTER = """SELECT revision, kind, namespace, name, value, previous, previous_revision
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
        if len(rows) > limit and rows[0][0] == rows[-1][0]:  # one revision is larger than the limit
            rows = connection.execute(_AFTER.replace("revision > ?", "revision = ?"), (rows[0][0], -1)).fetchall()
    return list(whole_revisions([_Row(*row).event(codec) for row in rows], limit))


def _decoded(codec: Codec, key: Key, value: bytes | None, revision: int | None) -> Object | None:
    return None if value is None or revision is None else codec.decode(key, value, revision)
