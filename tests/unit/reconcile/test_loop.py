"""The loop: every event becomes a reconcile that sees all earlier writes, and errors become what they should."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from mesh.errors import Conflict, Unavailable
from mesh.exposition.tally import Tally
from mesh.exposition.text import Page
from mesh.model.keys import Key
from mesh.model.kinds import key_of, revision_of
from mesh.reconcile.loop import LOST_RACES, Loop
from mesh.reconcile.plan import NOTHING, Plan
from mesh.store.feed import Feed
from mesh.store.memory import MemoryStore
from mesh.store.port import Event, Write
from mesh.v1.core_pb2 import ConfigMap
from mesh.view import View
from tests.harness.bent_time import bent, now_ns
from tests.harness.objects import namespace

A = Key("ConfigMap", "default", "a")
SPACE = Key("Namespace", "", "default")


def config(name: str = "a", **data: str) -> ConfigMap:
    obj = ConfigMap(data=data)
    obj.metadata.name, obj.metadata.namespace = name, "default"
    return obj


class Given:
    """A controller made of one function."""

    name = "given"

    def __init__(self, step: Callable[[Key, View, int], Plan]) -> None:
        self.reconcile = step

    def keys(self, event: Event) -> Iterable[Key]:
        return [event.key]


def shown(tally: Tally) -> str:
    page = Page()
    tally.show(page)
    return page.render().decode()


class FailingStore(MemoryStore):
    """Raises what it is told to, instead of committing."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[Exception] = []

    async def commit(self, writes: Sequence[Write]) -> int:
        if self.errors:
            raise self.errors.pop(0)
        return await super().commit(writes)


@asynccontextmanager
async def running(
    store: MemoryStore, step: Callable[[Key, View, int], Plan], tally: Tally | None = None, given: type[Given] = Given
):  # fmt: skip
    feed = Feed(store)
    async with asyncio.timeout(100_000), asyncio.TaskGroup() as group:
        loop = Loop(feed, store, [given(step)], now_ns, tally)
        tasks = [group.create_task(feed.run()), group.create_task(loop.run())]
        yield feed
        for task in tasks:
            task.cancel()


def count_to(limit: int) -> Callable[[Key, View, int], Plan]:
    def step(key: Key, view: View, _now: int) -> Plan:
        held = view.get(key)
        assert isinstance(held, ConfigMap)
        count = int(held.data["count"])
        if count >= limit:
            return NOTHING
        return Plan([Write(key, config(key.name, count=str(count + 1)), revision_of(held))])

    return step


@pytest.mark.parametrize("before", [True, False])
@bent
async def test_objects_from_before_and_after_the_start_are_reconciled_until_nothing_is_left(before: bool):
    store = MemoryStore()
    if before:
        await store.commit([Write(A, config(count="0"), 0)])
    async with running(store, count_to(5)) as feed:
        await feed.reached(0)
        if not before:
            await store.commit([Write(A, config(count="0"), 0)])
        await feed.reached(6)
        assert feed.view.get(A).data["count"] == "5"


@bent
async def test_a_reconcile_sees_its_own_write_before_the_next():
    store, seen = MemoryStore(), []

    def step(key: Key, view: View, _now: int) -> Plan:
        seen.append(view.revision)
        return count_to(20)(key, view, _now)

    await store.commit([Write(A, config(count="0"), 0)])
    async with running(store, step) as feed:
        await feed.reached(21)
    assert seen[:20] == list(range(1, 21))


@bent
async def test_a_lost_race_is_decided_again_from_the_newer_view_at_once():
    store, raced = FailingStore(), []

    def step(key: Key, view: View, now: int) -> Plan:
        raced.append((view.revision, now))
        return count_to(1)(key, view, now)

    await store.commit([Write(A, config(count="0"), 0)])
    store.errors = [Conflict("lost")] * LOST_RACES
    async with running(store, step) as feed:
        await feed.reached(2)
    assert len({now for _, now in raced}) == 1


@bent
async def test_a_plan_that_loses_for_ever_is_slowed_down():
    store = MemoryStore()
    times: list[int] = []
    enough = asyncio.Event()

    def step(key: Key, _view: View, now: int) -> Plan:
        times.append(now // 1_000_000_000)
        if len(times) == LOST_RACES + 8:
            enough.set()
        return Plan([Write(key, config(), 0)])  # always there already

    await store.commit([Write(A, config(), 0)])
    async with running(store, step):
        await enough.wait()
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps == [0] * LOST_RACES + [1, 2, 4, 8, 16, 32, 60]


@bent
async def test_an_unavailable_store_is_tried_again_with_back_off():
    store = FailingStore()
    await store.commit([Write(A, config(count="0"), 0)])
    store.errors = [Unavailable("disk full")] * 3
    async with running(store, count_to(1)) as feed:
        await feed.reached(2)
        assert asyncio.get_running_loop().time() == 1 + 2 + 4


@bent
async def test_requeue_after_comes_back_in_bent_time():
    store, times = MemoryStore(), []
    twice = asyncio.Event()

    def step(_key: Key, _view: View, now: int) -> Plan:
        times.append(now)
        if len(times) == 2:
            twice.set()
            return NOTHING
        return Plan(requeue_after=3600.5)

    await store.commit([Write(A, config(), 0)])
    async with running(store, step):
        await twice.wait()
    assert times[1] - times[0] == 3_600_500_000_000


BAD = Key("ConfigMap", "default", "bad")


def count_all_but_bad(tried: list[int]) -> Callable[[Key, View, int], Plan]:
    def step(key: Key, view: View, now: int) -> Plan:
        if key == BAD and "mended" not in view.get(BAD).data:
            tried.append(now // 1_000_000_000)
            raise KeyError("hunter2")
        return NOTHING if key.kind != "ConfigMap" or key == BAD else count_to(3)(key, view, now)

    return step


@bent
async def test_a_bug_that_one_object_brings_out_stops_nothing_else():
    store, tried, tally = MemoryStore(), [], Tally()
    objects = (config("bad"), config(count="0"), namespace("default"))
    await store.commit([Write(key_of(obj), obj, 0) for obj in objects])
    async with running(store, count_all_but_bad(tried), tally) as feed:
        await feed.reached(1)
        while feed.view.get(A).data["count"] != "3":
            await feed.reached(feed.view.revision + 1)
        assert len(tried) == 1
        await asyncio.sleep(130)
        assert [after - before for before, after in pairwise(tried)] == [1, 2, 4, 8, 16, 32, 60]
        (told,) = feed.view.of_kind("Event")
        assert (told.involved_object.name, told.reason, told.type) == ("bad", "ControllerFailed", "Warning")
        assert "given" in told.message
        assert "KeyError" in told.message
        assert "hunter2" not in told.message
    assert f'result="error"}} {len(tried)}' in shown(tally)


@bent
async def test_an_object_that_was_mended_is_controlled_again_at_once_and_its_next_bug_is_told_anew():
    store, tried = MemoryStore(), []
    await store.commit([Write(BAD, config("bad"), 0), Write(SPACE, namespace("default"), 0)])
    async with running(store, count_all_but_bad(tried)) as feed:
        await feed.reached(2)
        for data in ({"mended": "1"}, {}):
            await asyncio.sleep(100)
            held = feed.view.get(BAD)
            await store.commit([Write(BAD, config("bad", **data), revision_of(held))])
        before = len(tried)
        await asyncio.sleep(1.5)
        assert len(tried) == before + 2
        assert [told.count for told in feed.view.of_kind("Event")] == [2]


@bent
async def test_an_event_that_a_controller_cannot_read_is_counted_and_the_next_one_is_read():
    class Picky(Given):
        def keys(self, event: Event) -> Iterable[Key]:
            if event.key == BAD:
                raise ValueError
            return [event.key]

    store, tally = MemoryStore(), Tally()
    await store.commit([Write(BAD, config("bad"), 0)])
    async with running(store, count_to(3), tally, Picky) as feed:
        await feed.reached(0)
        await store.commit([Write(A, config(count="0"), 0)])
        await feed.reached(5)
        assert feed.view.get(A).data["count"] == "3"
    assert 'result="error"} 1' in shown(tally)


@bent
async def test_a_key_that_is_to_be_looked_at_by_itself_has_its_own_back_off():
    store, seen, enough = MemoryStore(), [], asyncio.Event()

    def step(key: Key, _view: View, now: int) -> Plan:
        seen.append((key.name, now // 1_000_000_000))
        if len(seen) == 4:
            enough.set()
        if key == BAD:
            raise KeyError
        return Plan(apart=[BAD])

    await store.commit([Write(A, config(), 0)])
    async with running(store, step):
        await enough.wait()
    start = seen[0][1]
    assert [(name, at - start) for name, at in seen] == [("a", 0), ("bad", 0), ("bad", 1), ("bad", 3)]
