"""A bounded ring of the newest events, with the revision up to which everything is forgotten.

Rule: events go in, come out and are forgotten by whole revisions only.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from mesh.errors import TooOld
from mesh.store.port import Event


@dataclass(frozen=True, slots=True)
class Retention:
    """What history keeps: the newest `events` and everything younger than `seconds`, within `ceiling` and `bytes`."""

    events: int = 10_000
    seconds: int = 600
    ceiling: int = 100_000  # events
    bytes: int = 256 << 20  # of values; the last word, so that the store stays bounded


def revision_of_event(event: Event) -> int:
    """The sort key of events."""
    return event.revision


def whole_revisions(events: Sequence[Event], limit: int) -> Sequence[Event]:
    """The first revisions of `events` that fit into `limit` events, and at least the first one, whole."""
    if len(events) <= limit:
        return events
    end = bisect_right(events, events[limit].revision - 1, key=revision_of_event)
    return events[: end or bisect_right(events, events[0].revision, key=revision_of_event)]


def too_old(asked: int, compacted: int) -> TooOld:
    """The error for a reader who comes too late."""
    return TooOld(f"revision {asked} is too old: history up to {compacted} is forgotten; list again")


class History:
    """Events after `compacted`, oldest first; at most `capacity` of them, or one revision if that is larger."""

    def __init__(self, revision: int = 0, capacity: int = 10_000) -> None:
        self.compacted = revision
        self._capacity = capacity
        self._events: list[Event] = []

    def __len__(self) -> int:
        return len(self._events)

    def add(self, events: Sequence[Event]) -> None:
        """Takes the events of whole revisions that follow the newest one; forgets the oldest beyond the capacity."""
        self._events.extend(events)
        if len(self._events) > self._capacity * 5 // 4:  # in steps, so that adding stays cheap
            last = self._events[len(self._events) - self._capacity - 1].revision
            self.compact(min(last, self._events[-1].revision - 1))

    def since(self, revision: int, limit: int = 1000) -> Sequence[Event]:
        """Events after `revision` as `Store.since` gives them; raises TooOld."""
        if revision < self.compacted:
            raise too_old(revision, self.compacted)
        start = bisect_right(self._events, revision, key=revision_of_event)
        # A revision is rarely larger than the limit: look one event beyond it, and at everything only then.
        events = self._events[start : start + limit + 1]
        if len(events) > limit and events[0].revision == events[-1].revision:
            events = self._events[start:]
        return whole_revisions(events, limit)

    def compact(self, revision: int) -> None:
        """Forgets events up to and including `revision`."""
        if revision > self.compacted:
            del self._events[: bisect_right(self._events, revision, key=revision_of_event)]
            self.compacted = revision
