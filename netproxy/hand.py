"""`python -m netproxy.hand`: one more process that carries connections, for a proxy with cores to spare.

Rules: it listens on the proxy's own sockets and does what the proxy says, nothing else: no table, no disk, no
addresses. When the proxy ends, however it ends, what is open here is left with the holder for the next one.
"""

import asyncio
import os
import random
import resource
import socket
import sys
from pathlib import Path
from typing import Any

import structlog

from mesh.v1.node_pb2 import FlowsRequest
from netproxy.balance import Book
from netproxy.envelope import receive, send
from netproxy.flows import flows_of
from netproxy.handover import place_of_words
from netproxy.holding import Holding
from netproxy.leaving import Leaving
from netproxy.routes import Backend, Listen, Route
from netproxy.tcp import Engine
from netproxy.turns import Turns
from netproxy.udp import UdpEngine

log = structlog.get_logger()
SPARE = 512  # descriptors for listeners and all else, at least
PATIENCE = 5.0  # seconds for the proxy to take a message


class Hand:
    """See the module; `sock` leads to the proxy."""

    def __init__(
        self, turns: Turns, loop: asyncio.AbstractEventLoop, sock: socket.socket, ways: tuple[str, str]
    ) -> None:
        holder, tunnel = ways
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._turns = turns
        self._loop = loop
        self._sock = sock
        self._book = Book(random.random)
        self._leaving = Leaving(self._book, self._news)
        self._engine = Engine(turns, loop, self._leaving.drained, tunnel, max(SPARE, hard - max(SPARE, hard // 3)) // 2)
        self._nothing = UdpEngine(turns, loop, 1)
        self._holding = Holding(turns, loop, Path(holder) if holder else None)
        self._holding.reach()
        self._routes: dict[Listen, Route] = {}
        self.over = asyncio.Event()
        turns.watch(sock.fileno(), self._heard)

    def _heard(self) -> None:
        try:
            message = receive(self._sock)
        except OSError:
            message = None
        if message is None:
            self._end()
            return
        orders, descriptors = message
        sockets = iter([socket.SocketType(fileno=d) for d in descriptors])
        for what, *more in orders:
            getattr(self, f"do_{what}")(sockets, *more)

    def _say(self, *words: Any) -> None:
        try:
            send(self._sock, words)
        except OSError:
            self._end()

    def _news(self) -> None:
        self._say("news", self._leaving.told())

    def _end(self) -> None:
        if self.over.is_set():
            return
        flows = self._engine.hand_over()
        if self._holding.leave(flows):
            self._engine.let_go()
        else:
            self._engine.stop()
        log.info("hand_over", left=len(flows))
        self.over.set()
        self._turns.leave()

    # ---- what the proxy says

    def do_open(self, sockets: Any, listen: Listen, route: Route) -> None:
        """Serves one more listening socket."""
        sock = socket.socket(fileno=next(sockets).detach())
        sock.setblocking(False)
        self._routes[listen] = route
        self._engine.open(listen, sock, self._book.pool_of(route, self._loop.time()))

    def do_swap(self, _: Any, listen: Listen, route: Route) -> None:
        """New connections go another way."""
        self._routes[listen] = route
        self._engine.swap(listen, self._book.pool_of(route, self._loop.time()))

    def do_close(self, _: Any, listen: Listen) -> None:
        """Stops listening; open connections stay."""
        if self._routes.pop(listen, None) is not None:
            self._engine.close(listen)

    def do_settle(self, _: Any, name: str, serving: set[Backend]) -> None:
        """Who serves a Service now."""
        used = {b for route in self._routes.values() if route.service == name for b in route.backends}
        if not used and not serving:
            self._book.forget(name)
        self._leaving.note(name, serving, used, self._engine)

    def do_adopt(self, sockets: Any, words: dict[str, Any]) -> None:
        """Carries on with a connection of the process before."""
        its = [next(sockets), next(sockets)]
        for sock in its:
            sock.setblocking(False)
        service, backend, listen = place_of_words(words)
        pool = self._book.pool_of(self._routes.get(listen, Route("", "")), self._loop.time())
        self._engine.adopt(words, its, pool, self._book.counts_of(service, backend, self._loop.time()))

    def do_done(self, _: Any, number: int) -> None:
        """All that was said before is done."""
        self._say("done", number, self._leaving.told())

    def do_flows(self, _: Any, number: int, request: bytes) -> None:
        """What is carried."""
        asked = FlowsRequest.FromString(request)
        flows = flows_of(asked, self._book, self._engine, self._nothing, self._loop.time())
        self._say("flows", number, flows.SerializeToString())


async def serve(turns: Turns, sock: socket.socket, ways: tuple[str, str]) -> None:
    """Until the proxy ends."""
    await Hand(turns, asyncio.get_running_loop(), sock, ways).over.wait()


def main(descriptor: str, holder: str, tunnel: str) -> None:
    """`descriptor`: the number of the socket to the proxy; paths may be empty."""
    sock = socket.socket(fileno=int(descriptor))
    sock.settimeout(PATIENCE)
    os.set_inheritable(sock.fileno(), False)
    turns = Turns()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(turns)) as runner:
        runner.run(serve(turns, sock, (holder, tunnel)))


if __name__ == "__main__":
    main(*sys.argv[1:])
