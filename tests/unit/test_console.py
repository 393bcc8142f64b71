"""The console's pure parts: tickets and sessions, what is escaped, long lists, who talks to whom."""

import itertools

import pytest

from mesh.access.who import Who
from mesh.console import flowpage, podpage
from mesh.console.html import PAGE, pages, spark, table, tag
from mesh.console.pages import FEW, hosts, hosts_shown, overview, pods
from mesh.console.reader import Known, Reader
from mesh.console.sessions import IDLE, MOST, SESSION, TICKET, Sessions
from mesh.errors import Unavailable
from mesh.pki import ADMINS
from mesh.store.port import Snapshot
from mesh.v1.core_pb2 import Pod
from mesh.v1.node_pb2 import Flow, Flows, ServiceFlows
from mesh.v1.stats_pb2 import History, Series
from mesh.view import View
from tests.harness.crowd import NOW, objects
from tests.harness.services import pod

ADA = Who("ada", (ADMINS,))


def sessions() -> Sessions:
    words = (f"word-{n}" for n in itertools.count())
    return Sessions(lambda: next(words))


def test_a_ticket_is_good_once_and_for_a_minute() -> None:
    held = sessions()
    ticket = held.ticket(ADA, None, 100.0)
    word = held.redeem(ticket, 101.0)
    found = held.of(word, 102.0)
    assert found is not None
    assert found.who == ADA
    assert held.redeem(ticket, 102.0) == ""
    assert held.redeem(held.ticket(ADA, None, 100.0), 100.0 + TICKET) == ""
    assert held.of("", 102.0) is None
    assert held.of(ticket, 102.0) is None


def test_a_session_ends_when_nobody_uses_it_and_in_any_case_in_the_end() -> None:
    held = sessions()
    word = held.redeem(held.ticket(ADA, None, 0.0), 0.0)
    assert held.of(word, IDLE - 1.0) is not None
    assert held.of(word, 2 * IDLE - 2.0) is not None
    assert held.of(word, 3 * IDLE) is None
    word = held.redeem(held.ticket(ADA, None, 0.0), 0.0)
    for at in range(0, SESSION, IDLE // 2):
        assert held.of(word, float(at)) is not None
    assert held.of(word, float(SESSION)) is None
    assert held.empty(float(SESSION))


def test_what_is_known_of_a_pod_is_that_of_the_pod_as_it_is_and_goes_with_it() -> None:
    known, view = Known(), View(Snapshot(1, list(objects(100))))
    assert {known.status(p) for p in view.pods()} == {"Running"}
    assert {tuple(known.secrets(p)) for p in view.pods()} == {(f"zz{i:04}",) for i in range(5)}
    ended = Pod()
    ended.CopyFrom(view.pods()[0])
    ended.status.phase = "Failed"
    assert (known.status(ended), known.secrets(ended)) == ("Failed", frozenset())
    for _ in range(30):  # all are new, thirty times
        view = View(Snapshot(1, list(objects(100))))
        for one in view.pods():
            known.status(one)
        known.forget(view)
    assert len(known) < 1500


def test_there_are_only_so_many() -> None:
    held = sessions()
    for _ in range(MOST):
        held.ticket(ADA, None, 0.0)
    with pytest.raises(Unavailable):
        held.ticket(ADA, None, 0.0)


def test_whatever_is_shown_is_text() -> None:
    assert tag("p", "<b>&", title='"x"') == '<p title="&quot;x&quot;">&lt;b&gt;&amp;</p>'
    assert "<script>" not in table(("A",), [("<script>",)])


def test_unknown_values_of_a_line_are_gaps() -> None:
    assert "polyline" not in spark([float("nan"), 1.0], "x")
    assert spark([1.0, float("nan"), 2.0], "x").count(",") == 2


def test_long_lists_have_pages() -> None:
    many = [pod(f"web-{n:05}", f"10.0.{n // 250}.{n % 250}") for n in range(2 * PAGE + 1)]
    reader = Reader(View(Snapshot(1, many)), ADA, 0.0)
    first, last = pods(reader, {}), pods(reader, {"page": "2"})
    assert (first.count("<tr>"), last.count("<tr>")) == (PAGE + 1, 2)
    assert "web-00200" in last
    assert "page 1 of 3" in first
    assert pods(reader, {"q": "00007"}).count("<tr>") == 2
    assert "previous" not in pages(0, 500, "/x")


def test_a_line_for_each_who_talks_to_another() -> None:
    service = ServiceFlows(service="default/db")
    for client in ("10.0.0.1:4000", "10.0.0.1:4001", "192.0.2.9:5000"):
        service.connections.append(Flow(client=client))
    reader = Reader(View(Snapshot(1, [pod("web", "10.0.0.1")])), ADA, 0.0)
    shown = flowpage.page(reader, {"host1": Flows(services=[service]), "host2": "cannot be reached"})
    assert "default/web to default/db: 2 open" in shown
    assert "192.0.2.9 to default/db: 1 open" in shown
    assert "host2: cannot be reached" in shown
    nobody = Reader(View(), Who("eve"), 0.0)
    assert "default/db" not in flowpage.page(nobody, {"host1": Flows(services=[service])})


def test_a_pod_has_lines_of_what_it_used() -> None:
    view = View(Snapshot(1, list(objects(20))))
    one = view.pods()[3]
    lines = [
        Series(namespace="default", pod=one.metadata.name, name=name, values=[1, 3, 2]) for name in ("cpu", "memory")
    ]
    of_another = Series(namespace="default", pod=view.pods()[4].metadata.name, name="cpu", values=[1, 2])
    told = {one.spec.node_name: History(series=[of_another, *lines])}
    assert podpage.page(Reader(view, ADA, NOW, history=told), one, "", "main").count("<polyline") == 2
    assert "<polyline" not in podpage.page(Reader(view, ADA, NOW), one, "", "main")


def test_the_overview_shows_few_hosts_and_those_that_need_somebody_first() -> None:
    made = list(objects(5000))
    sick = next(o for o in made if o.metadata.name == "host0049")
    sick.status.conditions[0].status = "False"
    reader = Reader(View(Snapshot(1, made)), ADA, NOW)
    shown = [node.metadata.name for node in hosts_shown(reader, "/", {})]
    assert (len(shown), shown[:2]) == (FEW, ["host0049", "host0000"])
    assert "all 50 hosts" in overview(reader, {})
    assert hosts(reader, {}).count("<tr>") == 51
    assert hosts_shown(reader, "/pods", {}) == []
