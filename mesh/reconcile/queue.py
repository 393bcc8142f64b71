"""A queue that holds each item once, now or later, with a back-off per item that fails.

Rule: an item is never given out twice at a time; what is added meanwhile comes again after `done`.
"""

import asyncio
from typing import Generic, TypeVar

Item = TypeVar("Item")

FIRST, MOST = 1.0, 60.0  # seconds of the first and of the longest back-off


class Queue(Generic[Item]):
    """Delays run by the event loop's clock, so a loop with bent time bends them."""

    def __init__(self) -> None:
        self._ready: dict[Item, None] = {}
        self._out: set[Item] = set()
        self._again: set[Item] = set()
        self._timers: dict[Item, asyncio.TimerHandle] = {}
        self._failures: dict[Item, int] = {}
        self._added = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, item: Item) -> None:
        """Makes the item ready now; a delay that it waited for is over."""
        timer = self._timers.pop(item, None)
        if timer is not None:
            timer.cancel()
        if item in self._out:
            self._again.add(item)
        else:
            self._ready[item] = None
            self._added.set()

    def add_after(self, item: Item, seconds: float) -> None:
        """Makes the item ready in `seconds`, unless it is to come sooner anyway."""
        if item in self._ready or item in self._again:
            return
        loop = asyncio.get_running_loop()
        timer = self._timers.get(item)
        if timer is None or timer.when() > loop.time() + seconds:
            if timer is not None:
                timer.cancel()
            self._timers[item] = loop.call_later(seconds, self.add, item)

    def retry(self, item: Item, at_once: int = 0) -> float:
        """Adds an item that failed: `at_once` times in a row now, then after 1, 2, 4 … 60 s; returns them."""
        failures = self._failures.get(item, 0) + 1
        self._failures[item] = failures
        if failures <= at_once:
            self.add(item)
            return 0.0
        seconds = min(MOST, FIRST * 2.0 ** min(failures - at_once - 1, 10))
        self.add_after(item, seconds)
        return seconds

    def failures(self, item: Item) -> int:
        """How often in a row the item has failed."""
        return self._failures.get(item, 0)

    def forget(self, item: Item) -> None:
        """The item went well: its next failure is the first again."""
        self._failures.pop(item, None)

    async def get(self) -> Item:
        """The item that is ready for longest; the caller has it until `done`."""
        while not self._ready:
            self._added.clear()
            await self._added.wait()
        item = next(iter(self._ready))
        del self._ready[item]
        self._out.add(item)
        return item

    def done(self, item: Item) -> None:
        """Gives the item back."""
        self._out.discard(item)
        if item in self._again:
            self._again.discard(item)
            self.add(item)

    def close(self) -> None:
        """Cancels every delay."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
