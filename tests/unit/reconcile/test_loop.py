"""The loop: every event becomes a reconcile that sees all earlier writes, and errors become what they should."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from mesh.errors import Conflict, Unavailable
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

A = Key("ConfigMap", "default", "a")


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
async def running(store: MemoryStore, step: Callable[[Key, View, int], Plan]):
    feed = Feed(store)
    async with asyncio.timeout(100_000), asyncio.TaskGroup() as group:
        tasks = [group.create_task(feed.run()), group.create_task(Loop(feed, store, [Given(step)], now_ns).run())]
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


@bent
async def test_a_bug_crashes():
    def step(_key: Key, _view: View, _now: int) -> Plan:
        raise KeyError("bug")

    store = MemoryStore()
    await store.commit([Write(key_of(config()), config(), 0)])
    with pytest.raises(ExceptionGroup) as caught:
        async with running(store, step):
            await asyncio.Event().wait()
    assert caught.group_contains(KeyError)
