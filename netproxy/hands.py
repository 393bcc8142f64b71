"""The proxy's other processes: connections of most Services are shared with them, over the same listening sockets.

Rules: what one process must know of all connections of a Service stays with the proxy itself (`shareable`). An order is
acknowledged when every hand has carried it out. A hand that dies takes its connections along, and nothing else: the
sockets are the proxy's too, and another hand takes its place at once. One that does not answer is killed.
"""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import structlog

from mesh.v1.node_pb2 import Flows, FlowsRequest
from netproxy.balance import Pool
from netproxy.envelope import MOST, receive, send
from netproxy.routes import Backend, Listen, Route
from netproxy.tcp import Engine
from netproxy.turns import Turns

log = structlog.get_logger()
PATIENCE = 5.0  # seconds for a hand to answer
TAKING = 1.0  # seconds for one to take a message
AGAIN = 1.0  # seconds until one that died is replaced
CORES = 4  # for each process that carries connections, when nobody says how many


def number_of(asked: int) -> int:
    """How many processes carry connections, the proxy's own too; 0: as many as there are cores for."""
    return asked or max(1, min(8, (os.cpu_count() or 1) // CORES))


def shareable(route: Route) -> bool:
    """Whether several processes may each choose backends by themselves and nobody could tell."""
    return not route.affinity and not route.tuning.max_connections and route.tuning.balance == "random"


class Hand:
    """One of them, as the proxy sees it."""

    def __init__(self, sock: socket.socket, process: subprocess.Popen[bytes]) -> None:
        self.sock = sock
        self.process = process
        self.draining: dict[str, int] = {}
        self.waiting: dict[int, asyncio.Future[Any]] = {}


class Hands:
    """All of them. `news` is called when one has told of pods that leave."""

    def __init__(self, turns: Turns, loop: asyncio.AbstractEventLoop, ways: tuple[Path | None, Path | None]) -> None:
        self._turns = turns
        self._loop = loop
        self._ways = [str(way or "") for way in ways]
        self._hands: list[Hand] = []
        self._shared: dict[Listen, tuple[socket.socket, Route]] = {}
        self._settled: dict[str, set[Backend]] = {}
        self._pending: list[tuple[tuple[Any, ...], int]] = []  # orders, and the descriptor of each or -1
        self._wanted = 0
        self._number = self._turn = 0
        self.news: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        return len(self._hands)

    def want(self, workers: int) -> None:
        """At least so many processes carry connections from now on, the proxy's own too; fewer after a restart."""
        self._wanted = max(self._wanted, workers - 1)
        self._replace()

    def _replace(self) -> None:
        while len(self._hands) < self._wanted:
            self._begin()

    def _begin(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            ours.settimeout(TAKING)
            number = theirs.fileno()
            process = subprocess.Popen(
                [sys.executable, "-m", "netproxy.hand", str(number), *self._ways], pass_fds=[number]
            )
        self.flush()  # what was said before is in `_shared` too
        hand = Hand(ours, process)
        self._hands.append(hand)
        self._turns.watch(ours.fileno(), lambda: self._heard(hand))
        opening = [(("open", listen, route), sock.fileno()) for listen, (sock, route) in self._shared.items()]
        settling = [(("settle", name, serving), -1) for name, serving in self._settled.items()]
        self._send([hand], [*opening, *settling])

    # ---- what is shared

    def open(self, listen: Listen, sock: socket.socket, route: Route) -> None:
        """Connections that come here are theirs too."""
        self._shared[listen] = sock, route
        self._tell(("open", listen, route), sock.fileno())

    def swap(self, listen: Listen, sock: socket.socket, route: Route) -> None:
        """They go another way, and by their new way they may be shared or not."""
        if not shareable(route):
            self.close(listen)
        elif listen in self._shared:
            self._shared[listen] = sock, route
            self._tell(("swap", listen, route))
        else:
            self.open(listen, sock, route)

    def close(self, listen: Listen) -> None:
        """No more; what is open stays. The socket lives until the next `flush`."""
        if self._shared.pop(listen, None) is not None:
            self.flush()  # an `open` that waits has its descriptor still
            self._tell(("close", listen))

    def settle(self, name: str, serving: set[Backend]) -> None:
        """Who serves a Service now."""
        if serving:
            self._settled[name] = serving
        else:
            self._settled.pop(name, None)
        self._tell(("settle", name, serving))

    def adopt(self, words: dict[str, Any], sockets: list[socket.SocketType], route: Route) -> bool:
        """Gives a connection of the process before to one of them; False: it is the proxy's own."""
        if words["kind"] != "tcp" or not shareable(route) or Listen(*words["listen"]) not in self._shared:
            return False
        self._turn = (self._turn + 1) % (len(self._hands) + 1)
        if self._turn == len(self._hands):
            return False
        self.flush()
        hand = self._hands[self._turn]
        try:
            send(hand.sock, [("adopt", words)], [sock.fileno() for sock in sockets])
        except OSError as error:
            self._lost(hand, str(error))
            return False
        for sock in sockets:
            sock.close()
        return True

    # ---- what they are asked

    async def settled(self) -> None:
        """Everything said so far is done by all."""
        self.flush()
        await self._ask("done")

    async def flows(self, request: FlowsRequest) -> list[Flows]:
        """What each carries."""
        self.flush()
        return [Flows.FromString(told) for told in await self._ask("flows", request.SerializeToString())]

    def draining(self) -> Iterable[tuple[str, int]]:
        """Connections to pods that leave."""
        return [item for hand in self._hands for item in hand.draining.items()]

    def leave(self) -> None:
        """The proxy ends: what they carry is left with the holder. Blocks for a moment."""
        self._wanted = 0
        hands, self._hands = self._hands, []
        for hand in hands:
            self._turns.forget(hand.sock.fileno())
            hand.sock.close()
        for hand in hands:
            _reap(hand)

    async def _ask(self, what: str, *more: Any) -> list[Any]:
        if not self._hands:
            return []
        self._number += 1
        number, answers = self._number, []
        for hand in list(self._hands):
            answer: asyncio.Future[Any] = self._loop.create_future()
            hand.waiting[number] = answer
            answers.append((hand, answer))
            self._send([hand], [((what, number, *more), -1)])
        await asyncio.wait([answer for _, answer in answers], timeout=PATIENCE)
        for hand, answer in answers:
            hand.waiting.pop(number, None)
            if not answer.done():
                hand.process.kill()
                self._lost(hand, "it does not answer")
        return [answer.result() for _, answer in answers if answer.done() and answer.result() is not None]

    # ---- the connections to them

    def _tell(self, order: tuple[Any, ...], descriptor: int = -1) -> None:
        if self._hands:
            self._pending.append((order, descriptor))

    def flush(self) -> None:
        """Sends what is to be said."""
        orders, self._pending = self._pending, []
        if orders:
            self._send(list(self._hands), orders)

    def _send(self, hands: list[Hand], orders: list[tuple[tuple[Any, ...], int]]) -> None:
        for hand in hands:
            try:
                for start in range(0, len(orders), MOST):
                    part = orders[start : start + MOST]
                    send(hand.sock, [order for order, _ in part], [fd for _, fd in part if fd >= 0])
            except OSError as error:
                self._lost(hand, str(error))

    def _heard(self, hand: Hand) -> None:
        try:
            message = receive(hand.sock)
        except OSError:
            message = None
        if message is None:
            self._lost(hand, "it has ended")
            return
        what, *more = message[0]
        if what == "flows":
            self._answer(hand, more[0], more[1])
            return
        hand.draining = more[-1]
        if what == "done":
            self._answer(hand, more[0], b"")
        else:
            self.news()
        self._turns.leave()

    def _answer(self, hand: Hand, number: int, told: bytes) -> None:
        answer = hand.waiting.pop(number, None)
        if answer is not None and not answer.done():
            answer.set_result(told)
        self._turns.leave()

    def _lost(self, hand: Hand, why: str) -> None:
        if hand not in self._hands:
            return
        self._hands.remove(hand)
        self._turns.forget(hand.sock.fileno())
        hand.sock.close()
        for answer in hand.waiting.values():
            if not answer.done():
                answer.set_result(None)
        if len(self._hands) < self._wanted:
            log.error("hand_lost", why=why, pid=hand.process.pid)
            self._loop.call_later(AGAIN, self._replace)
        self._loop.call_later(AGAIN, hand.process.poll)
        self._turns.leave()


def _reap(hand: Hand) -> None:
    try:
        hand.process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        hand.process.kill()
        hand.process.wait()


class SharedEngine:
    """A TCP engine whose listeners hands share."""

    def __init__(self, engine: Engine, hands: Hands) -> None:
        self._engine = engine
        self._hands = hands

    def open(self, listen: Listen, sock: socket.socket, pool: Pool) -> None:
        """Serves a listening socket, which is the engine's from now on."""
        self._engine.open(listen, sock, pool)
        if shareable(pool.route):
            self._hands.open(listen, sock, pool.route)

    def swap(self, listen: Listen, pool: Pool) -> None:
        """New connections go by another pool."""
        self._engine.swap(listen, pool)
        self._hands.swap(listen, self._engine.socket_of(listen), pool.route)

    def close(self, listen: Listen) -> None:
        """Stops listening; open connections stay."""
        self._hands.close(listen)
        self._engine.close(listen)

    def socket_of(self, listen: Listen) -> socket.socket:
        """The listening socket of an address."""
        return self._engine.socket_of(listen)
