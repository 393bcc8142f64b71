"""What the TCP engine keeps of a connection and of a listener.

Rule: data alone; the engine owns both.
"""

import socket
from collections.abc import Callable

from netproxy.balance import Counts, Pool
from netproxy.http import Tracker
from netproxy.relay import pair
from netproxy.routes import Listen


class Link:
    """A client's connection and the backend it goes to. Without `counts` it has none yet, or none any more: `first`
    is what the next one is sent first."""

    __slots__ = (
        "begun", "carried", "client", "counts", "due", "first", "greeted", "listen", "peername", "pool", "quiet",
        "server", "since", "tracker", "tried",
    )  # fmt: skip

    def __init__(self, listen: Listen, pool: Pool, peername: tuple[str, int], begun: float) -> None:
        self.listen = listen
        self.pool = pool
        self.peername = peername
        self.begun = begun
        self.since = self.due = 0.0  # of the connect: when it was begun, and when it is given up
        self.carried, self.quiet = 0, 0.0  # bytes at the last look for silence, and since when they are the same
        self.first = b""
        self.greeted = False  # the tunnel has been told where to
        self.tried: list[Counts] = []
        self.counts: Counts | None = None
        self.tracker: Tracker | None = None
        self.client, self.server = pair()
        self.client.link = self.server.link = self


class Listener:
    """A listening socket and where its connections go."""

    __slots__ = ("accept", "listen", "pool", "sock")

    def __init__(self, listen: Listen, sock: socket.socket, pool: Pool) -> None:
        self.listen = listen
        self.sock = sock
        self.pool = pool
        # without an object of the socket module for each connection
        self.accept: Callable[[], tuple[int, tuple[str, int]]] = sock._accept  # type: ignore[attr-defined]
