"""The store's file: private, held alone, checked when opened, bounded, backed up while in use and restored whole."""

import asyncio
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from mesh.errors import Invalid, NotFound, TooOld, Unavailable
from mesh.model.keys import Key
from mesh.model.kinds import key_of, revision_of
from mesh.store import database
from mesh.store.backup import LEAP
from mesh.store.codec import PlainCodec
from mesh.store.encrypted import EncryptedCodec
from mesh.store.keyring import Keyring
from mesh.store.ledger import Ledger
from mesh.store.port import Write
from mesh.store.sqlite import Retention, SqliteStore, restore
from mesh.v1.core_pb2 import ConfigMap, Secret


def config(name: str = "a", **data: str) -> ConfigMap:
    obj = ConfigMap(data=data)
    obj.metadata.name, obj.metadata.namespace = name, "default"
    return obj


def put(*objects: ConfigMap | Secret) -> list[Write]:
    return [Write(key_of(obj), obj) for obj in objects]


async def filled(path: Path, count: int) -> None:
    store = await SqliteStore.open(path, PlainCodec())
    await asyncio.gather(*(store.commit(put(config(str(n), text="x" * 500))) for n in range(count)))
    await store.close()


async def names(path: Path) -> set[str]:
    store = await SqliteStore.open(path, PlainCodec())
    snapshot = await store.snapshot()
    await store.close()
    return {obj.metadata.name for obj in snapshot.objects}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "meshd" / "store.db"


async def test_everything_is_there_after_opening_again(path: Path):
    store = await SqliteStore.open(path, PlainCodec())
    await store.commit(put(config("a"), config("b")))
    await store.commit([Write(key_of(config("a")), None)])
    await store.compact(1)
    await store.close()
    store = await SqliteStore.open(path, PlainCodec())
    snapshot = await store.snapshot()
    assert (snapshot.revision, [o.metadata.name for o in snapshot.objects]) == (2, ["b"])
    assert [e.previous and revision_of(e.previous) for e in await store.since(1)] == [1]
    with pytest.raises(TooOld):
        await store.since(0)
    assert await store.commit(put(config("c"))) == 3
    await store.close()


async def test_every_file_is_the_owners_alone(path: Path):
    old = os.umask(0)
    try:
        store = await SqliteStore.open(path, PlainCodec())
        await store.commit(put(config()))
        await store.backup(path.parent / "backup")
        found = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        await store.close()
    finally:
        os.umask(old)
    assert found.keys() >= {"store.db", "store.db-wal", "store.db-shm", "store.db.lock", "backup"}
    assert set(found.values()) == {0o600}


async def test_a_store_is_open_once(path: Path):
    store = await SqliteStore.open(path, PlainCodec())
    with pytest.raises(Unavailable, match="another meshd has it open"):
        await SqliteStore.open(path, PlainCodec())
    with pytest.raises(Unavailable, match="another meshd has it open"):
        restore(path, path)
    await store.commit(put(config()))
    await store.close()
    await (await SqliteStore.open(path, PlainCodec())).close()


async def test_secrets_are_not_in_any_file(path: Path):
    store = await SqliteStore.open(path, EncryptedCodec(Keyring([os.urandom(32)])))
    for value in (b"first-hush-hush", b"second-hush-hush"):
        obj = Secret(data={"password": value})
        obj.metadata.name, obj.metadata.namespace = "s", "default"
        await store.commit(put(obj))
    await store.backup(path.parent / "backup")
    assert all(b"hush-hush" not in p.read_bytes() for p in path.parent.iterdir() if p.suffix != ".lock")
    await store.close()
    assert b"hush-hush" not in path.read_bytes()


async def test_a_store_written_with_another_key_says_which_one_it_needs(path: Path):
    ring = Keyring([os.urandom(32)])
    store = await SqliteStore.open(path, EncryptedCodec(ring))
    obj = Secret()
    obj.metadata.name = "s"
    await store.commit([Write(Key("Secret", "", "s"), obj)])
    await store.close()
    store = await SqliteStore.open(path, EncryptedCodec(Keyring([os.urandom(32)])))
    for read in (store.snapshot(), store.since(0)):
        with pytest.raises(Unavailable, match=ring.primary):
            await read
    await store.close()


@pytest.mark.parametrize("damage", ["empty", "cut", "rubbish", "header", "page", "tail"])
async def test_a_damaged_file_is_refused_with_what_to_do(path: Path, damage: str):
    await filled(path, 200)
    whole = path.read_bytes()
    changed = {
        "empty": b"",
        "cut": whole[: len(whole) // 2 + 100],
        "rubbish": os.urandom(20_000),
        "header": b"x" * 100 + whole[100:],
        "page": whole[: 4096 * 4] + b"\xa5" * 4096 * 4 + whole[4096 * 8 :],
        "tail": whole[:-4096] + b"\xa5" * 4096,
    }[damage]
    path.write_bytes(changed)
    with pytest.raises(Unavailable, match="restore a backup"):
        await SqliteStore.open(path, PlainCodec())
    assert path.read_bytes() == changed


async def test_a_log_without_its_file_is_not_taken_for_a_new_store(path: Path):
    await filled(path, 1)
    path.rename(path.with_name("store.db-wal"))
    with pytest.raises(Unavailable, match="put the file back"):
        await SqliteStore.open(path, PlainCodec())


async def test_another_programs_database_is_refused(path: Path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE meta (name TEXT)")
    with pytest.raises(Unavailable, match="no store"):
        await SqliteStore.open(path, PlainCodec())


async def test_opening_where_nothing_can_be_written_says_so(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="cannot use store"):
        await SqliteStore.open(tmp_path / "file" / "store.db", PlainCodec())


async def test_a_backup_taken_while_writing_is_one_whole_revision_in_one_file(path: Path, tmp_path: Path):
    store = await SqliteStore.open(path, PlainCodec())

    async def write() -> None:
        for n in range(300):
            await store.commit(put(config(f"{n}-a"), config(f"{n}-b")))

    writing = asyncio.create_task(write())
    target = tmp_path / "backup"
    await store.wait(50)
    await store.backup(target)
    await writing
    await store.close()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith((".", "backup"))] == ["backup"]
    found = await names(target)
    assert 100 <= len(found) <= 600
    assert found == {f"{n}-{x}" for n in range(len(found) // 2) for x in "ab"}


async def test_a_backup_replaces_an_older_one_but_never_the_store(path: Path, tmp_path: Path):
    target = tmp_path / "backup"
    store = await SqliteStore.open(path, PlainCodec())
    for name in "ab":
        await store.commit(put(config(name)))
        await store.backup(target)
    with pytest.raises(Invalid, match="store itself"):
        await store.backup(path)
    with pytest.raises(Invalid, match="no directory"):
        await store.backup(tmp_path / "missing" / "backup")
    await store.close()
    assert await names(target) == {"a", "b"}


async def test_restore_puts_the_backup_in_place_and_keeps_the_old_file(path: Path, tmp_path: Path):
    store = await SqliteStore.open(path, PlainCodec())
    await store.commit(put(config("a"), config("b")))
    await store.backup(tmp_path / "backup")
    await store.commit([Write(key_of(config("a")), None)])
    await store.commit(put(config("c")))
    await store.close()
    kept = restore(tmp_path / "backup", path)
    assert kept is not None
    assert await names(kept) == {"b", "c"}
    assert await names(path) == {"a", "b"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_restored_store_is_ahead_of_everything_it_ever_said(path: Path, tmp_path: Path):
    store = await SqliteStore.open(path, PlainCodec())
    await store.commit(put(config("a")))
    await store.backup(tmp_path / "backup")
    for _ in range(5):
        await store.commit(put(config("a", later="yes")))
    await store.close()
    restore(tmp_path / "backup", path)
    store = await SqliteStore.open(path, PlainCodec())
    snapshot = await store.snapshot()
    assert snapshot.revision == 6 + LEAP
    assert [revision_of(o) for o in snapshot.objects] == [1]
    for revision in (1, 6):
        with pytest.raises(TooOld):
            await store.since(revision)
    assert await store.since(snapshot.revision) == []
    assert await store.commit([Write(key_of(config("a")), config("a"), 1)]) == 7 + LEAP
    await store.close()


async def test_restore_where_there_was_no_store_and_over_a_damaged_one(path: Path, tmp_path: Path):
    await filled(path, 3)
    backup = path.rename(tmp_path / "backup")
    assert restore(backup, path) is None
    assert await names(path) == {"0", "1", "2"}
    path.write_bytes(b"rubbish" * 1000)
    kept = restore(backup, path)
    assert kept is not None
    assert kept.read_bytes() == b"rubbish" * 1000
    assert await names(path) == {"0", "1", "2"}


async def test_restore_of_what_is_no_whole_backup_changes_nothing(path: Path, tmp_path: Path):
    await filled(path, 3)
    before = path.read_bytes()
    bad = tmp_path / "bad"
    with pytest.raises(NotFound):
        restore(bad, path)
    for content in (b"", b"rubbish" * 1000, before[: len(before) // 2]):
        bad.write_bytes(content)
        with pytest.raises(Unavailable, match=str(bad)):
            restore(bad, path)
    assert path.read_bytes() == before
    assert {p.name for p in path.parent.iterdir()} <= {"store.db", "store.db.lock"}


async def test_history_keeps_the_newest_events_and_the_young_ones_and_the_file_stays_bounded(path: Path):
    keep = Retention(events=1000, seconds=0, ceiling=100_000)
    store = await SqliteStore.open(path, PlainCodec(), keep)
    sizes = []
    for _ in range(12):
        await asyncio.gather(*(store.commit(put(config(str(n % 10), text="x" * 2000))) for n in range(1000)))
        sizes.append(path.stat().st_size)
    newest = await store.wait(-1)
    events = await store.since(newest - 1000, 5000)
    assert [e.revision for e in events] == list(range(newest - 999, newest + 1))
    with pytest.raises(TooOld):
        await store.since(newest - 4000)
    await store.close()
    assert max(sizes[6:]) <= 1.5 * max(sizes[:6])


def opened(path: Path, keep: Retention, clock: list[int]) -> tuple[Ledger, sqlite3.Connection]:
    path.parent.mkdir(exist_ok=True)
    connection = database.open_database(path)
    return Ledger(connection, PlainCodec(), keep, lambda: clock[0]), connection


def count(connection: sqlite3.Connection) -> int:
    (found,) = connection.execute("SELECT count(*) FROM history").fetchone()
    return int(found)


def test_young_events_stay_until_they_are_old_or_too_many(path: Path):
    clock = [1_000_000]
    ledger, connection = opened(path, Retention(events=100, seconds=600, ceiling=5000), clock)
    with closing(connection):
        for _ in range(4):
            ledger.commit([put(config()) for _ in range(1000)])
        assert count(connection) == 4000
        ledger.commit([put(config()) for _ in range(1500)])
        assert count(connection) <= 5000
        clock[0] += 601
        for _ in range(4):
            ledger.commit([put(config()) for _ in range(500)])
        assert 100 <= count(connection) <= 2600


def test_history_of_large_values_is_bounded_by_their_size(path: Path):
    keep = Retention(events=1000, seconds=600, ceiling=5000, bytes=4 << 20)
    ledger, connection = opened(path, keep, [1_000_000])
    with closing(connection):
        for _ in range(60):
            ledger.commit([put(config(text="x" * 200_000))])
            (size,) = connection.execute("SELECT sum(size) FROM history").fetchone()
            assert size <= 4 << 20
        assert count(connection) > 5
        ledger.commit([put(config(text="x" * (6 << 20)))])  # larger than the bound all by itself
        assert count(connection) >= 1


def test_a_file_that_lost_much_gets_shorter(path: Path):
    ledger, connection = opened(path, Retention(events=10, seconds=0), [1_000_000])
    with closing(connection):
        for n in range(60):
            ledger.commit([put(config(str(n), text="x" * (1 << 20)))])
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        full = path.stat().st_size
        ledger.commit([[Write(key_of(config(str(n))), None) for n in range(60)]])
        ledger.compact(ledger.revision)
        for n in range(60):
            ledger.commit([put(config(str(n)))])
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert path.stat().st_size < full / 2
