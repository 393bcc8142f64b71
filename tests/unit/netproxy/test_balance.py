"""Where connections go, and what is remembered of backends."""

import random
from collections import Counter

from netproxy.balance import Affinity, Book, Counts, Pool
from netproxy.routes import Backend, Route, Tuning

BACKENDS = tuple(Backend(ip, 80, uid=ip) for ip in "abc")


def pool(route: Route, seed: int = 1) -> Pool:
    made = Pool(Affinity(), random.Random(seed).random)
    made.set(route, [Counts("n/s", b, 0.0) for b in route.backends])
    return made


def route(**more: object) -> Route:
    return Route("n/s", "80/TCP", BACKENDS, **more)  # type: ignore[arg-type]


def chosen(made: Pool, times: int, now: float = 100.0, client: str = "1.1.1.1") -> Counter[str]:
    found: Counter[str] = Counter()
    for _ in range(times):
        counts = made.choose(client, now)
        assert counts is not None
        found[counts.backend.ip] += 1
    return found


def test_the_default_is_uniform() -> None:
    found = chosen(pool(route()), 9000)
    assert all(2800 < number < 3200 for number in found.values())


def test_a_backend_that_cannot_be_reached_is_passed_over_longer_each_time() -> None:
    made = pool(route())
    bad = made.counts[0]
    now = 100.0
    for pause in (1, 2, 4, 8, 16, 30, 30):
        bad.unreachable(now)
        assert "a" not in chosen(made, 50, now + pause - 0.01)
        now += pause + 0.01
        assert "a" in chosen(made, 50, now)
    bad.connected(0.001)
    bad.unreachable(now)
    assert "a" in chosen(made, 50, now + 1.01)


def test_when_all_are_passed_over_all_are_tried() -> None:
    made = pool(route())
    for counts in made.counts:
        counts.unreachable(100.0)
    tried: list[Counts] = []
    while (counts := made.choose("c", 100.0, tried)) is not None:
        tried.append(counts)
    assert sorted(c.backend.ip for c in tried) == ["a", "b", "c"]


def test_least_connections_evens_out() -> None:
    made = pool(route(tuning=Tuning(balance="least-connections")))
    made.counts[0].open = 5
    for _ in range(10):
        counts = made.choose("c", 100.0)
        assert counts is not None
        counts.open += 1
    assert sorted(c.open for c in made.counts) == [5, 5, 5]


def test_round_robin_skips_who_is_passed_over() -> None:
    made = pool(route(tuning=Tuning(balance="round-robin")))
    made.counts[1].unreachable(100.0)
    assert [next(iter(chosen(made, 1))) for _ in range(4)] == ["a", "c", "a", "c"]


def test_a_new_backend_starts_slowly() -> None:
    made = pool(route(tuning=Tuning(slow_start=100.0)))
    made.counts[0].since = 1000.0
    made.set(made.route, made.counts)
    early, late = chosen(made, 3000, 1010.0)["a"], chosen(made, 3000, 1200.0)["a"]
    assert early < 300
    assert late > 900


def test_affinity_holds_for_its_time_and_begins_anew_with_each_use() -> None:
    made = pool(route(affinity=10))
    first = next(iter(chosen(made, 1, 100.0)))
    assert all(chosen(made, 1, now) == {first: 1} for now in (109.0, 118.0, 127.0))
    later = {next(iter(chosen(made, 1, 200.0 + turn * 20))) for turn in range(30)}
    assert len(later) > 1


def test_counts_of_another_pod_at_the_same_address_are_anothers() -> None:
    book = Book(random.random)
    old, new = Backend("a", 80, "n/p", "1"), Backend("a", 80, "n/p", "2")
    counts = book.counts_of("n/s", old, 0.0)
    counts.open = 1
    assert book.counts_of("n/s", new, 0.0) is not counts
    assert book.settle("n/s", {new}, {new}) == [counts]
    counts.open = 0
    book.settle("n/s", {new}, {new})
    assert [c.backend for _, all_of in book.services() for c in all_of] == [new]
