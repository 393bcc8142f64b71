"""The queue: one of each, later, and not while it is out."""

import asyncio

import pytest

from mesh.reconcile.queue import Queue
from tests.harness.bent_time import bent


def now() -> float:
    return asyncio.get_running_loop().time()


async def taken(queue: Queue[str]) -> tuple[str, float]:
    item = await queue.get()
    queue.done(item)
    return item, now()


async def nothing_for(queue: Queue[str], seconds: float) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), seconds)


@bent
async def test_an_item_added_twice_comes_once_and_in_order():
    queue: Queue[str] = Queue()
    for item in ("a", "b", "a"):
        queue.add(item)
    assert [(await taken(queue))[0] for _ in range(2)] == ["a", "b"]
    await nothing_for(queue, 3600)


@bent
async def test_what_is_added_while_it_is_out_comes_again_once_after_it_is_back():
    queue: Queue[str] = Queue()
    queue.add("a")
    item = await queue.get()
    queue.add("a")
    queue.add("a")
    await nothing_for(queue, 10)
    queue.done(item)
    assert (await taken(queue))[0] == "a"
    await nothing_for(queue, 10)


@bent
async def test_a_delay_is_kept_and_the_sooner_one_wins():
    queue: Queue[str] = Queue()
    queue.add_after("a", 30)
    queue.add_after("a", 10)
    queue.add_after("a", 20)
    assert await taken(queue) == ("a", 10)
    await nothing_for(queue, 60)


@bent
async def test_an_item_that_is_added_now_does_not_come_again_for_its_old_delay():
    queue: Queue[str] = Queue()
    queue.add_after("a", 30)
    queue.add("a")
    assert await taken(queue) == ("a", 0)
    await nothing_for(queue, 60)


@bent
async def test_a_delay_given_while_the_item_is_out_counts_but_not_beside_an_add():
    queue: Queue[str] = Queue()
    queue.add("a")
    item = await queue.get()
    queue.add_after("a", 5)
    queue.done(item)
    assert await taken(queue) == ("a", 5)
    queue.add("a")
    item = await queue.get()
    queue.add("a")
    queue.add_after("a", 5)
    queue.done(item)
    assert await taken(queue) == ("a", 5.0)
    await nothing_for(queue, 60)


@bent
async def test_back_off_doubles_from_one_second_to_sixty_and_starts_anew_after_success():
    queue: Queue[str] = Queue()
    assert [queue.retry("a") for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    queue.forget("a")
    assert queue.retry("a") == 1
    assert queue.retry("b") == 1


@bent
async def test_the_first_failures_may_be_retried_at_once():
    queue: Queue[str] = Queue()
    assert [queue.retry("a", at_once=2) for _ in range(4)] == [0, 0, 1, 2]


@bent
async def test_a_closed_queue_leaves_no_timer_behind():
    queue: Queue[str] = Queue()
    queue.add_after("a", 5)
    queue.close()
    await nothing_for(queue, 60)
