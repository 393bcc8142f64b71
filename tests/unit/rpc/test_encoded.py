"""What watchers are sent of an event: made once for all of them, and kept as far as there is room."""

from mesh.model.kinds import Object, key_of, unpack
from mesh.rpc.watch import Encoded
from mesh.store.port import Event
from mesh.v1.control_pb2 import WatchEvent
from tests.harness import objects


def event(revision: int, now: Object | None, before: Object | None) -> Event:
    of = now if now is not None else before
    assert of is not None
    return Event(revision, key_of(of), now, before)


def test_it_is_made_once_for_each_way_of_seeing_it() -> None:
    encoded, changed = Encoded(), event(7, objects.config_map("a", n="2"), objects.config_map("a", n="1"))
    modified = encoded.of(WatchEvent.MODIFIED, changed)
    assert encoded.of(WatchEvent.MODIFIED, changed) is modified
    kinds = WatchEvent.ADDED, WatchEvent.MODIFIED, WatchEvent.DELETED
    added, modified_again, deleted = (WatchEvent.FromString(encoded.of(kind, changed)) for kind in kinds)
    assert (added.type, modified_again.type, deleted.type) == kinds
    assert {e.revision for e in (added, modified_again, deleted)} == {7}
    assert unpack(added.object) == changed.object
    last = unpack(deleted.object)
    assert last.data == {"n": "1"}  # type: ignore[union-attr]  # a ConfigMap
    assert last.metadata.resource_version == "7"  # that it is gone as of


def test_events_are_told_apart() -> None:
    encoded, one, other = Encoded(), objects.config_map("a"), objects.config_map("b")
    events = [event(7, one, None), event(7, other, None), event(8, one, None), event(8, objects.pod("a"), None)]
    assert len({encoded.of(WatchEvent.ADDED, e) for e in events}) == 4


def test_the_oldest_goes_when_there_is_no_room_left() -> None:
    events = [event(n, objects.config_map("a"), None) for n in range(1, 5)]
    room = sum(len(Encoded().of(WatchEvent.ADDED, e)) for e in events[:3])
    encoded = Encoded(room)
    first, second, *_ = [encoded.of(WatchEvent.ADDED, e) for e in events]
    assert encoded.of(WatchEvent.ADDED, events[1]) is second
    assert encoded.of(WatchEvent.ADDED, events[0]) is not first
    tiny = Encoded(1)
    assert tiny.of(WatchEvent.ADDED, events[0]) == first  # what there is no room for is made all the same
