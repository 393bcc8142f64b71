"""From claims to moves: no listener closes whose address is still wanted."""

from hypothesis import given
from hypothesis import strategies as st

from netproxy.diff import Claims, Close, Open, Swap
from netproxy.routes import Backend, Listen, Route

A, B = Listen("TCP", "10.96.0.1", 80), Listen("UDP", "10.96.0.1", 80)


def route(service: str, *ips: str) -> Route:
    return Route(service, "80/TCP", tuple(Backend(ip, 1) for ip in ips))


def test_a_changed_route_is_a_swap_and_the_same_is_nothing() -> None:
    claims = Claims()
    assert list(claims.moves(claims.claim("n/a", {A: route("n/a", "1")}))) == [Open(A, route("n/a", "1"))]
    assert list(claims.moves(claims.claim("n/a", {A: route("n/a", "2")}))) == [Swap(A, route("n/a", "2"))]
    assert list(claims.moves(claims.claim("n/a", {A: route("n/a", "2")}))) == []
    assert list(claims.moves(claims.claim("n/a", {}))) == [Close(A)]


def test_the_second_who_wants_an_address_gets_it_when_the_first_lets_go() -> None:
    claims = Claims()
    list(claims.moves(claims.claim("n/a", {A: route("n/a", "1")})))
    assert list(claims.moves(claims.claim("n/b", {A: route("n/b", "2"), B: route("n/b", "2")}))) == [
        Open(B, route("n/b", "2"))
    ]
    assert list(claims.moves(claims.claim("n/a", {}))) == [Swap(A, route("n/b", "2"))]


_STATE = st.dictionaries(st.sampled_from([A, B]), st.sampled_from("123"))


@given(st.lists(st.tuples(st.sampled_from(["n/a", "n/b", "n/c"]), _STATE), max_size=20))
def test_moves_lead_to_what_the_first_by_name_wants(steps: list[tuple[str, dict[Listen, str]]]) -> None:
    claims, listening, wanted = Claims(), dict[Listen, Route](), dict[str, dict[Listen, Route]]()
    for owner, state in steps:
        wanted[owner] = {listen: route(owner, ip) for listen, ip in state.items()}
        for move in claims.moves(claims.claim(owner, wanted[owner])):
            if isinstance(move, Close):
                del listening[move.listen]
            else:
                assert (move.listen in listening) == isinstance(move, Swap)
                listening[move.listen] = move.route
        expected: dict[Listen, Route] = {}
        for name in sorted(wanted):
            for listen, there in wanted[name].items():
                expected.setdefault(listen, there)
        assert listening == expected
