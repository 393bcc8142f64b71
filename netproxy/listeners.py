"""The listening sockets of one proxy: opened, given to other engines or routes, closed as the claims on them change.

Rules: what a former proxy or the holder has is taken before anything is opened. A listener that cannot be opened is a
problem that is told, and tried again; others are not concerned.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from netproxy.balance import Book
from netproxy.diff import Claims, Close, Move, Open, Swap
from netproxy.dns.server import NameServer
from netproxy.hands import SharedEngine
from netproxy.holding import Holding
from netproxy.listening import BACKLOG, bound, guard
from netproxy.routes import DNS, Listen, Route
from netproxy.udp import UdpEngine

log = structlog.get_logger()
AGAIN = 10.0  # seconds until a listener that could not be opened is tried again
_Engine = SharedEngine | UdpEngine | NameServer


@dataclass(frozen=True, slots=True)
class Engines:
    """What serves at a listener: one of these."""

    tcp: SharedEngine
    udp: UdpEngine
    names: NameServer


class Listeners:
    """`problems`: why a listener is not open, in words. `reopened()` is called when that was tried again."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, engines: Engines, book: Book, claims: Claims, holding: Holding
    ) -> None:
        self.problems: dict[Listen, str] = {}
        self.reopened: Callable[[], None] = lambda: None
        self._loop = loop
        self._engines = engines
        self._book = book
        self._claims = claims
        self._holding = holding
        self._sockets: dict[Listen, _Engine] = {}
        self._fresh: dict[Listen, socket.socket] = {}  # to be kept by the holder
        self._retrying: asyncio.TimerHandle | None = None

    def make(self, moves: Iterable[Move]) -> None:
        """Carries out what has changed; the holder keeps what was opened."""
        for move in moves:
            self._do(move)
        self._holding.keep(self._fresh)
        self._fresh.clear()

    def _do(self, move: Move) -> None:
        if isinstance(move, Close):
            self.problems.pop(move.listen, None)
            self._shut(move.listen)
            return
        engine = self._sockets.get(move.listen)
        if engine is not self._engine(move) or isinstance(engine, NameServer):
            self._shut(move.listen)
            self._open(move.listen, move.route)
        else:
            guard(engine.socket_of(move.listen), move.route)
            engine.swap(move.listen, self._book.pool_of(move.route, self._loop.time()))

    def _open(self, listen: Listen, route: Route) -> None:
        inherited = self._holding.inherited.pop(listen, None)
        try:
            sock = inherited or bound(listen)
            guard(sock, route)
            if listen.protocol == "TCP" and inherited is None:
                sock.listen(BACKLOG)
        except OSError as error:
            self.problems[listen] = f"cannot listen: {error.strerror}"
            log.error("listen_failed", address=str(listen), service=route.service, error=error.strerror)
            return
        self.problems.pop(listen, None)
        self._fresh[listen] = sock
        if route.service == DNS:
            self._sockets[listen] = self._engines.names
            self._engines.names.open(listen, sock)
            return
        engine = self._sockets[listen] = self._engines.tcp if listen.protocol == "TCP" else self._engines.udp
        engine.open(listen, sock, self._book.pool_of(route, self._loop.time()))

    def _shut(self, listen: Listen) -> None:
        engine = self._sockets.pop(listen, None)
        if engine is not None:
            engine.close(listen)
            self._fresh.pop(listen, None)
            self._holding.drop([listen])

    def _engine(self, move: Open | Swap) -> _Engine:
        if move.route.service == DNS:
            return self._engines.names
        return self._engines.tcp if move.listen.protocol == "TCP" else self._engines.udp

    def try_again(self) -> None:
        """Once more in a while, as long as one could not be opened."""
        if self.problems and self._retrying is None:
            self._retrying = self._loop.call_later(AGAIN, self._reopen)

    def _reopen(self) -> None:
        self._retrying = None
        for listen in list(self.problems):
            self._open(listen, self._claims.serving[listen])
        self._holding.keep(self._fresh)
        self._fresh.clear()
        self.try_again()
        self.reopened()
