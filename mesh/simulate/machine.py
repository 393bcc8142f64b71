"""Controllers on a view of their own, in a time of its own: one key after the other, until nothing is left to do.

Rule: pure. It keeps what meshd's loop and store keep: a plan rests on what it read, a commit is all or nothing, keys
that a controller wants to see again come when the time has passed. Every commit is shown to `watch`.
"""

import heapq
from collections.abc import Callable, Sequence

from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.kinds import Object, key_of, revision_of
from mesh.model.times import SECOND
from mesh.reconcile.plan import Controller
from mesh.store.port import Event, Write
from mesh.view import View

Item = tuple[int, Key]  # which controller, and what it is to look at


class Machine:
    """`view` is the machine's own and moves by its commits alone; `now` is nanoseconds since the epoch."""

    def __init__(self, view: View, controllers: Sequence[Controller], now: int) -> None:
        self.view = view
        self.controllers = controllers
        self.now = now
        self.watch: Callable[[Sequence[Event]], None] = lambda _events: None
        self._queue: dict[Item, None] = {}
        self._later: dict[Item, int] = {}
        self._heap: list[tuple[int, Item]] = []

    def begin(self) -> None:
        """Shows everything that is there to the controllers, as a start of meshd does."""
        self._show([Event(self.view.revision, key_of(obj), obj, None) for obj in self.view.objects()])

    def waiting(self) -> list[Item]:
        """What is to be looked at now, longest waiting first."""
        return list(self._queue)

    def step(self, index: int = 0) -> bool:
        """Looks at one key; says whether there was one."""
        if not self._queue:
            return False
        item = next(iter(self._queue)) if index == 0 else self.waiting()[index]
        del self._queue[item]
        number, key = item
        plan = self.controllers[number].reconcile(key, self.view, self.now)
        if plan.writes:
            self.commit(plan.writes)
        for alone in plan.apart:
            self._queue.setdefault((number, alone))
        if plan.requeue_after is not None:
            when = self.now + round(plan.requeue_after * SECOND)
            if when < self._later.get(item, when + 1):
                self._later[item] = when
                heapq.heappush(self._heap, (when, item))
        return True

    def settle(self, most: int = 1_000_000) -> None:
        """Looks at keys until none is left; raises AssertionError when that never ends."""
        for _ in range(most):
            if not self.step():
                return
        raise AssertionError(f"the controllers never rest: {self.waiting()[:5]}")

    def next_due(self) -> int | None:
        """When the next key comes by time alone."""
        while self._heap and self._later.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def move_to(self, now: int) -> None:
        """Moves the clock, never back; keys whose delay is over come to be looked at."""
        self.now = max(self.now, now)
        while (due := self.next_due()) is not None and due <= self.now:
            _, item = heapq.heappop(self._heap)
            del self._later[item]
            self._queue[item] = None

    def put(self, obj: Object | None, key: Key | None = None) -> None:
        """A commit of somebody else: an object, or the end of one by its key."""
        name = key if key is not None else key_of(obj) if obj is not None else Key("", "", "")
        held = self.view.get(name)
        self.commit([Write(name, obj, revision_of(held) if held is not None else 0)])

    def commit(self, writes: Sequence[Write]) -> None:
        """As the store's; raises AssertionError where that would refuse."""
        revision = self.view.revision + 1
        assert len({w.key for w in writes}) == len(writes), f"one object twice in a commit: {writes}"  # noqa: S101
        events = []
        for write in writes:
            held = self.view.get(write.key)
            have = revision_of(held) if held is not None else 0
            assert write.expect in (None, have), f"{write.key} is at {have}, not {write.expect}"  # noqa: S101
            stored = None
            if write.object is not None:
                stored = copy_of(write.object)
                stored.metadata.resource_version = str(revision)
            events.append(Event(revision, write.key, stored, held))
        self.view.apply(events)
        self.watch(events)
        self._show(events)

    def _show(self, events: Sequence[Event]) -> None:
        for number, controller in enumerate(self.controllers):
            for event in events:
                for key in controller.keys(event):
                    self._queue.setdefault((number, key))
