"""Who has been silent for too long."""

from netproxy.balance import Affinity, Pool
from netproxy.idling import over
from netproxy.links import Link
from netproxy.routes import Listen, Route, Tuning


def link(limit: float) -> Link:
    pool = Pool(Affinity(), lambda: 0.0)
    pool.set(Route("default/web", "80/TCP", tuning=Tuning(idle_timeout=limit)), [])
    return Link(Listen("TCP", "10.96.0.1", 80), pool, ("10.0.0.1", 1), 100.0)


def test_silence_is_counted_from_the_last_byte_either_way() -> None:
    one, other, free = link(8), link(8), link(0)
    links = [one, other, free]
    assert over(links, 100.0) == ([], 2.0)
    one.client.count = 5
    assert over(links, 104.0)[0] == []
    one.server.count = 5
    assert over(links, 107.9)[0] == []
    assert over(links, 108.0)[0] == [other]
    assert over(links, 115.8)[0] == [other]
    assert over(links, 115.9)[0] == [one, other]


def test_looks_come_often_enough_for_the_shortest_and_not_at_all_without_one() -> None:
    assert over([link(0)], 100.0) == ([], 0.0)
    assert over([link(86_400)], 100.0) == ([], 10.0)
    assert over([link(86_400), link(4)], 100.0) == ([], 1.0)
