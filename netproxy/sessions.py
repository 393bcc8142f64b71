"""UDP sessions as a pure table: which client talks to which backend, until when.

Rules: pure; time is an argument (monotonic seconds). A session that was answered lives on longer than one that was
not, as in the kernel's own tracking; one whose backend no longer serves is gone at once (X13). When there are too many
the one longest unused goes.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from netproxy.balance import Counts
from netproxy.routes import Listen

UNANSWERED, ANSWERED = 30.0, 120.0  # seconds of silence that end a session


class Flow(NamedTuple):
    """Who talks to what: `asked` is the address of ours that the client sent to."""

    listen: Listen
    client: tuple[str, int]
    asked: str


class Session:
    """One flow; `way` is the shell's (its socket)."""

    __slots__ = ("answered", "begun", "bytes_in", "bytes_out", "counts", "flow", "limit", "used", "way")

    def __init__(self, flow: Flow, counts: Counts, way: Any, now: float, limit: float = 0.0) -> None:
        self.flow = flow
        self.counts = counts
        self.way = way
        self.limit = limit  # seconds of silence that its Service allows; 0: as the kernel
        self.begun = self.used = now
        self.answered = False
        self.bytes_in = self.bytes_out = 0

    def expires(self) -> float:
        """When it ends if nothing more is said."""
        return self.used + (self.limit or (ANSWERED if self.answered else UNANSWERED))


class Sessions:
    """The table; the one least lately used first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_flow: dict[Flow, Session] = {}

    def __len__(self) -> int:
        return len(self._by_flow)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_flow.values()))

    def of(self, flow: Flow, now: float) -> Session | None:
        """The session of a datagram from the client."""
        session = self._by_flow.pop(flow, None)
        if session is not None:
            session.used = now
            self._by_flow[flow] = session
        return session

    def add(self, session: Session) -> list[Session]:
        """Takes a new one; returns those that had to go for it."""
        self._by_flow[session.flow] = session
        gone = []
        while len(self._by_flow) > self._most:
            gone.append(self._by_flow.pop(next(iter(self._by_flow))))
        return gone

    def expired(self, now: float) -> list[Session]:
        """Takes out those that have been silent for too long."""
        return self.take(lambda session: session.expires() <= now)

    def take(self, which: Callable[[Session], bool]) -> list[Session]:
        """Takes out those that `which` is true of."""
        gone = [session for session in self._by_flow.values() if which(session)]
        for session in gone:
            del self._by_flow[session.flow]
        return gone
