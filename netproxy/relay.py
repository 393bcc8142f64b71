"""One proxied TCP connection as a sans-IO machine: two sides, what waits to be sent to each, who has ended.

Rules: pure. Bytes arrive in order or not at all: a side whose peer takes no more is not read from (back-pressure), so
no more than one read waits in memory. The end of one direction leaves the other open (half-close); the connection is
over when both have ended, or one was reset.
"""

from typing import Any


class Side:
    """One end of a connection. `waiting`: bytes on their way to it; `ended`: it sends no more; `told`: it knows that
    it gets no more. `quick`: nothing waits at either side, so that its bytes may pass straight on."""

    __slots__ = (
        "count", "ended", "fd", "hup", "link", "peer", "quick", "read", "sock", "tapped", "told", "waiting", "watched",
        "write",
    )  # fmt: skip

    def __init__(self) -> None:
        self.fd = -1
        self.sock: Any = None
        self.read: Any = None
        self.write: Any = None
        self.peer: Side = self
        self.link: Any = None
        self.waiting = b""
        self.ended = self.told = self.hup = self.quick = self.watched = self.tapped = False
        self.count = 0  # bytes that have come from here


def pair() -> tuple[Side, Side]:
    """Two sides of one connection."""
    one, other = Side(), Side()
    one.peer, other.peer = other, one
    return one, other


def hold(side: Side, rest: bytes) -> None:
    """`side` has not taken `rest` yet: nothing more is read for it until it has."""
    side.waiting = side.waiting + rest if side.waiting else rest
    side.quick = side.peer.quick = False


def took(side: Side, number: int) -> bool:
    """`side` has taken this many of its waiting bytes; whether it has them all."""
    side.waiting = side.waiting[number:]
    if side.waiting:
        return False
    side.quick = not side.ended and not side.peer.waiting
    side.peer.quick = not side.peer.ended and not side.peer.waiting
    return True


def may_read(side: Side) -> bool:
    """Whether bytes of `side` have somewhere to go."""
    return not side.ended and not side.peer.waiting


def to_tell(side: Side) -> bool:
    """Whether `side` is to be told now that nothing more comes."""
    return side.peer.ended and not side.waiting and not side.told


def is_over(side: Side) -> bool:
    """Whether both directions have ended and everything has been delivered."""
    peer = side.peer
    return side.ended and peer.ended and not side.waiting and not peer.waiting
