"""The TCP engine: accepts, connects to a backend, moves bytes.

Rules: edges, not levels: whoever is told of bytes reads them all or stays on the list of those to be read again.
Nothing is sent to a client before a backend is connected, so a backend that cannot be reached costs a retry, not the
connection. The path of a read that is written whole is the only one that must be quick; all else is told in words.
"""

import asyncio
import contextlib
import errno
import functools
import select
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import structlog

from netproxy.balance import Counts, Pool
from netproxy.handover import set_side, words_of_place, words_of_side
from netproxy.proxyline import header
from netproxy.relay import Side, hold, is_over, may_read, pair, to_tell, took
from netproxy.routes import Listen
from netproxy.turns import Event, Turns

log = structlog.get_logger()
IN, OUT, RDHUP, EDGE = select.EPOLLIN, select.EPOLLOUT, select.EPOLLRDHUP, select.EPOLLET
FAULT = select.EPOLLERR | select.EPOLLHUP
UNUSUAL = ~(IN | OUT)
CHUNK = 128 * 1024
READS, ACCEPTS = 16, 64  # of one socket in one turn, before others have theirs
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST
SWEEP = 0.25  # seconds between looks at connects that may have timed out
PAUSE = 0.1  # seconds without accepting when descriptors have run out


class Link:
    """A client's connection and the backend it goes to."""

    __slots__ = ("begun", "client", "counts", "due", "listen", "peername", "pool", "server", "tried")

    def __init__(self, listen: Listen, pool: Pool, peername: tuple[str, int], begun: float) -> None:
        self.listen = listen
        self.pool = pool
        self.peername = peername
        self.begun = begun
        self.due = 0.0
        self.tried: list[Counts] = []
        self.counts: Counts | None = None
        self.client, self.server = pair()
        self.client.link = self.server.link = self


class Listener:
    """A listening socket and where its connections go."""

    __slots__ = ("accept", "listen", "pool", "sock")

    def __init__(self, listen: Listen, sock: socket.socket, pool: Pool) -> None:
        self.listen = listen
        self.sock = sock
        self.pool = pool
        self.accept: Callable[[], tuple[int, tuple[str, int]]] = sock._accept  # type: ignore[attr-defined]  # no object per connection


class Engine:
    """See the module. `drained(counts)` is called when the last connection to a leaving backend is over."""

    def __init__(
        self, turns: Turns, loop: asyncio.AbstractEventLoop, drained: Callable[[Counts], None], most: int
    ) -> None:
        self._turns = turns
        self._loop = loop
        self._now = loop.time
        self._drained = drained
        self._most = most  # connections
        self._epoll = turns.epoll
        self._sides: dict[int, Side] = {}
        self._listeners: dict[Listen, Listener] = {}
        self._connecting: set[Link] = set()
        self._again: list[Side] = []
        self._retry: list[Link] = []
        self._buffer = bytearray(CHUNK)
        self._view = memoryview(self._buffer)
        self._sweeping = self._paused = False
        turns.relay, turns.more = self._relay, self._more

    # ---- listeners

    def open(self, listen: Listen, sock: socket.socket, pool: Pool) -> None:
        """Serves a listening socket, which is the engine's from now on."""
        listener = self._listeners[listen] = Listener(listen, sock, pool)
        if not self._paused:
            self._turns.watch(sock.fileno(), functools.partial(self._accept, listener))

    def swap(self, listen: Listen, pool: Pool) -> None:
        """New connections go by another pool."""
        self._listeners[listen].pool = pool

    def close(self, listen: Listen) -> None:
        """Stops listening; open connections stay."""
        listener = self._listeners.pop(listen)
        if not self._paused:
            self._turns.forget(listener.sock.fileno())
        listener.sock.close()

    def socket_of(self, listen: Listen) -> socket.socket:
        """The listening socket of an address."""
        return self._listeners[listen].sock

    def links(self) -> Iterator[Link]:
        """Every open connection."""
        sides = list(self._sides.values())
        yield from (side.link for side in sides if side is side.link.client)
        yield from list(self._connecting)

    def stop(self) -> None:
        """Ends every connection."""
        for link in list(self.links()):
            self._abort(link)
        for listen in list(self._listeners):
            self.close(listen)

    # ---- from one process to the next

    def hand_over(self) -> list[tuple[dict[str, Any], list[int]]]:
        """Every connection as words and descriptors; nothing is read or sent any more."""
        found: list[tuple[dict[str, Any], list[int]]] = []
        now = self._now()
        for link in self.links():
            words = {"client": words_of_side(link.client), "peer": list(link.peername), "age": now - link.begun}
            if link in self._connecting or link.counts is None:
                listen = ["TCP", link.listen.ip, link.listen.port]
                found.append(({**words, "kind": "new", "listen": listen}, [link.client.fd]))
                continue
            place = words_of_place(link.counts.service, link.counts.backend, link.listen)
            flow = {**words, **place, "kind": "tcp", "server": words_of_side(link.server)}
            found.append((flow, [link.client.fd, link.server.fd]))
        return found

    def adopt(self, words: dict[str, Any], sockets: list[socket.SocketType], pool: Pool, counts: Counts | None) -> None:
        """Carries on with a connection of the process before; without counts it is to be connected yet."""
        ip, port = words["peer"]
        protocol, address, number = words["listen"]
        link = Link(Listen(protocol, address, number), pool, (ip, port), self._now() - words["age"])
        client, server = link.client, link.server
        client.sock, client.fd = sockets[0], sockets[0].fileno()
        if counts is None:
            self._connect(link)
            return
        set_side(client, words["client"])
        set_side(server, words["server"])
        server.sock, server.fd = sockets[1], sockets[1].fileno()
        link.counts = counts
        counts.open += 1
        self._join(link)
        for side in (client, server):
            side.hup = side.watched = True
            side.quick = False  # the first event looks at everything there is
            self._sides[side.fd] = side
            self._epoll.register(side.fd, IN | OUT | RDHUP | EDGE)

    # ---- the turn

    def _more(self) -> bool:
        """Carries on with what was left over; new sockets are made here and in `_accept` only, after a turn's events,
        so that no descriptor's number means two things within one turn."""
        if self._retry:
            links, self._retry = self._retry, []
            for link in links:
                self._connect(link)
        if self._again:
            sides, self._again = self._again, []
            for side in sides:
                if self._sides.get(side.fd) is side:
                    self._pump(side)
        return bool(self._again or self._retry)

    def _relay(self, events: list[Event]) -> list[Event]:
        sides, buffer, view = self._sides, self._buffer, self._view
        others = []
        for fd, mask in events:
            side = sides.get(fd)
            if side is None:
                others.append((fd, mask))
                continue
            if mask & UNUSUAL or not side.quick:
                self._slow(side, mask)
                continue
            try:
                number = side.read(buffer)
            except BlockingIOError:
                continue
            except OSError:
                self._abort(side.link)
                continue
            if not number:
                self._ended(side)
                continue
            side.count += number
            try:
                sent = side.write(view[:number])
            except BlockingIOError:
                sent = 0
            except OSError:
                self._broken(side.peer)
                continue
            if sent != number:
                self._hold(side.peer, bytes(view[sent:number]))
            elif number == CHUNK:
                self._pump(side)
        return others

    def _slow(self, side: Side, mask: int) -> None:
        if side.link in self._connecting:
            self._connected(side.link, mask)
            return
        if mask & (RDHUP | FAULT):
            side.hup = True
        if mask & (OUT | FAULT) and side.waiting and not self._flush(side):
            return
        if mask & (IN | RDHUP | FAULT):
            self._pump(side)
        side.quick = may_read(side) and not side.waiting

    def _pump(self, side: Side) -> None:
        """Reads until there is no more, the other side is full, or others are to have their turn."""
        view = self._view
        for _ in range(READS):
            if not may_read(side):
                return
            try:
                number = side.read(self._buffer)
            except BlockingIOError:
                return
            except OSError:
                self._abort(side.link)
                return
            if not number:
                self._ended(side)
                return
            side.count += number
            try:
                sent = side.write(view[:number])
            except BlockingIOError:
                sent = 0
            except OSError:
                self._broken(side.peer)
                return
            if sent != number:
                self._hold(side.peer, bytes(view[sent:number]))
                return
            if number < CHUNK and not side.hup:
                return
        self._again.append(side)

    def _hold(self, side: Side, rest: bytes) -> None:
        hold(side, rest)
        if not side.watched:
            side.watched = True
            self._epoll.modify(side.fd, IN | OUT | RDHUP | EDGE)

    def _flush(self, side: Side) -> bool:
        """Sends what waits for `side`; whether the connection lives on."""
        try:
            all_sent = took(side, side.sock.send(side.waiting))
        except BlockingIOError:
            return True
        except OSError:
            return self._broken(side)
        if not all_sent:
            return True
        if to_tell(side):
            return self._tell(side)
        self._pump(side.peer)
        return self._sides.get(side.fd) is side

    # ---- ends

    def _ended(self, side: Side) -> None:
        side.ended, side.quick = True, False
        if is_over(side):
            self._finish(side.link)
        elif to_tell(side.peer):
            self._tell(side.peer)

    def _tell(self, side: Side) -> bool:
        if is_over(side):
            self._finish(side.link)
            return False
        side.told = True
        with contextlib.suppress(OSError):
            side.sock.shutdown(socket.SHUT_WR)
        return True

    def _broken(self, side: Side) -> bool:
        """`side` takes nothing any more: what it has still said is delivered, then the other side learns of it."""
        side.waiting, side.hup = b"", True
        side.peer.ended, side.peer.quick = True, False
        self._pump(side)
        if self._sides.get(side.fd) is side:
            self._abort(side.link)
        return False

    def _finish(self, link: Link) -> None:
        client, server = link.client, link.server
        self._sides.pop(client.fd, None)
        self._sides.pop(server.fd, None)
        self._connecting.discard(link)
        client.sock.close()
        if server.sock is not None:
            server.sock.close()
        client.link = server.link = None
        client.read = client.write = server.read = server.write = None
        client.peer = server.peer = client  # no cycle keeps what is over
        counts = link.counts
        if counts is not None:
            counts.open -= 1
            counts.bytes_in += client.count
            counts.bytes_out += server.count
            if counts.leaving and not counts.open:
                self._drained(counts)

    def _abort(self, link: Link) -> None:
        """Ends it at once, both sides with RST."""
        for side in (link.client, link.server):
            if side.sock is not None:
                with contextlib.suppress(OSError):
                    side.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._finish(link)

    # ---- beginnings

    def _accept(self, listener: Listener) -> None:
        for _ in range(ACCEPTS):
            if len(self._sides) >= 2 * self._most:
                self._pause("as many connections as descriptors allow")
                return
            try:
                fd, peername = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}:
                    self._pause(str(error))
                    return
                continue  # that client has gone again
            sock = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
            sock.setblocking(False)
            link = Link(listener.listen, listener.pool, peername, self._now())
            side = link.client
            side.sock, side.fd = sock, fd
            if link.pool.full():
                self._reject(link)
            else:
                self._connect(link)

    def _reject(self, link: Link) -> None:
        link.pool.rejected += 1
        self._abort(link)

    def _connect(self, link: Link) -> None:
        """Tries the backends in the order of the pool's choice, each once."""
        now = self._now()
        while True:
            counts = link.pool.choose(link.peername[0], now, link.tried)
            if counts is None:
                self._reject(link)
                return
            link.tried.append(counts)
            side = link.server
            sock = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, 0)
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                sock.connect(counts.backend[:2])
            except BlockingIOError:
                pass
            except OSError:
                sock.close()
                counts.unreachable(now)
                continue
            side.sock, side.fd = sock, sock.fileno()
            link.counts = counts
            link.due = now + link.pool.route.tuning.connect_timeout
            counts.open += 1
            self._sides[side.fd] = side
            self._connecting.add(link)
            self._epoll.register(side.fd, IN | OUT | RDHUP | EDGE)
            if not self._sweeping:
                self._sweeping = True
                self._loop.call_later(SWEEP, self._sweep)
                self._turns.leave()
            return

    def _connected(self, link: Link, mask: int) -> None:
        client, server, counts = link.client, link.server, link.counts
        if mask & FAULT or not mask & OUT:
            self._unreachable(link)
            return
        self._connecting.discard(link)
        server.hup = bool(mask & RDHUP)
        now = self._now()
        assert counts is not None  # noqa: S101 - set with the socket
        counts.connected(now - link.begun)
        counts.total += 1
        link.tried = []
        server.watched = True
        self._join(link)
        client.quick = server.quick = True
        self._sides[client.fd] = client
        if link.pool.route.tuning.proxy_protocol:
            server.waiting = header(link.peername, client.sock.getsockname())
            client.quick = server.quick = False
        self._epoll.register(client.fd, IN | RDHUP | EDGE)
        if server.waiting and not self._flush(server):
            return
        if mask & IN:
            self._pump(server)

    @staticmethod
    def _join(link: Link) -> None:
        client, server = link.client, link.server
        client.read, client.write = client.sock.recv_into, server.sock.send
        server.read, server.write = server.sock.recv_into, client.sock.send

    def _unreachable(self, link: Link) -> None:
        counts, server = link.counts, link.server
        assert counts is not None  # noqa: S101
        counts.unreachable(self._now())
        counts.open -= 1
        link.counts = None
        if counts.leaving and not counts.open:
            self._drained(counts)
        self._connecting.discard(link)
        del self._sides[server.fd]
        server.sock.close()
        server.sock = None
        self._retry.append(link)

    def _sweep(self) -> None:
        """Gives up connects that take too long."""
        self._sweeping = False
        now = self._now()
        for link in [link for link in self._connecting if link.due <= now]:
            self._unreachable(link)
        links, self._retry = self._retry, []
        for link in links:
            self._connect(link)
        if self._connecting and not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP, self._sweep)

    def _pause(self, why: str) -> None:
        """Takes no new connections for a moment: they wait in the kernel."""
        if self._paused:
            return
        self._paused = True
        log.error("accepting_pauses", why=why)
        for listener in self._listeners.values():
            self._turns.forget(listener.sock.fileno())
        self._loop.call_later(PAUSE, self._resume)
        self._turns.leave()

    def _resume(self) -> None:
        self._paused = False
        for listener in self._listeners.values():
            self._turns.watch(listener.sock.fileno(), functools.partial(self._accept, listener))
