"""The key of Secrets at rest: rotated under write load, killed on the way, kept in three sorts of places, lost."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, closing
from pathlib import Path

import pytest

from mesh.errors import Conflict, Forbidden, Unavailable
from mesh.model.kinds import key_of
from mesh.store import keysource, recovery
from mesh.store.encrypted import EncryptedCodec
from mesh.store.keyring import Keyring, create_key_file, load_key_file
from mesh.store.keysource import CredentialKeys, FileKeys, PassphraseKeys
from mesh.store.port import Write
from mesh.store.rotation import KeyRotation
from mesh.store.sqlite import SqliteStore
from mesh.unlock import unlock, unlocked
from mesh.v1.core_pb2 import ConfigMap, Secret
from tests.harness.waiting import wait_for_file


def secret(name: str, value: str) -> Secret:
    made = Secret(data={"key": value.encode()})
    made.metadata.name, made.metadata.namespace, made.metadata.uid = name, "default", f"uid-{name}"
    return made


def put(name: str, value: str) -> list[Write]:
    return [Write(key_of(secret(name, value)), secret(name, value))]


async def values(store: SqliteStore) -> dict[str, str]:
    return {o.metadata.name: o.data["key"].decode() for o in (await store.snapshot()).objects if isinstance(o, Secret)}


def key_ids(path: Path) -> set[str]:
    """The ids of the keys with which anything in the file is wrapped."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT value FROM objects UNION ALL SELECT value FROM history "
                                  "UNION ALL SELECT previous FROM history").fetchall()  # fmt: skip
    return {row[0][12:28].decode() for row in rows if row[0]}


async def rotate(rotation: KeyRotation) -> list[str]:
    async with aclosing(rotation.run()) as steps:
        return [step.words async for step in steps]


async def test_under_write_load_no_commit_fails_and_everything_is_readable(tmp_path: Path) -> None:
    keys, path = tmp_path / "keys" / "store.key", tmp_path / "store.db"
    ring = create_key_file(keys)
    old = ring.primary
    store = await SqliteStore.open(path, EncryptedCodec(ring))
    for number in range(700):
        await store.commit(put(f"s{number}", f"first-{number}"))
    expected = {f"s{number}": f"first-{number}" for number in range(700)}
    ended = asyncio.Event()

    async def write() -> int:
        count = 0
        while not ended.is_set():
            name, value = f"s{count % 700}", f"while-{count}"
            await store.commit(put(name, value))
            expected[name] = value
            count += 1
        return count

    writing = asyncio.create_task(write())
    words = await rotate(KeyRotation(FileKeys(keys), ring, store))
    ended.set()
    assert await writing > 0
    assert words[-1] == "done: the old key is retired"
    assert await values(store) == expected
    await store.close()
    after = load_key_file(keys)
    assert (len(after), after.primary != old) == (1, True)
    assert key_ids(path) == {after.primary}
    store = await SqliteStore.open(path, EncryptedCodec(after))
    assert await values(store) == expected
    assert len(await store.since(0, 10_000)) >= 700  # history is readable too
    await store.close()


async def test_a_rotation_that_is_killed_loses_nothing_and_goes_on(tmp_path: Path) -> None:
    keys, path = tmp_path / "keys" / "store.key", tmp_path / "store.db"
    ring = create_key_file(keys)
    store = await SqliteStore.open(path, EncryptedCodec(ring))
    for number in range(450):
        await store.commit(put(f"s{number}", str(number)))
    for stop_after in range(1, 5):
        steps = KeyRotation(FileKeys(keys), ring, store).run()
        for _ in range(stop_after):
            await anext(steps)
        await steps.aclose()
        await store.close()  # the process ends here, and all that it knows
        ring = load_key_file(keys)
        assert len(ring) == 2
        store = await SqliteStore.open(path, EncryptedCodec(ring))
        assert len(await values(store)) == 450
    words = await rotate(KeyRotation(FileKeys(keys), ring, store))
    assert words[0] == "goes on with a rotation that was not finished"
    assert key_ids(path) == {load_key_file(keys).primary}
    await store.close()


async def test_a_key_that_can_not_be_kept_is_never_used(tmp_path: Path) -> None:
    class Full(FileKeys):
        def save(self, keys: Sequence[bytes]) -> None:
            raise Unavailable("cannot write key file: the disk is full")

    keys = tmp_path / "keys" / "store.key"
    ring = create_key_file(keys)
    before = ring.primary
    store = await SqliteStore.open(tmp_path / "store.db", EncryptedCodec(ring))
    with pytest.raises(Unavailable):
        await rotate(KeyRotation(Full(keys), ring, store))
    assert (ring.primary, len(ring)) == (before, 1)
    await store.close()


async def test_one_rotation_at_a_time(tmp_path: Path) -> None:
    class Slow:
        async def rewrap(self) -> AsyncGenerator[int, None]:
            yield 1

    ring = create_key_file(tmp_path / "keys" / "store.key")
    rotation = KeyRotation(FileKeys(tmp_path / "keys" / "store.key"), ring, Slow())
    first = rotation.run()
    await anext(first)
    with pytest.raises(Conflict, match="already"):
        await rotate(rotation)
    await first.aclose()
    await rotate(rotation)


async def test_keys_of_systemd_are_read_and_their_rotation_waits_for_the_administrator(tmp_path: Path) -> None:
    made = create_key_file(tmp_path / "mesh-keys")
    source = CredentialKeys("mesh-keys", str(tmp_path))
    ring = source.load()
    assert ring.all() == made.all()
    store = await SqliteStore.open(tmp_path / "store.db", EncryptedCodec(ring))
    await store.commit(put("s", "value"))
    with pytest.raises(Conflict, match="only its administrator changes"):
        await rotate(KeyRotation(source, ring, store))
    new = os.urandom(32)
    keysource.FileKeys(tmp_path / "mesh-keys").save([new, *made.all()])
    await store.close()
    ring = source.load()
    store = await SqliteStore.open(tmp_path / "store.db", EncryptedCodec(ring))
    assert (await rotate(KeyRotation(source, ring, store)))[-1].startswith("done; now remove all keys but the first")
    await store.close()
    assert key_ids(tmp_path / "store.db") == {Keyring([new]).primary}
    with pytest.raises(Unavailable, match="LoadCredentialEncrypted"):
        CredentialKeys("mesh-keys", "").load()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keysource, "COST", 2**4)


def test_keys_under_a_passphrase(tmp_path: Path, quick: None) -> None:
    path, key = tmp_path / "store.key", os.urandom(32)
    PassphraseKeys(path, "horse staple").save([key])
    assert path.stat().st_mode & 0o777 == 0o600
    assert keysource.is_under_passphrase(path)
    assert key not in path.read_bytes()
    assert PassphraseKeys(path, "horse staple").load().all() == [key]
    with pytest.raises(Forbidden, match="passphrase is wrong"):
        PassphraseKeys(path, "horse").load()
    text = path.read_text()
    path.write_text(text[:-10] + "AAAA" + text[-6:])
    with pytest.raises((Forbidden, Unavailable)):
        PassphraseKeys(path, "horse staple").load()


async def test_meshd_waits_for_the_passphrase_and_a_wrong_one_is_answered(tmp_path: Path, quick: None) -> None:
    path, key, socket = tmp_path / "store.key", os.urandom(32), tmp_path / "unlock.sock"
    PassphraseKeys(path, "horse staple").save([key])
    waiting = asyncio.create_task(unlocked(path, socket))
    async with asyncio.timeout(60):
        await asyncio.to_thread(wait_for_file, socket, 60)
        with pytest.raises(Unavailable, match="passphrase is wrong"):
            await unlock(socket, "wrong")
        assert socket.stat().st_mode & 0o777 == 0o600
        await unlock(socket, "horse staple")
        source, ring = await waiting
    assert ring.all() == [key]
    assert not socket.exists()
    source.save([os.urandom(32), key])
    assert len(PassphraseKeys(path, "horse staple").load()) == 2
    with pytest.raises(Unavailable, match="no meshd waits"):
        await unlock(socket, "horse staple")


async def test_a_lost_key_costs_the_secrets_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await SqliteStore.open(path, EncryptedCodec(Keyring([os.urandom(32)])))
    await store.commit(put("lost", "value"))
    config = ConfigMap(data={"a": "b"})
    config.metadata.name, config.metadata.namespace = "kept", "default"
    revision = await store.commit([Write(key_of(config), config)])
    await store.close()
    anew = EncryptedCodec(Keyring([os.urandom(32)]))
    assert recovery.unreadable(path, anew) == [key_of(secret("lost", ""))]
    lost, kept = recovery.forget_unreadable(path, anew)
    assert lost == [key_of(secret("lost", ""))]
    assert kept is not None
    assert kept.stat().st_mode & 0o777 == 0o600
    store = await SqliteStore.open(path, anew)
    assert [o.metadata.name for o in (await store.snapshot()).objects] == ["kept"]
    assert await store.commit(put("lost", "made anew")) == revision + 1
    await store.close()
    assert recovery.forget_unreadable(path, anew) == ([], None)


async def test_what_is_changed_while_it_waits_its_turn_leaves_nothing_of_the_old_key(tmp_path: Path) -> None:
    """History keeps what was there before, in the box that it had then."""
    keys, path = tmp_path / "keys" / "store.key", tmp_path / "store.db"
    ring = create_key_file(keys)
    store = await SqliteStore.open(path, EncryptedCodec(ring))
    for number in range(450):
        await store.commit(put(f"s{number}", str(number)))
    steps = KeyRotation(FileKeys(keys), ring, store).run()
    assert [(await anext(steps)).wrapped for _ in range(2)] == [0, 200]
    await store.commit(put("s449", "changed"))
    assert [step.words async for step in steps][-1] == "done: the old key is retired"
    await store.close()
    assert key_ids(path) == {load_key_file(keys).primary}
