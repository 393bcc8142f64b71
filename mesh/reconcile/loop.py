"""The one shell around all controllers: from events to keys, from plans to commits.

Rule: a controller works on one key at a time and sees its own writes before the next; a lost race is tried again from
the newer view, an unavailable store after a back-off. A bug that one object brings out is that key's alone: it is
logged, counted, told as an Event of the object, and tried again after a back-off; all others are controlled as ever.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from mesh.errors import AlreadyExists, Conflict, NotFound, Unavailable
from mesh.exposition.tally import Tally
from mesh.exposition.text import Family
from mesh.model.keys import Key
from mesh.model.kinds import key_of
from mesh.reconcile.failures import RECONCILES, tell
from mesh.reconcile.plan import Controller
from mesh.reconcile.queue import Queue
from mesh.store.feed import Feed
from mesh.store.port import Event, Store

log = structlog.get_logger(__name__)

TELL_EVERY = 30  # failures of a key in a row: about as many minutes
LOST_RACES = 5  # in a row and without back-off; more than that is a plan that ignores what it reads
TOOK = Family("controller_runtime_reconcile_time_seconds", "histogram", "How long a key took, commit included.")


class Loop:
    """Runs controllers against a feed and a store; `clock` gives nanoseconds since the epoch."""

    def __init__(
        self, feed: Feed, store: Store, controllers: Sequence[Controller], clock: Callable[[], int],
        tally: Tally | None = None,
    ) -> None:  # fmt: skip
        self._tally = tally or Tally()
        self._feed = feed
        self._store = store
        self._clock = clock
        self._queues: list[tuple[Controller, Queue[Key]]] = [(c, Queue()) for c in controllers]

    async def run(self) -> None:
        """Reconciles for ever; may be started before or after the feed."""
        leave = self._feed.on_events(self._enqueue)
        try:
            self._enqueue(self._everything())
            async with asyncio.TaskGroup() as group:
                for controller, queue in self._queues:
                    group.create_task(self._work(controller, queue), name=f"reconcile {controller.name}")
        finally:
            leave()
            for _, queue in self._queues:
                queue.close()

    def depths(self) -> dict[str, int]:
        """How many keys wait, by controller."""
        return {controller.name: len(queue) for controller, queue in self._queues}

    def _everything(self) -> list[Event]:
        view = self._feed.view
        return [Event(view.revision, key_of(obj), obj, None) for obj in view.objects()]

    def _enqueue(self, events: Sequence[Event]) -> None:
        for controller, queue in self._queues:
            for event in events:
                try:
                    keys = list(controller.keys(event))
                except Exception:
                    log.exception("event_failed", controller=controller.name, key=str(event.key))
                    self._tally.add(RECONCILES, f'controller="{controller.name}",result="error"')
                    continue
                for key in keys:
                    queue.add(key)

    async def _work(self, controller: Controller, queue: Queue[Key]) -> None:
        while True:
            key = await queue.get()
            began, result = time.perf_counter(), "error"
            try:
                await self._reconcile(controller, queue, key)
                result = "success"
            except (Conflict, AlreadyExists, NotFound) as error:
                await self._feed.reached(await self._store.wait(-1))
                wait, result = queue.retry(key, at_once=LOST_RACES), "requeue"
                log.info("reconcile_again", controller=controller.name, key=str(key), why=error.message, seconds=wait)
            except Unavailable as error:
                wait = queue.retry(key)
                log.warning(
                    "reconcile_later", controller=controller.name, key=str(key), why=error.message, seconds=wait
                )
            except Exception as error:
                wait = queue.retry(key)
                log.exception("reconcile_failed", controller=controller.name, key=str(key), seconds=wait)
                if queue.failures(key) % TELL_EVERY == 1:
                    await tell(self._store, self._feed, self._clock, controller.name, key, error)
            self._tally.add(RECONCILES, f'controller="{controller.name}",result="{result}"')
            self._tally.observe(TOOK, f'controller="{controller.name}"', time.perf_counter() - began)
            queue.done(key)
            await asyncio.sleep(0)  # a long queue without writes must not hold the event loop

    async def _reconcile(self, controller: Controller, queue: Queue[Key], key: Key) -> None:
        plan = controller.reconcile(key, self._feed.view, self._clock())
        if plan.writes:
            await self._feed.reached(await self._store.commit(plan.writes))
        queue.forget(key)
        for alone in plan.apart:
            queue.add(alone)
        if plan.requeue_after is not None:
            queue.add_after(key, plan.requeue_after)
