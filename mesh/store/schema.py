"""The schema of a store's SQLite file: how a new one is made, and the steps by which an older one moves forward.

Rule: SCHEMA says what a file of the newest version is; what was released is never edited, a step is added and SCHEMA
follows it. Step n leads from version n to n + 1 in one transaction; files never move back. Texts only.
"""

APPLICATION = 0x4D455348  # "MESH" in the file's header: this is a store and no other database

SCHEMA = """
PRAGMA auto_vacuum = INCREMENTAL;
BEGIN;
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('revision', 0), ('compacted', 0);
CREATE TABLE objects (
    kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    revision INTEGER NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (kind, namespace, name)
);
CREATE TABLE history (
    id INTEGER PRIMARY KEY, revision INTEGER NOT NULL, at INTEGER NOT NULL,
    kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    value BLOB, previous BLOB, previous_revision INTEGER, size INTEGER NOT NULL
);
CREATE INDEX history_by_revision ON history (revision);
COMMIT;
"""

# The statements of each step; none yet. tests/golden/store has a file of every version that was released.
STEPS: tuple[tuple[str, ...], ...] = ()

VERSION = 1 + len(STEPS)  # kept in the header's user_version
