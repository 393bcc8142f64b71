"""Stores of other versions: a released one opens, an older one moves forward after a copy was put aside, a newer one is
refused. tests/golden/store/N.db was written by a mesh whose schema was version N."""

import shutil
import sqlite3
import stat
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from mesh.errors import TooOld, Unavailable
from mesh.model.kinds import Object, key_of
from mesh.store import database
from mesh.store.encrypted import EncryptedCodec
from mesh.store.keyring import Keyring
from mesh.store.port import Write
from mesh.store.sqlite import SqliteStore, restore
from mesh.v1.apps_pb2 import Deployment
from mesh.v1.core_pb2 import ConfigMap, Secret

GOLDEN = Path(__file__).parent.parent / "golden" / "store"
CODEC = EncryptedCodec(Keyring([bytes(range(32))]))  # whose Secret those files hold

# An invented former schema: history did not know its sizes.
FORMER = database.SCHEMA.replace("previous_revision INTEGER, size INTEGER NOT NULL", "previous_revision INTEGER")
STEP = (
    "ALTER TABLE history ADD COLUMN size INTEGER NOT NULL DEFAULT 0",
    "UPDATE history SET size = ifnull(length(value), 0) + ifnull(length(previous), 0)",
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store as the release of version 1 left it."""
    return Path(shutil.copy(GOLDEN / "1.db", tmp_path / "store.db"))


@pytest.fixture
def former(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same content under the invented former schema; today's is one step further."""
    older = path.with_name("older.db")
    with closing(sqlite3.connect(older)) as then:
        then.executescript(FORMER)
        then.execute("ATTACH ? AS now", (str(path),))
        then.execute("INSERT OR REPLACE INTO meta SELECT * FROM now.meta")
        then.execute("INSERT INTO objects SELECT * FROM now.objects")
        then.execute(
            "INSERT INTO history SELECT id, revision, at, kind, namespace, name, value, previous, previous_revision "
            "FROM now.history"
        )
        then.commit()
        then.execute(f"PRAGMA application_id = {database.APPLICATION}")
        then.execute("PRAGMA user_version = 1")
    path.unlink()
    steps(monkeypatch, STEP)
    return older


def steps(monkeypatch: pytest.MonkeyPatch, *more: Sequence[str]) -> None:
    """Today's version is so many steps after the first."""
    monkeypatch.setattr(database, "STEPS", more)
    monkeypatch.setattr(database, "VERSION", 1 + len(more))


def schema_of(path: Path) -> tuple[int, dict[str, list[tuple[str, str, int]]]]:
    """The version, and the columns of each table: name, type, whether it must be there."""
    with closing(database.connect(path)) as file:
        tables = [name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        found = {t: [tuple(row[1:4]) for row in file.execute(f"PRAGMA table_info({t})")] for t in tables}
        return database.pragma(file, "user_version"), found


async def check_content(path: Path) -> None:
    """What the release of version 1 had stored is there, and is gone on with."""
    store = await SqliteStore.open(path, CODEC)
    try:
        snapshot = await store.snapshot()
        found: dict[str, Object] = {obj.metadata.name: obj for obj in snapshot.objects}
        assert (snapshot.revision, found.keys()) == (5, {"settings", "login", "web"})
        settings, login, web = found["settings"], found["login"], found["web"]
        assert isinstance(settings, ConfigMap)
        assert isinstance(login, Secret)
        assert isinstance(web, Deployment)
        assert (settings.data["greeting"], login.data["password"], web.spec.replicas) == ("hello", b"tr0ub4dor", 5)
        assert (web.metadata.uid, web.metadata.resource_version) == ("u3", "3")
        events = await store.since(2)
        assert [(e.revision, e.key.name, e.object is None) for e in events] == [
            (3, "web", False), (4, "old", False), (5, "old", True)]  # fmt: skip
        web.spec.replicas = 7
        assert await store.commit([Write(key_of(web), web, 3)]) == 6
        await store.compact(4)
        with pytest.raises(TooOld):
            await store.since(3)
    finally:
        await store.close()


async def test_the_store_of_every_release_opens_and_has_the_schema_of_a_new_one(tmp_path: Path):
    assert {int(file.stem) for file in GOLDEN.glob("*.db")} == set(range(1, database.VERSION + 1))
    new = tmp_path / "new.db"
    await (await SqliteStore.open(new, CODEC)).close()
    for golden in GOLDEN.glob("*.db"):
        copy = Path(shutil.copy(golden, tmp_path / golden.name))
        await check_content(copy)
        assert schema_of(copy) == schema_of(new)


async def test_an_older_store_moves_forward_and_is_kept_as_it_was(former: Path):
    assert schema_of(former)[1]["history"][-1][0] == "previous_revision"
    await check_content(former)
    assert schema_of(former)[0] == 2
    with closing(database.connect(former)) as file:
        sizes = file.execute("SELECT size, ifnull(length(value), 0) + ifnull(length(previous), 0) FROM history")
        assert all(size == length for size, length in sizes)
    kept = former.with_name("older.db.schema-1.bak")
    assert schema_of(kept)[0] == 1
    assert schema_of(kept)[1]["history"][-1][0] == "previous_revision"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert {p.name for p in former.parent.iterdir()} <= {"older.db", "older.db.lock", kept.name}


async def test_what_was_kept_is_a_backup_for_the_former_mesh(former: Path, monkeypatch: pytest.MonkeyPatch):
    store = await SqliteStore.open(former, CODEC)
    late = ConfigMap()
    late.metadata.name = "late"
    await store.commit([Write(key_of(late), late)])
    await store.close()
    steps(monkeypatch)  # the former mesh again
    with pytest.raises(Unavailable, match="use the newer mesh, or restore a backup of this one"):
        await SqliteStore.open(former, CODEC)
    assert restore(former.with_name("older.db.schema-1.bak"), former) is not None
    assert schema_of(former)[0] == 1
    with closing(database.connect(former)) as file:
        names = {name for (name,) in file.execute("SELECT name FROM objects")}
    assert names == {"settings", "login", "web"}


async def test_a_step_that_fails_leaves_the_store_where_it_was_and_is_tried_again(
    former: Path, monkeypatch: pytest.MonkeyPatch
):
    steps(monkeypatch, STEP, ("CREATE TABLE late (x INTEGER)", "INSERT INTO late VALUES (1, 2)"))
    before = schema_of(former)[1]
    with pytest.raises(sqlite3.OperationalError, match="2 values"):
        await SqliteStore.open(former, CODEC)
    version, tables = schema_of(former)
    assert (version, "late" in tables) == (2, False)
    assert schema_of(former.with_name("older.db.schema-1.bak"))[1] == before
    steps(monkeypatch, STEP, ("CREATE TABLE late (x INTEGER)",))
    await check_content(former)
    assert schema_of(former)[0] == 3
    assert schema_of(former.with_name("older.db.schema-2.bak"))[0] == 2


async def test_no_step_is_made_where_no_copy_can_be_kept(former: Path, monkeypatch: pytest.MonkeyPatch):
    def full(_: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(database, "private_file", full)
    with pytest.raises(Unavailable, match="No space left on device"):
        await SqliteStore.open(former, CODEC)
    assert schema_of(former)[0] == 1


async def test_a_store_newer_than_the_program_is_refused_untouched(path: Path):
    with closing(database.connect(path)) as file:
        file.execute(f"PRAGMA user_version = {database.VERSION + 1}")
    before = path.read_bytes()
    with pytest.raises(Unavailable, match=f"version {database.VERSION + 1}, this mesh knows up to {database.VERSION}"):
        await SqliteStore.open(path, CODEC)
    assert path.read_bytes() == before


async def test_a_version_that_never_was_is_damage(path: Path):
    with closing(database.connect(path)) as file:
        file.execute("PRAGMA user_version = 0")
    with pytest.raises(Unavailable, match="there was never a schema version 0"):
        await SqliteStore.open(path, CODEC)
