"""The feed: one view that moves by whole revisions, and followers that miss nothing and hold up nobody."""

import asyncio
from collections.abc import Sequence
from contextlib import asynccontextmanager

import pytest

from mesh.errors import TooOld, Unavailable
from mesh.model.keys import Key
from mesh.model.kinds import key_of, revision_of
from mesh.store import feed as feeds
from mesh.store.feed import Feed
from mesh.store.memory import MemoryStore
from mesh.store.port import Event, Write
from mesh.v1.core_pb2 import ConfigMap, Pod
from mesh.view import View
from tests.harness.bent_time import bent


def config(name: str = "a", **data: str) -> ConfigMap:
    obj = ConfigMap(data=data)
    obj.metadata.name, obj.metadata.namespace = name, "default"
    return obj


def put(*objects: ConfigMap | Pod) -> list[Write]:
    return [Write(key_of(obj), obj) for obj in objects]


def drop(name: str) -> list[Write]:
    return [Write(Key("ConfigMap", "default", name), None)]


@asynccontextmanager
async def running(store: MemoryStore):
    feed = Feed(store)
    async with asyncio.timeout(1000), asyncio.TaskGroup() as group:
        task = group.create_task(feed.run())
        yield feed
        task.cancel()


async def first(feed: Feed, after: int, count: int) -> list[Event]:
    events: list[Event] = []
    async for batch in feed.follow(after):
        events += batch
        if len(events) >= count:
            break
    return events


@bent
async def test_the_view_has_what_was_there_before_and_what_comes():
    store = MemoryStore()
    await store.commit(put(config("a")))
    async with running(store) as feed:
        await feed.reached(0)
        assert (feed.view.revision, feed.view.count("ConfigMap")) == (1, 1)
        revision = await store.commit(put(config("b"), config("c")))
        await feed.reached(revision)
        assert feed.view.revision == revision
        assert [o.metadata.name for o in feed.view.of_kind("ConfigMap")] == ["a", "b", "c"]


@bent
async def test_the_view_never_stands_inside_a_commit():
    store, seen = MemoryStore(), []
    async with running(store) as feed:
        feed.on_events(lambda _events: seen.append(feed.view.count("ConfigMap")))
        await feed.reached(0)
        for n in range(20):
            await store.commit(put(config(f"{n}-a"), config(f"{n}-b"), config(f"{n}-c")))
        await feed.reached(20)
    assert all(count % 3 == 0 for count in seen)


@bent
async def test_subscribers_hear_the_load_and_every_step_right_after_it_until_they_leave():
    store, heard = MemoryStore(), list[tuple[int, str, int]]()
    await store.commit(put(config("a")))
    async with running(store) as feed:
        leave = feed.on_events(
            lambda events: heard.extend((e.revision, e.key.name, feed.view.revision) for e in events)
        )
        await feed.reached(0)
        await feed.reached(await store.commit(put(config("b"))))
        leave()
        await feed.reached(await store.commit(put(config("c"))))
    assert heard == [(1, "a", 1), (2, "b", 2)]


@bent
async def test_following_gives_every_event_after_a_revision_once_and_in_order():
    store = MemoryStore()
    async with running(store) as feed:
        for n in range(10):
            await store.commit(put(config("a", n=str(n)), config(f"x{n}")))
        following = asyncio.create_task(first(feed, 4, 40))
        for _ in range(14):
            await store.commit(put(config("b"), config("c")))
        events = await following
    assert [e.revision for e in events] == [r for r in range(5, 25) for _ in range(2)]


@bent
async def test_a_follower_of_the_newest_revision_waits_for_the_next():
    store = MemoryStore()
    async with running(store) as feed:
        revision = await store.commit(put(config("a")))
        following = asyncio.create_task(first(feed, revision, 1))
        await feed.reached(revision)
        await asyncio.sleep(10)  # of bent time
        assert not following.done()
        await store.commit(drop("a"))
        (event,) = await following
        assert (event.revision, event.object, event.previous and event.previous.metadata.name) == (2, None, "a")


@bent
async def test_a_follower_hears_of_silence_when_it_wishes():
    store = MemoryStore()
    async with running(store) as feed:
        batches, loop = feed.follow(await store.commit(put(config("a"))), 3), asyncio.get_running_loop()
        began = loop.time()
        assert [await anext(batches) for _ in range(2)] == [(), ()]
        assert loop.time() - began == pytest.approx(6)
        revision = await store.commit(put(config("b")))
        assert [e.revision for e in await anext(batches)] == [revision]
        await batches.aclose()


@bent
async def test_a_follower_never_gets_ahead_of_the_view(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feeds, "RING", 5)
    store = MemoryStore()
    async with running(store) as feed:
        for n in range(200):
            await store.commit(put(config(str(n))))
        at = 0
        async for batch in feed.follow(0):
            assert [e.revision for e in batch] == list(range(at + 1, at + 1 + len(batch)))
            at = batch[-1].revision
            assert at <= feed.view.revision
            if at == 300:
                break
            await store.commit(put(config("more")))
            if at == 200 + 99:
                await feed.reached(300)


@bent
async def test_slow_followers_hold_up_nobody_and_read_on_from_the_store(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(feeds, "RING", 10)
    store = MemoryStore()
    async with running(store) as feed:
        await feed.reached(0)
        slow = feed.follow(0)
        await store.commit(put(config("first")))
        assert [e.revision for e in await anext(slow)] == [1]
        for n in range(500):
            await store.commit(put(config(str(n))))
        await feed.reached(501)
        got: list[Event] = []
        while len(got) < 500:
            got += await anext(slow)
        assert [e.revision for e in got] == list(range(2, 502))


@bent
async def test_following_from_forgotten_or_unknown_revisions_is_too_old():
    store = MemoryStore()
    for n in range(10):
        await store.commit(put(config(str(n))))
    await store.compact(5)
    async with running(store) as feed:
        await feed.reached(10)
        with pytest.raises(TooOld):
            await first(feed, 4, 1)
        assert len(await first(feed, 5, 5)) == 5
        with pytest.raises(TooOld, match="ahead"):
            await first(feed, 11, 1)


class Forgetful(MemoryStore):
    """Has forgotten what the feed asks for, once."""

    forget = False

    async def since(self, revision: int, limit: int = 1000) -> Sequence[Event]:
        if self.forget:
            self.forget = False
            raise TooOld("gone")
        return await super().since(revision, limit)


@bent
async def test_a_feed_that_falls_behind_loads_anew_and_subscribers_hear_the_difference():
    store, heard = Forgetful(), list[tuple[str, bool]]()
    await store.commit(put(config("same"), config("changed"), config("gone")))
    async with running(store) as feed:
        view = feed.view
        await feed.reached(1)
        feed.on_events(lambda events: heard.extend((e.key.name, e.object is not None) for e in events))
        store.forget = True
        await store.commit(put(config("changed", x="1"), config("new")) + drop("gone"))
        await feed.reached(2)
        assert feed.view is view
        assert sorted(heard) == [("changed", True), ("gone", False), ("new", True)]
        assert [(o.metadata.name, revision_of(o)) for o in view.of_kind("ConfigMap")] == [
            ("changed", 2), ("new", 2), ("same", 1)]  # fmt: skip


@bent
async def test_a_closed_store_ends_the_feed():
    store = MemoryStore()
    with pytest.raises(ExceptionGroup) as caught:
        async with running(store) as feed:
            await feed.reached(0)
            await store.close()
            await asyncio.Event().wait()
    assert caught.group_contains(Unavailable)


def pod(name: str, node: str = "", owner: str = "") -> Pod:
    obj = Pod()
    obj.metadata.name, obj.metadata.namespace = name, "default"
    if node:
        obj.spec.node_name = node
    if owner:
        obj.metadata.owner_references.add(uid=owner)
    return obj


@bent
async def test_the_view_finds_pods_by_node_and_children_by_owner_as_they_move():
    store = MemoryStore()
    async with running(store) as feed:
        view: View = feed.view
        await feed.reached(await store.commit(put(pod("a"), pod("b", owner="o1"), pod("c", "n1"))))
        assert [p.metadata.name for p in view.pods_on("")] == ["a", "b"]
        await feed.reached(await store.commit(put(pod("a", "n1"), pod("b", owner="o2"))))
        assert [p.metadata.name for p in view.pods_on("n1")] == ["a", "c"]
        assert [p.metadata.name for p in view.pods_on("")] == ["b"]
        assert view.children("o1") == []
        assert [o.metadata.name for o in view.children("o2")] == ["b"]
        await feed.reached(await store.commit([Write(Key("Pod", "default", n), None) for n in "abc"]))
        assert (view.pods(), view.pods_on("n1"), view.children("o2")) == ([], [], [])
