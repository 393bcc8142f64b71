"""The feed: follows a store, owns the one View, and tells in-process subscribers and watchers what happened.

Rule: the view moves by whole revisions between two awaits of anyone else; nothing here polls, and a slow follower
costs nothing: it keeps a revision and reads again from the ring or the store.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from mesh.errors import TooOld
from mesh.store.history import History, whole_revisions
from mesh.store.mark import Mark
from mesh.store.port import Event, Store
from mesh.view import View

RING = 4096  # events at hand for followers; who is further behind reads from the store

Subscriber = Callable[[Sequence[Event]], None]


class Feed:
    """`view` is one object for ever; it is empty, at revision 0, until `run` has read the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.view = View()
        self._ring = History(capacity=RING)
        self._reached = Mark()
        self._subscribers: list[Subscriber] = []

    async def run(self) -> None:
        """Follows the store for ever; raises Unavailable once the store is closed or can't be read."""
        await self._load()
        while True:
            await self._store.wait(self.view.revision)
            try:
                events = await self._store.since(self.view.revision)
            except TooOld:
                await self._load()
                continue
            self.view.apply(events)
            self._ring.add(events)
            self._tell(events)

    async def reached(self, revision: int) -> None:
        """Returns once the view is loaded and at least at `revision`; 0 waits for the load only."""
        await self._reached.reached(revision)

    async def follow(self, after: int, pause: float | None = None) -> AsyncGenerator[Sequence[Event]]:
        """Every event after revision `after`, in batches of whole revisions, never ahead of the view; for ever. An
        empty batch after each `pause` seconds without any.

        Raises:
            TooOld: events in between are forgotten, or `after` lies ahead of the store (it was restored): list again.
        """
        await self._reached.reached(0)
        newest = await self._store.wait(-1)
        if after > newest:
            raise TooOld(f"revision {after} is ahead of the store, which is at {newest}; list again")
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._reached.reached(after + 1)
            except TimeoutError:
                yield ()
                continue
            events = await self._events(after)
            after = events[-1].revision
            yield events

    def on_events(self, subscriber: Subscriber) -> Callable[[], None]:
        """Calls `subscriber` right after every step of the view, the first load included; returns the way out.

        A subscriber must not block; what it raises crashes the feed. Who subscribes after the load looks at `view`
        for what was before.
        """
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    async def _load(self) -> None:
        snapshot = await self._store.snapshot()
        events = self.view.replace(snapshot)
        # What lay between is not known event by event, so followers from before must list again.
        self._ring = History(snapshot.revision, RING)
        self._tell(events)

    async def _events(self, after: int) -> Sequence[Event]:
        if after >= self._ring.compacted:
            return self._ring.since(after)
        events = await self._store.since(after)
        return whole_revisions([e for e in events if e.revision <= self.view.revision], len(events))

    def _tell(self, events: Sequence[Event]) -> None:
        if events:
            for subscriber in tuple(self._subscribers):
                subscriber(events)
        self._reached.advance(self.view.revision)
