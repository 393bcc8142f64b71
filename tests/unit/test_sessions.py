"""Sessions: both sides prove themselves, and a sealed call or answer holds for its place alone, once."""

from collections.abc import Callable

import pytest

from mesh import pki, sessions
from mesh.errors import Forbidden
from mesh.sessions import Opening, Session, Trust
from mesh.v1.node_pb2 import SealedCall, SessionWelcome

NOW = 1_800_000_000
CA, OTHER = pki.make_ca("mesh", NOW), pki.make_ca("mesh", NOW)
MESHD = pki.issue(CA, pki.server("meshd", ("localhost",)), NOW)
HOST = pki.issue(CA, pki.node("a"), NOW)


def trust(pair: pki.Pair, ca: pki.Pair = CA) -> Trust:
    return Trust(lambda: ca.certificate, lambda: pair)


def both(meshd: pki.Pair = MESHD, host: pki.Pair = HOST) -> tuple[Session, Session]:
    """meshd's side and the host's."""
    opening = Opening("a", trust(meshd))
    welcome, there = sessions.accept(opening.hello, "a", trust(host), NOW)
    return opening.welcomed(welcome, CA.certificate, NOW), there


def test_what_is_sealed_is_read_by_the_other_side_alone() -> None:
    here, there = both()
    call = here.seal_call("assign", b"canary")
    assert b"canary" not in call.SerializeToString()
    assert there.open_call("assign", call) == b"canary"
    box = there.seal_answer("assign", call.number, b"sings")
    assert b"sings" not in box
    assert here.open_answer("assign", call.number, box) == b"sings"
    assert there.name == here.name
    assert both()[0].name != here.name


def test_nobody_but_meshd_is_welcomed() -> None:
    for pair in (
        HOST,
        pki.issue(CA, pki.user("meshd"), NOW),
        pki.issue(CA, pki.server("other", ()), NOW),
        pki.issue(OTHER, pki.server("meshd", ()), NOW),
        pki.issue(CA, pki.server("meshd", ()), NOW - 9 * pki.DAY, days=1),
    ):
        with pytest.raises(Forbidden):
            both(meshd=pair)


def test_nobody_but_the_host_itself_is_believed() -> None:
    for pair in (
        MESHD,
        pki.issue(CA, pki.node("b"), NOW),
        pki.issue(CA, pki.user("a"), NOW),
        pki.issue(OTHER, pki.node("a"), NOW),
        pki.issue(CA, pki.node("a"), NOW - 9 * pki.DAY, days=1),
    ):
        with pytest.raises(Forbidden):
            both(host=pair)


def test_a_hello_is_for_one_host() -> None:
    hello = Opening("a", trust(MESHD)).hello
    with pytest.raises(Forbidden, match='not "a"'):
        sessions.accept(hello, "b", trust(pki.issue(CA, pki.node("b"), NOW)), NOW)
    hello.node = "b"
    with pytest.raises(Forbidden):
        sessions.accept(hello, "b", trust(pki.issue(CA, pki.node("b"), NOW)), NOW)


def test_an_old_welcome_or_another_key_begins_no_session() -> None:
    opening = Opening("a", trust(MESHD))
    welcome, _ = sessions.accept(Opening("a", trust(MESHD)).hello, "a", trust(HOST), NOW)
    with pytest.raises(Forbidden):  # of another hello
        opening.welcomed(welcome, CA.certificate, NOW)
    welcome, _ = sessions.accept(opening.hello, "a", trust(HOST), NOW)
    for field, value in (("key", bytes(32)), ("key", b"\x09" + bytes(31)), ("session", b"mine"), ("signature", b"")):
        changed = SessionWelcome()
        changed.CopyFrom(welcome)
        setattr(changed, field, value)
        with pytest.raises(Forbidden):
            opening.welcomed(changed, CA.certificate, NOW)


def test_who_repeats_a_hello_has_no_keys() -> None:
    here, there = both()
    opening = Opening("a", trust(MESHD))
    _, again = sessions.accept(opening.hello, "a", trust(HOST), NOW)
    call = here.seal_call("assign", b"x")
    call.session = again.name
    with pytest.raises(Forbidden):
        again.open_call("assign", call)
    assert not again.used
    assert not there.used


Change = Callable[[SealedCall], None]


@pytest.mark.parametrize(
    "change",
    [
        lambda c: setattr(c, "number", c.number + 1),
        lambda c: setattr(c, "number", 0),
        lambda c: setattr(c, "number", 1 << 63),
        lambda c: setattr(c, "box", c.box[:-1] + bytes([c.box[-1] ^ 1])),
        lambda c: setattr(c, "box", b""),
    ],
)
def test_a_changed_call_is_refused_and_the_next_one_taken(change: Change) -> None:
    here, there = both()
    call, true = here.seal_call("assign", b"x"), here.seal_call("assign", b"y")
    change(call)
    with pytest.raises(Forbidden):
        there.open_call("assign", call)
    assert there.open_call("assign", true) == b"y"


def test_a_call_is_taken_once_and_as_what_it_is() -> None:
    here, there = both()
    call = here.seal_call("observe", b"x")
    with pytest.raises(Forbidden):
        there.open_call("open_stream", call)
    there.open_call("observe", call)
    with pytest.raises(Forbidden, match="not new"):
        there.open_call("observe", call)


def test_calls_may_overtake_each_other() -> None:
    here, there = both()
    calls = [here.seal_call("observe", str(n).encode()) for n in range(300)]
    for call in reversed(calls):
        there.open_call("observe", call)
    for call in calls:
        with pytest.raises(Forbidden, match="not new"):
            there.open_call("observe", call)


def test_what_is_far_behind_is_refused() -> None:
    here, there = both()
    first, *between = [here.seal_call("observe", b"") for _ in range(sessions.WINDOW)]
    last = here.seal_call("observe", b"")
    there.open_call("observe", last)
    with pytest.raises(Forbidden, match="not new"):
        there.open_call("observe", first)
    assert there.open_call("observe", between[0]) == b""
    with pytest.raises(Forbidden, match="not new"):
        there.open_call("observe", last)


def test_an_answer_belongs_to_its_call() -> None:
    here, there = both()
    one, two = here.seal_call("observe", b"1"), here.seal_call("observe", b"2")
    for call in (one, two):
        there.open_call("observe", call)
    box = there.seal_answer("observe", one.number, b"first")
    for method, number in (("observe", two.number), ("assign", one.number)):
        with pytest.raises(Forbidden):
            here.open_answer(method, number, box)
    with pytest.raises(Forbidden):
        both()[0].open_answer("observe", one.number, box)
    with pytest.raises(Forbidden):  # a call sent back
        here.open_answer("observe", one.number, one.box)
    assert here.open_answer("observe", one.number, box) == b"first"
