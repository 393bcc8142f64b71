"""Between two requests, and not within one, whatever way the bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netproxy.http import Lost, Tracker

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
CHUNKS = b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\n\r\n!\r\n0\r\nA: b\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"
EMPTY = b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + OK


@given(
    st.lists(
        st.tuples(st.sampled_from([GET, POST, CHUNKS]), st.sampled_from([OK, EMPTY, STREAM, CONTINUED])),
        min_size=1, max_size=4,
    ),
    st.data(),
)  # fmt: skip
def test_idle_after_each_answer_and_not_before(exchanges: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    tracker = Tracker()
    for request, response in exchanges:
        for whole, feed in ((request, tracker.asked), (response, tracker.answered)):
            cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=5)))
            for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
                feed(whole[start:end])
                assert tracker.idle == (whole is response and end == len(whole))


def test_an_answer_to_head_has_no_body() -> None:
    tracker = Tracker()
    tracker.asked(b"HEAD / HTTP/1.1\r\n\r\n")
    tracker.answered(b"HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n")
    assert tracker.idle


def test_an_answer_without_a_length_lasts_as_long_as_the_connection() -> None:
    tracker = Tracker()
    tracker.asked(GET)
    tracker.answered(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 100)
    assert not tracker.idle


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (GET + GET, b""),  # pipelining
        (GET, OK + b"more"),
        (b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b""),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", OK),  # answered before it is asked
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"),
        (b"x" * 70000, b""),
    ],
)
def test_what_is_not_followed_is_given_up(asked: bytes, answered: bytes) -> None:
    tracker = Tracker()
    with pytest.raises(Lost):
        tracker.asked(asked)
        tracker.answered(answered)
