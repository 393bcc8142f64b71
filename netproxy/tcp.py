"""The TCP engine: listens, accepts, connects to a backend; how bytes move is `relaying`.

Rules: nothing is sent to a client before a backend is connected, so a backend that cannot be reached costs a retry, not
the connection. When descriptors run out, new connections wait in the kernel.
"""

import asyncio
import errno
import functools
import socket
from collections.abc import Callable
from typing import Any

import structlog

from netproxy.balance import Counts, Pool
from netproxy.handover import set_side, words_of_place, words_of_side
from netproxy.http import Tracker
from netproxy.idling import SOONEST, over
from netproxy.links import Link, Listener
from netproxy.proxyline import header
from netproxy.relaying import EDGE, FAULT, IN, OUT, RDHUP, Relaying
from netproxy.routes import Backend, Listen
from netproxy.tunnelling import ACCEPTED, request
from netproxy.turns import Turns

log = structlog.get_logger()
ACCEPTS = 64  # of one listener in one turn
SWEEP = 0.25  # seconds between looks at connects that may have timed out
PAUSE = 0.1  # seconds without accepting when descriptors have run out


class Engine:
    """See the module; no more than `most` connections at once. `tunnel`: the socket of the way to other hosts."""

    def __init__(
        self, turns: Turns, loop: asyncio.AbstractEventLoop, drained: Callable[[Counts], None], tunnel: str, most: int
    ) -> None:
        self._turns = turns
        self._loop = loop
        self._now = loop.time
        self._epoll = turns.epoll
        self._relaying = relaying = Relaying(turns, drained, self._connect, self._connected)
        self._sides, self._connecting = relaying.sides, relaying.connecting
        self.links, self.leave = relaying.links, relaying.leave
        self._tunnel = tunnel
        self._most = most
        self._listeners: dict[Listen, Listener] = {}
        self._sweeping = self._paused = self._looking = False

    # ---- listeners

    def open(self, listen: Listen, sock: socket.socket, pool: Pool) -> None:
        """Serves a listening socket, which is the engine's from now on."""
        listener = self._listeners[listen] = Listener(listen, sock, pool)
        self._limit(pool)
        if not self._paused:
            self._watch(listener)

    def _watch(self, listener: Listener) -> None:
        # Not EPOLLEXCLUSIVE, though hands share the socket: one that is woken alone and dies leaves a client unseen.
        self._turns.watch(listener.sock.fileno(), functools.partial(self._accept, listener))

    def swap(self, listen: Listen, pool: Pool) -> None:
        """New connections go by another pool."""
        self._listeners[listen].pool = pool
        self._limit(pool)

    def close(self, listen: Listen) -> None:
        """Stops listening; open connections stay."""
        listener = self._listeners.pop(listen)
        if not self._paused:
            self._turns.forget(listener.sock.fileno())
        listener.sock.close()

    def socket_of(self, listen: Listen) -> socket.socket:
        """The listening socket of an address."""
        return self._listeners[listen].sock

    def stop(self) -> None:
        """Ends every connection."""
        for link in list(self.links()):
            self._relaying.abort(link)
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
                new = {"kind": "new", "listen": listen, "first": link.first.hex()}
                found.append(({**words, **new}, [link.client.fd]))
                continue
            place = words_of_place(link.counts.service, link.counts.backend, link.listen)
            flow = {**words, **place, "kind": "tcp", "server": words_of_side(link.server)}
            flow["idle"] = link.tracker is not None and link.tracker.idle
            found.append((flow, [link.client.fd, link.server.fd]))
        return found

    def let_go(self) -> None:
        """Touches nothing of what was handed over: every byte and every new connection is the next process's."""
        for listener in self._listeners.values() if not self._paused else ():
            self._turns.forget(listener.sock.fileno())
        self._relaying.let_go()

    def adopt(self, words: dict[str, Any], sockets: list[socket.SocketType], pool: Pool, counts: Counts | None) -> None:
        """Carries on with a connection of the process before; without counts it is to be connected yet."""
        ip, port = words["peer"]
        protocol, address, number = words["listen"]
        link = Link(Listen(protocol, address, number), pool, (ip, port), self._now() - words["age"])
        client, server = link.client, link.server
        client.sock, client.fd = sockets[0], sockets[0].fileno()
        if counts is None:
            link.first = bytes.fromhex(words["first"])
            self._connect(link)
            return
        if words["idle"]:
            link.tracker = Tracker()
            client.tapped = server.tapped = True
        set_side(client, words["client"])
        set_side(server, words["server"])
        server.sock, server.fd = sockets[1], sockets[1].fileno()
        link.counts = counts
        counts.open += 1
        self._relaying.join(link)
        for side in (client, server):
            side.hup = side.watched = True
            side.quick = False  # the first event looks at everything there is
            self._sides[side.fd] = side
            self._epoll.register(side.fd, IN | OUT | RDHUP | EDGE)

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
        self._relaying.abort(link)

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
            sock = self._way(counts.backend)
            if sock is None:
                counts.unreachable(now)
                continue
            side.sock, side.fd = sock, sock.fileno()
            link.counts = counts
            link.greeted = False
            link.since = now
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

    def _way(self, backend: Backend) -> socket.SocketType | None:
        """A socket that is being connected; None: it is refused at once."""
        kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
        if backend.via:
            sock = socket.SocketType(socket.AF_UNIX, kind, 0)
        else:
            sock = socket.SocketType(socket.AF_INET, kind, 0)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock.connect(self._tunnel if backend.via else backend[:2])
        except BlockingIOError:
            if not backend.via:
                return sock
            sock.close()  # a unix socket whose queue is full
        except OSError:
            sock.close()
        else:
            return sock
        return None

    def _greeted(self, link: Link, backend: Backend) -> bool:
        """Whether the tunnel has said that the far backend is there; it is told which one first."""
        sock = link.server.sock
        try:
            if not link.greeted:
                link.greeted = True
                sock.send(request(backend))
            word = sock.recv(1)
        except BlockingIOError:
            return False
        except OSError:
            word = b""
        if word == ACCEPTED:
            return True
        self._unreachable(link)
        return False

    def _connected(self, link: Link, mask: int) -> None:
        client, server, counts = link.client, link.server, link.counts
        if mask & FAULT or not mask & OUT or counts is None:
            self._unreachable(link)
            return
        if counts.backend.via and not self._greeted(link, counts.backend):
            return
        self._connecting.discard(link)
        server.hup = bool(mask & RDHUP)
        counts.connected(self._now() - link.since)
        counts.total += 1
        link.tried = []
        self._limit(link.pool)
        server.watched = True
        self._relaying.join(link)
        renewed = client.fd in self._sides
        if link.pool.route.http and link.tracker is None and not renewed:
            link.tracker = Tracker()
            client.tapped = server.tapped = True
        head = header(link.peername, client.sock.getsockname()) if link.pool.route.tuning.proxy_protocol else b""
        server.waiting, link.first = head + link.first, b""
        client.quick = server.quick = not server.waiting
        if not renewed:
            self._sides[client.fd] = client
            self._epoll.register(client.fd, IN | RDHUP | EDGE)
        if server.waiting and not self._relaying.flush(server):
            return
        if renewed:
            self._relaying.pump(client)
        if mask & IN and self._sides.get(server.fd) is server:
            self._relaying.pump(server)

    def _unreachable(self, link: Link) -> None:
        if link.counts is not None:
            link.counts.unreachable(self._now())
        self._relaying.lose(link)

    def _sweep(self) -> None:
        """Gives up connects that take too long."""
        self._sweeping = False
        now = self._now()
        for link in [link for link in self._connecting if link.due <= now]:
            self._unreachable(link)
        self._relaying.connect_again()
        if self._connecting and not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP, self._sweep)

    def _limit(self, pool: Pool) -> None:
        """Connections of this pool may have a limit to their silence."""
        if pool.route.tuning.idle_timeout and not self._looking:
            self._looking = True
            self._loop.call_later(SOONEST, self._look)
            self._turns.leave()

    def _look(self) -> None:
        """Ends connections that were silent for too long."""
        ended, soon = over(self.links(), self._now())
        for link in ended:
            self._relaying.finish(link)
        self._looking = bool(soon)
        if soon:
            self._loop.call_later(soon, self._look)

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
            self._watch(listener)
