"""The UDP engine: a socket for each session, so that a backend's replies find their client; replies leave from the
address that was asked.

Rules: a datagram is lost rather than waited for. A flood of datagrams gets a bounded part of a turn. A session whose
backend no longer serves ends with the change of the table, and its client's next datagram goes elsewhere (X13).
"""

import asyncio
import contextlib
import functools
import socket
import struct
from typing import Any

import structlog

from netproxy.balance import Counts, Pool
from netproxy.handover import words_of_place
from netproxy.routes import ANY, Listen
from netproxy.sessions import Flow, Session, Sessions
from netproxy.turns import Turns

log = structlog.get_logger()
LARGEST = 65535  # bytes of a datagram
DATAGRAMS, REPLIES = 64, 16  # in one turn: datagrams of one listener, replies of one session
SWEEP = 5.0  # seconds between looks for silent sessions, while there are any
IP_PKTINFO = 8
_PKTINFO = struct.Struct("i4s4s")


class Port:
    """A bound socket and where its datagrams go. `wild`: it is bound to every address, so each datagram tells which."""

    __slots__ = ("listen", "pool", "sock", "wild")

    def __init__(self, listen: Listen, sock: socket.socket, pool: Pool) -> None:
        self.listen = listen
        self.sock = sock
        self.pool = pool
        self.wild = listen.ip == ANY


class UdpEngine:
    """See the module; at most `most` sessions at once."""

    def __init__(self, turns: Turns, loop: asyncio.AbstractEventLoop, most: int) -> None:
        self._turns = turns
        self._loop = loop
        self._now = loop.time
        self._ports: dict[Listen, Port] = {}
        self._buffer = bytearray(LARGEST)
        self._sweeping = False
        self.sessions = Sessions(most)

    def open(self, listen: Listen, sock: socket.socket, pool: Pool) -> None:
        """Serves a bound socket, which is the engine's from now on."""
        port = Port(listen, sock, pool)
        if port.wild:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        self._ports[listen] = port
        self._turns.watch(sock.fileno(), functools.partial(self._forward, port))

    def swap(self, listen: Listen, pool: Pool) -> None:
        """Sessions with backends that are no longer the pool's end."""
        self._ports[listen].pool = pool
        serving = set(pool.counts)
        self._end(self.sessions.take(lambda s: s.flow.listen == listen and s.counts not in serving))

    def close(self, listen: Listen) -> None:
        """Stops serving it; its sessions end."""
        port = self._ports.pop(listen)
        self._turns.forget(port.sock.fileno())
        port.sock.close()
        self._end(self.sessions.take(lambda s: s.flow.listen == listen))

    def socket_of(self, listen: Listen) -> socket.socket:
        """The bound socket of an address."""
        return self._ports[listen].sock

    def stop(self) -> None:
        """Ends everything."""
        for listen in list(self._ports):
            self.close(listen)

    # ---- from one process to the next

    def hand_over(self) -> list[tuple[dict[str, Any], list[int]]]:
        """Every session as words and descriptors."""
        now = self._now()
        return [
            (
                {
                    **words_of_place(s.counts.service, s.counts.backend, s.flow.listen),
                    "kind": "udp", "peer": list(s.flow.client), "asked": s.flow.asked, "age": now - s.begun,
                    "silent": now - s.used, "answered": s.answered, "bytes": [s.bytes_in, s.bytes_out],
                },
                [s.way.fileno()],
            )
            for s in self.sessions
        ]  # fmt: skip

    def let_go(self) -> None:
        """Touches nothing of what was handed over: every datagram is the next process's."""
        for port in self._ports.values():
            self._turns.forget(port.sock.fileno())
        for session in self.sessions:
            self._turns.forget(session.way.fileno())

    def adopt(self, words: dict[str, Any], way: socket.socket, listen: Listen, counts: Counts) -> None:
        """Carries on with a session of the process before."""
        now = self._now()
        ip, port = words["peer"]
        limit = self._ports[listen].pool.route.tuning.idle_timeout if listen in self._ports else 0.0
        session = Session(Flow(listen, (ip, port), words["asked"]), counts, way, now - words["age"], limit)
        session.used, session.answered = now - words["silent"], words["answered"]
        session.bytes_in, session.bytes_out = words["bytes"]
        counts.open += 1
        self._add(session)

    # ---- datagrams

    def _forward(self, port: Port) -> None:
        """Datagrams of clients, each to the backend of its session."""
        now, view = self._now(), memoryview(self._buffer)
        for _ in range(DATAGRAMS):
            asked = port.listen.ip
            try:
                if port.wild:
                    number, extra, _, client = port.sock.recvmsg_into([self._buffer], 64)
                    asked = _asked(extra)
                else:
                    number, client = port.sock.recvfrom_into(self._buffer)
            except OSError:
                return
            flow = Flow(port.listen, client, asked)
            session = self.sessions.of(flow, now) or self._begin(port, flow, now)
            if session is None:
                port.pool.rejected += 1
                continue
            try:
                session.way.send(view[:number])
            except BlockingIOError:
                continue
            except OSError:
                self._refused(session)
                continue
            session.bytes_in += number

    def _begin(self, port: Port, flow: Flow, now: float) -> Session | None:
        if port.pool.full():
            return None
        counts = port.pool.choose(flow.client[0], now)
        if counts is None:
            return None
        try:
            way = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            way.connect(counts.backend[:2])
        except OSError as error:
            log.error("session_failed", service=counts.service, error=str(error))
            return None
        session = Session(flow, counts, way, now, port.pool.route.tuning.idle_timeout)
        counts.open += 1
        counts.total += 1
        self._add(session)
        return session

    def _add(self, session: Session) -> None:
        self._turns.watch(session.way.fileno(), functools.partial(self._answer, session))
        self._end(self.sessions.add(session))
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP, self._sweep)
            self._turns.leave()

    def _answer(self, session: Session) -> None:
        port = self._ports.get(session.flow.listen)
        view = memoryview(self._buffer)
        for _ in range(REPLIES):
            try:
                number = session.way.recv_into(self._buffer)
            except BlockingIOError:
                return
            except OSError:  # the backend's host refuses: nobody listens there
                self._refused(session)
                return
            if port is None:
                return
            session.used, session.answered = self._now(), True
            session.counts.failures = 0
            session.bytes_out += number
            with contextlib.suppress(OSError):
                if port.wild:
                    port.sock.sendmsg([view[:number]], [_from(session.flow.asked)], 0, session.flow.client)
                else:
                    port.sock.sendto(view[:number], session.flow.client)

    # ---- ends

    def _refused(self, session: Session) -> None:
        """Another backend for the client's next datagram."""
        session.counts.unreachable(self._now())
        self._end(self.sessions.take(lambda s: s is session))

    def _end(self, sessions: list[Session]) -> None:
        for session in sessions:
            counts = session.counts
            counts.open -= 1
            counts.bytes_in += session.bytes_in
            counts.bytes_out += session.bytes_out
            self._turns.forget(session.way.fileno())
            session.way.close()

    def _sweep(self) -> None:
        self._end(self.sessions.expired(self._now()))
        self._sweeping = bool(len(self.sessions))
        if self._sweeping:
            self._loop.call_later(SWEEP, self._sweep)


def _asked(extra: list[tuple[int, int, bytes]]) -> str:
    """The address of ours that a datagram was sent to."""
    for level, kind, data in extra:
        if level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            return socket.inet_ntoa(_PKTINFO.unpack(data[:12])[2])
    return ANY


def _from(asked: str) -> tuple[int, int, bytes]:
    """Control data that makes a datagram leave from `asked`."""
    return socket.IPPROTO_IP, IP_PKTINFO, _PKTINFO.pack(0, socket.inet_aton(asked), bytes(4))
