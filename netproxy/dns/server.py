"""The name server's sockets: UDP and TCP at the address that pods ask.

Rules: a turn answers a bounded number of datagrams, so that a flood of questions leaves the proxy its turns. Answers
from the table are remembered as bytes until the table changes; what needs other servers is a task of its own, and
their number is bounded.
"""

import asyncio
import contextlib
import functools
import random
import socket
from collections.abc import Sequence
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
from dns.message import Message

from mesh.exposition.serving import until_cancelled
from mesh.v1.node_pb2 import NameFigures, ProxyService
from netproxy.dns.cache import Asked
from netproxy.dns.message import Garbage, answer_of, asked, failure, limit, question, reply, wire_of
from netproxy.dns.names import Absent, Found, Names
from netproxy.dns.upstream import Upstream
from netproxy.routes import Listen
from netproxy.turns import Turns

DATAGRAMS = 32  # in one turn
REMEMBERED = 4096  # answers as bytes
CLIENTS, IDLE = 128, 10.0  # TCP connections at once; seconds for a question to come
CHAIN = 8  # aliases in a row
WAITING = 1024  # datagrams at once whose answer others have yet to give
_Outcome = Message | tuple[Message, str]


class NameServer:
    """See the module."""

    def __init__(self, turns: Turns, loop: asyncio.AbstractEventLoop) -> None:
        self._turns = turns
        self._upstream = Upstream(loop.time)
        self._names = Names("cluster.local")
        self._bytes: dict[bytes, bytes] = {}
        self._sockets: dict[Listen, socket.socket] = {}
        self._servers: dict[Listen, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients = 0
        self.questions = self.failures = self.garbage = 0

    def figures(self) -> NameFigures:
        """What it has done."""
        return NameFigures(questions=self.questions, failures=self.failures, garbage=self.garbage)

    # ---- what is known

    def configure(self, zone: str, upstreams: Sequence[str], services: dict[str, ProxyService]) -> None:
        """The zone and who answers for all else."""
        self._upstream.servers = tuple(upstreams)
        if zone and zone.rstrip(".").lower() != self._names.zone:
            self._names = Names(zone)
            for key, service in services.items():
                self._names.set(key, service)
        self._bytes.clear()

    def set(self, key: str, service: ProxyService | None) -> None:
        """A Service has changed; None: it is gone."""
        self._names.set(key, service)
        self._bytes.clear()

    # ---- sockets

    def open(self, listen: Listen, sock: socket.socket) -> None:
        """Serves a bound, or for TCP listening, socket, which is the server's from now on."""
        self._sockets[listen] = sock
        if listen.protocol == "UDP":
            self._turns.watch(sock.fileno(), functools.partial(self._read, sock))
        else:
            self._servers[listen] = asyncio.get_running_loop().create_task(self._serve_tcp(sock))
            self._turns.leave()

    def close(self, listen: Listen) -> None:
        """Stops serving it."""
        sock = self._sockets.pop(listen)
        if listen.protocol == "UDP":
            self._turns.forget(sock.fileno())
            sock.close()
        else:
            self._servers.pop(listen).cancel()

    # ---- UDP

    def _read(self, sock: socket.socket) -> None:
        for _ in range(DATAGRAMS):
            try:
                wire, client = sock.recvfrom(4096)
            except OSError:
                return
            self.questions += 1
            known = self._bytes.get(wire[2:])
            if known is not None:
                _send(sock, wire[:2] + known, client)
                continue
            self._think(sock, wire, client)

    def _think(self, sock: socket.socket, wire: bytes, client: Any) -> None:
        try:
            query = question(wire)
            outcome = self._outcome(query)
        except Garbage:
            self.garbage += 1
            return
        if isinstance(outcome, Message):
            bytes_ = wire_of(outcome, limit(query))
            if _lasting(outcome) and len(self._bytes) < REMEMBERED:
                self._bytes[wire[2:]] = bytes_[2:]
            _send(sock, bytes_, client)
            return
        if len(self._tasks) >= WAITING:
            self.failures += 1
            _send(sock, wire_of(failure(query, dns.rcode.SERVFAIL), limit(query)), client)
            return
        task = asyncio.get_running_loop().create_task(self._later(sock, query, outcome, client))
        self._turns.leave()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _later(self, sock: socket.socket, query: Message, outcome: tuple[Message, str], client: Any) -> None:
        answer = await self._complete(query, outcome)
        if sock.fileno() >= 0:
            _send(sock, wire_of(answer, limit(query)), client)

    # ---- TCP

    async def _serve_tcp(self, sock: socket.socket) -> None:
        server = await asyncio.start_server(self._converse, sock=sock)
        await until_cancelled(server)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            while self._clients <= CLIENTS:
                async with asyncio.timeout(IDLE):
                    length = int.from_bytes(await reader.readexactly(2))
                    wire = await reader.readexactly(length)
                self.questions += 1
                query = question(wire)
                outcome = self._outcome(query)
                answer = outcome if isinstance(outcome, Message) else await self._complete(query, outcome)
                reply_wire = wire_of(answer, 65535)
                writer.write(len(reply_wire).to_bytes(2) + reply_wire)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, Garbage, asyncio.CancelledError):
            return
        finally:
            self._clients -= 1
            writer.close()

    # ---- answers

    def _outcome(self, query: Message) -> _Outcome:
        """The answer; or what there is of it, and the name that others are to be asked about."""
        name, kind = asked(query)
        found = self._names.find(name)
        if found is Absent.OTHER:
            known = self._upstream.known(_asked(query, name))
            return _from_upstream(query, known) if known is not None else (reply(query), name)
        answer = answer_of(query, _shuffled(found), self._names.zone)
        if not isinstance(found, Found) or not found.alias or kind == dns.rdatatype.CNAME:
            return answer
        return self._follow(query, answer, found.alias)

    def _follow(self, query: Message, answer: Message, alias: str) -> _Outcome:
        """An alias that is one of our names is followed here."""
        for _ in range(CHAIN):
            found = self._names.find(alias)
            if found is Absent.OTHER:
                return answer, alias
            if not isinstance(found, Found):
                return answer
            there = dns.message.make_query(alias + ".", query.question[0].rdtype)
            answer.answer.extend(answer_of(there, found, self._names.zone).answer)
            if not found.alias:
                return answer
            alias = found.alias
        return failure(query, dns.rcode.SERVFAIL)

    async def _complete(self, query: Message, outcome: tuple[Message, str]) -> Message:
        answer, name = outcome
        try:
            about = _asked(query, name)
            told = self._upstream.known(about) or await self._upstream.ask(about)
        except (TimeoutError, dns.exception.DNSException):
            self.failures += 1
            return answer if answer.answer else failure(query, dns.rcode.SERVFAIL)
        if answer.answer:
            answer.answer.extend(told.answer)
            return answer
        return _from_upstream(query, told)


def _asked(query: Message, name: str) -> Asked:
    return Asked(name.lower(), int(query.question[0].rdtype), bool(query.ednsflags & dns.flags.DO))


def _from_upstream(query: Message, told: Message) -> Message:
    answer = reply(query)
    answer.set_rcode(told.rcode())
    answer.answer, answer.authority = list(told.answer), list(told.authority)
    return answer


def _shuffled(found: Found | Absent) -> Found | Absent:
    """Addresses in an order of chance: clients take the first."""
    if isinstance(found, Found) and len(found.addresses) > 1:
        return Found(addresses=tuple(random.sample(found.addresses, len(found.addresses))))
    return found


def _lasting(answer: Message) -> bool:
    """Whether the same bytes are right for the next who asks."""
    return bool(answer.flags & dns.flags.AA) and all(len(rrset) == 1 for rrset in answer.answer)


def _send(sock: socket.socket, wire: bytes, client: Any) -> None:
    with contextlib.suppress(OSError):
        sock.sendto(wire, client)
