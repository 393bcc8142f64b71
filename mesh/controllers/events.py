"""Events are forgotten: an hour after they were last seen, and the oldest first when there are too many (S8).

Rule: pure but for a count; everything else of an Event belongs to who reported it. It looks once a minute while there
are events, and when there are a tenth more than there may be: each look is at all of them.
"""

from collections.abc import Iterable

from mesh.model.keys import Key
from mesh.model.kinds import key_of, revision_of
from mesh.model.times import SECOND, from_timestamp
from mesh.reconcile.plan import NOTHING, Plan
from mesh.store.port import Event as Change
from mesh.store.port import Write
from mesh.v1.core_pb2 import Event
from mesh.view import View

PERIOD = 60.0  # seconds
_ALL = Key("Events", "", "all")


class Events:
    """`ttl_seconds`: how long an event lives; `most`: how many there may be, whatever their age."""

    name = "events"

    def __init__(self, ttl_seconds: int = 3600, most: int = 10_000) -> None:
        self._ttl = ttl_seconds * SECOND
        self._most = most
        self._count = 0

    def keys(self, change: Change) -> Iterable[Key]:
        """The one key, when the first event begins the waiting, or there are too many."""
        if change.key.kind != "Event":
            return ()
        before, came = self._count, (change.object is not None) - (change.previous is not None)
        self._count = max(0, before + came)
        return (_ALL,) if came > 0 and (not before or self._count > self._most * 1.1) else ()

    def reconcile(self, _key: Key, view: View, now_ns: int) -> Plan:
        """Removes what is old or too much, and looks again in a minute while there is any."""
        if not view.count("Event"):
            return NOTHING
        events = sorted((e for e in view.of_kind("Event") if isinstance(e, Event)), key=_last_seen)
        too_many = len(events) - self._most
        old = [e for i, e in enumerate(events) if i < too_many or _last_seen(e) < now_ns - self._ttl]
        return Plan([Write(key_of(e), None, revision_of(e)) for e in old], PERIOD)


def _last_seen(event: Event) -> int:
    said = max(from_timestamp(event.last_timestamp), from_timestamp(event.event_time))
    return said or from_timestamp(event.metadata.creation_timestamp)
