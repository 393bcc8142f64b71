"""Every store keeps the promises of mesh.store.port, with plain and with encrypted Secrets."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest

from mesh.errors import AlreadyExists, Conflict, Invalid, NotFound, TooOld, Unavailable
from mesh.model.keys import Key
from mesh.model.kinds import Object, key_of, revision_of
from mesh.store.codec import PlainCodec
from mesh.store.encrypted import EncryptedCodec
from mesh.store.etcd import EtcdStore
from mesh.store.keyring import Keyring
from mesh.store.memory import MemoryStore
from mesh.store.port import Codec, Store, Write
from mesh.store.sqlite import SqliteStore
from mesh.v1.core_pb2 import ConfigMap, Namespace, Secret
from tests.harness.etcd import EtcdCluster, etcd_cluster

CODECS = {"plain": PlainCodec, "encrypted": lambda: EncryptedCodec(Keyring([os.urandom(32)]))}


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest) -> Codec:
    return CODECS[request.param]()


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with etcd_cluster(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


NUMBER = count()  # each store in etcd has a prefix of its own


@pytest.fixture(params=["memory", "sqlite", "etcd"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, codec: Codec) -> AsyncIterator[Store]:
    body: Store = MemoryStore(codec)
    if request.param == "sqlite":
        body = await SqliteStore.open(tmp_path / "store.db", codec)
    elif request.param == "etcd":
        address = request.getfixturevalue("etcd").address()
        body = await EtcdStore.open(address, codec, f"/{next(NUMBER)}/")
    async with asyncio.timeout(60):
        yield body
        await body.close()


def config(name: str = "a", **data: str) -> ConfigMap:
    obj = ConfigMap(data=data)
    obj.metadata.name, obj.metadata.namespace, obj.metadata.uid = name, "default", f"uid-of-{name}"
    return obj


def secret(name: str = "s", value: bytes = b"hush") -> Secret:
    obj = Secret(data={"password": value})
    obj.metadata.name, obj.metadata.namespace, obj.metadata.uid = name, "default", f"uid-of-{name}"
    return obj


def namespace(name: str) -> Namespace:
    obj = Namespace()
    obj.metadata.name = name
    return obj


def create(obj: Object) -> Write:
    return Write(key_of(obj), obj, 0)


def update(obj: Object, expect: int | None = None) -> Write:
    return Write(key_of(obj), obj, expect)


def remove(obj: Object, expect: int | None = None) -> Write:
    return Write(key_of(obj), None, expect)


async def held(store: Store) -> dict[Key, Object]:
    return {key_of(obj): obj for obj in (await store.snapshot()).objects}


async def test_a_new_store_is_empty_at_revision_zero(store: Store):
    snapshot = await store.snapshot()
    assert (snapshot.revision, list(snapshot.objects)) == (0, [])
    assert await store.since(0) == []
    assert await store.wait(-1) == 0


async def test_what_was_written_is_there_at_the_revision_of_the_commit(store: Store):
    for obj in (config(key="value"), secret(), namespace("team")):
        revision = await store.commit([create(obj)])
        found = (await held(store))[key_of(obj)]
        assert revision_of(found) == revision
        obj.metadata.resource_version = str(revision)
        assert found == obj


async def test_the_written_object_itself_stays_as_it_was(store: Store):
    obj = config()
    obj.metadata.resource_version = "77"
    await store.commit([create(obj)])
    assert obj.metadata.resource_version == "77"
    obj.data["later"] = "change"
    assert (await held(store))[key_of(obj)].data == {}


async def test_all_writes_of_a_commit_share_one_revision_and_revisions_grow_by_commit(store: Store):
    first = await store.commit([create(config("a")), create(config("b")), create(secret("c"))])
    second = await store.commit([update(config("a", x="1")), remove(config("b")), create(namespace("d"))])
    assert (first, second) == (1, 2)
    assert {k.name: revision_of(o) for k, o in (await held(store)).items()} == {"a": 2, "c": 1, "d": 2}


async def test_a_commit_with_one_wrong_write_changes_nothing(store: Store):
    await store.commit([create(config("a"))])
    for wrong, error in (
        (create(config("a")), AlreadyExists),
        (update(config("a"), 7), Conflict),
        (update(config("z"), 1), NotFound),
        (remove(config("z")), NotFound),
        (remove(config("z"), 1), NotFound),
        (remove(config("a"), 7), Conflict),
    ):
        with pytest.raises(error, match=wrong.key.name):
            await store.commit([create(config("new")), update(secret()), wrong])
    assert [k.name for k in await held(store)] == ["a"]
    assert len(await store.since(0)) == 1
    assert await store.commit([create(config("b"))]) == 2


async def test_writes_with_the_right_expectation_go_through(store: Store):
    at = await store.commit([create(config("a"))])
    at = await store.commit([update(config("a", n="1"), at)])
    at = await store.commit([update(config("a", n="2"), None)])
    await store.commit([update(config("b"), None)])
    assert (await held(store))[key_of(config("a"))].data["n"] == "2"
    await store.commit([remove(config("a"), at), remove(config("b"))])
    assert await held(store) == {}
    assert await store.commit([create(config("a"))]) == 6


async def test_a_commit_that_makes_no_sense_is_invalid(store: Store):
    with pytest.raises(Invalid, match="twice"):
        await store.commit([create(config("a")), update(config("a"))])
    with pytest.raises(Invalid, match="as ConfigMap default/other"):
        await store.commit([Write(Key("ConfigMap", "default", "other"), config("a"), 0)])
    with pytest.raises(Invalid):
        await store.commit([remove(config("a"), 0)])
    assert (await store.snapshot()).revision == 0


async def test_an_empty_commit_changes_nothing(store: Store):
    await store.commit([create(config())])
    assert await store.commit([]) == 1
    assert await store.wait(-1) == 1


async def test_history_tells_every_change_with_what_was_before(store: Store):
    await store.commit([create(config(n="1")), create(secret(value=b"one"))])
    await store.commit([update(config(n="2")), remove(secret())])
    told = [
        (e.revision, e.key.kind, e.object and dict(e.object.data), e.previous and dict(e.previous.data))
        for e in await store.since(0)
    ]
    assert told == [
        (1, "ConfigMap", {"n": "1"}, None),
        (1, "Secret", {"password": b"one"}, None),
        (2, "ConfigMap", {"n": "2"}, {"n": "1"}),
        (2, "Secret", None, {"password": b"one"}),
    ]
    events = await store.since(1)
    assert [revision_of(e.object) for e in events if e.object] == [2]
    assert [revision_of(e.previous) for e in events if e.previous] == [1, 1]


async def test_history_comes_in_whole_revisions_within_the_limit_but_at_least_one(store: Store):
    for size in (1, 2, 5, 1):
        await store.commit([update(config(str(n))) for n in range(size)])
    for after, limit, revisions in (
        (0, 1000, [1, 2, 2, 3, 3, 3, 3, 3, 4]),
        (0, 3, [1, 2, 2]),
        (0, 2, [1]),
        (0, 4, [1, 2, 2]),
        (1, 1, [2, 2]),
        (2, 3, [3] * 5),
        (2, 5, [3] * 5),
        (3, 5, [4]),
        (4, 5, []),
    ):
        assert [e.revision for e in await store.since(after, limit)] == revisions, (after, limit)


async def test_compacted_history_is_too_old_and_the_objects_stay(store: Store):
    for n in range(5):
        await store.commit([update(config(n=str(n)))])
    await store.compact(3)
    with pytest.raises(TooOld, match="list again"):
        await store.since(2)
    assert [e.revision for e in await store.since(3)] == [4, 5]
    await store.compact(2)
    assert [e.revision for e in await store.since(3)] == [4, 5]
    await store.compact(1_000_000)
    assert await store.since(5) == []
    assert (await store.snapshot()).revision == 5
    assert await store.commit([update(config())]) == 6
    assert [e.revision for e in await store.since(5)] == [6]


async def test_wait_returns_with_the_next_commit_and_at_once_when_it_is_past(store: Store):
    waiting = asyncio.create_task(store.wait(0))
    another = asyncio.create_task(store.wait(1))
    await store.commit([create(config())])
    assert await waiting == 1
    assert not another.done()
    await store.commit([remove(config())])
    assert await another == 2
    assert await store.wait(0) == 2


async def test_what_wait_says_is_there(store: Store):
    async def follow() -> list[int]:
        seen, at = [], 0
        while at < 50:
            assert await store.wait(at) > at
            events = await store.since(at)
            assert events
            seen += [e.revision for e in events]
            at = seen[-1]
        return seen

    following = asyncio.create_task(follow())
    for n in range(50):
        await store.commit([update(config(n=str(n)))])
    assert await following == list(range(1, 51))


async def test_concurrent_commits_each_get_a_revision_and_one_wins_a_race(store: Store):
    await store.commit([create(config("raced"))])
    results = await asyncio.gather(
        *(store.commit([create(config(str(n))), update(config("raced"), 1)]) for n in range(20)),
        *(store.commit([create(secret(str(n)))]) for n in range(20)),
        return_exceptions=True,
    )
    won = [r for r in results[:20] if not isinstance(r, BaseException)]
    assert len(won) == 1
    assert all(isinstance(r, Conflict) for r in results[:20] if isinstance(r, BaseException))
    assert sorted(won + list(results[20:])) == list(range(2, 23))
    assert len(await held(store)) == 1 + 1 + 20
    assert len(await store.since(0)) == 1 + 2 + 20


async def test_a_cancelled_waiter_and_a_cancelled_writer_disturb_nobody(store: Store):
    waiting = asyncio.create_task(store.wait(0))
    writing = asyncio.create_task(store.commit([create(config("x"))]))
    await asyncio.sleep(0)
    waiting.cancel()
    writing.cancel()
    await asyncio.gather(waiting, writing, return_exceptions=True)
    revision = await store.commit([create(config("y"))])
    assert {revision_of(o) for k, o in (await held(store)).items() if k.name == "y"} == {revision}


async def test_a_closed_store_is_unavailable_and_wakes_who_waits(store: Store):
    waiting = asyncio.create_task(store.wait(0))
    writing = asyncio.create_task(store.commit([create(config())]))
    await asyncio.sleep(0)
    await store.close()
    await writing  # what was begun is finished
    results = await asyncio.gather(
        waiting, store.commit([update(config())]), store.snapshot(), store.since(0), store.wait(5), store.compact(1),
        return_exceptions=True,
    )  # fmt: skip
    assert isinstance(results[0], Unavailable | int)  # woken by the last commit or by the end
    assert all(isinstance(r, Unavailable) for r in results[1:])
    await store.close()
