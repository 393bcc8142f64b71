"""The ring of events: bounded, by whole revisions, and honest about what it forgot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import TooOld
from mesh.model.keys import Key
from mesh.store.history import History
from mesh.store.port import Event


def events(revision: int, count: int = 1) -> list[Event]:
    return [Event(revision, Key("Pod", "default", str(n)), None, None) for n in range(count)]


def test_it_forgets_the_oldest_beyond_its_capacity_and_says_so():
    ring = History(capacity=100)
    for revision in range(1, 1001):
        ring.add(events(revision))
        assert 100 <= len(ring) <= 125 or revision < 100
    assert ring.since(ring.compacted, 1)[0].revision == ring.compacted + 1
    with pytest.raises(TooOld, match="list again"):
        ring.since(ring.compacted - 1)


def test_one_revision_larger_than_the_capacity_stays_whole():
    ring = History(capacity=10)
    ring.add(events(1))
    ring.add(events(2, 100))
    assert len(ring.since(1)) == 100
    ring.add(events(3))
    assert [e.revision for e in ring.since(2)] == [3]


def test_it_begins_where_it_is_told_to():
    ring = History(revision=7)
    assert ring.since(7) == []
    with pytest.raises(TooOld):
        ring.since(6)


@given(st.lists(st.integers(1, 6), max_size=60), st.integers(1, 20), st.integers(1, 8), st.integers(0, 40))
def test_paging_from_any_point_gives_every_event_once(sizes: list[int], capacity: int, limit: int, forget: int):
    ring = History(capacity=capacity)
    told: list[Event] = []
    for revision, size in enumerate(sizes, 1):
        ring.add(events(revision, size))
        told += events(revision, size)
    ring.compact(min(forget, len(sizes)))
    at, paged = ring.compacted, []
    while page := ring.since(at, limit):
        assert len(page) <= limit or page[0].revision == page[-1].revision
        paged += page
        at = page[-1].revision
    assert paged == [e for e in told if e.revision > ring.compacted]
