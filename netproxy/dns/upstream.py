"""Questions that are not ours go to the host's own name servers.

Rules: a fresh socket, and so a fresh port, for each question, and an answer counts only for the question asked.
Questions that are asked already wait for the same answer. No more than a bounded number is under way: the rest is told
at once that it failed, so that a flood costs others nothing but memory that is bounded too.
"""

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Callable, Sequence

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
from dns.message import Message

from netproxy.dns.cache import Asked, Cache
from netproxy.dns.message import LARGEST, Garbage

MOST, PATIENCE, ROUNDS = 512, 2.0, 2  # questions under way; seconds for one server; how often all are asked


class Upstream:
    """Asks `servers`, in order; raises TimeoutError when none answers."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._cache = Cache()
        self._asking: dict[Asked, asyncio.Future[Message]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.servers: Sequence[str] = ()

    def known(self, asked: Asked) -> Message | None:
        """An answer that is still good, with what is left of its time to live."""
        kept = self._cache.get(asked, self._clock())
        if kept is None:
            return None
        answer, age = kept
        return _aged(answer, age)

    async def ask(self, asked: Asked) -> Message:
        """The answer; raises TimeoutError when there is none, or too much is asked already."""
        waiting = self._asking.get(asked)
        if waiting is None:
            if len(self._asking) >= MOST or not self.servers:
                raise TimeoutError("too many questions under way, or nobody to ask")
            waiting = self._asking[asked] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(self._find(asked, waiting))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(waiting)

    async def _find(self, asked: Asked, waiting: asyncio.Future[Message]) -> None:
        try:
            for _ in range(ROUNDS):
                for server in self.servers:
                    with contextlib.suppress(OSError, TimeoutError, Garbage, asyncio.IncompleteReadError):
                        answer = await _exchange(server, asked)
                        self._cache.put(asked, answer, self._clock())
                        waiting.set_result(answer)
                        return
            waiting.set_exception(TimeoutError("no name server answers"))
            waiting.exception()  # whoever waits is told; nobody has to
        finally:
            del self._asking[asked]
            if not waiting.done():
                waiting.cancel()


def _aged(answer: Message, seconds: int) -> Message:
    copy = dns.message.from_wire(answer.to_wire())
    for section in (copy.answer, copy.authority, copy.additional):
        for rrset in section:
            rrset.update_ttl(max(0, rrset.ttl - seconds))
    return copy


async def _exchange(server: str, asked: Asked) -> Message:
    query = dns.message.make_query(dns.name.from_text(asked.name), dns.rdatatype.RdataType(asked.kind))
    query.use_edns(0, dns.flags.DO if asked.signed else 0, LARGEST)
    query.id = secrets.randbits(16)
    host, port = _address(server)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect((host, port))
            await loop.sock_sendall(sock, query.to_wire())
            while True:
                answer = _parsed(await loop.sock_recv(sock, 65535))
                if answer is not None and query.is_response(answer):
                    break
        if answer.flags & dns.flags.TC:
            answer = await _over_tcp(host, port, query)
    return answer


async def _over_tcp(host: str, port: int, query: Message) -> Message:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        wire = query.to_wire()
        writer.write(len(wire).to_bytes(2) + wire)
        length = int.from_bytes(await reader.readexactly(2))
        answer = _parsed(await reader.readexactly(length))
        if answer is None or not query.is_response(answer):
            raise Garbage("another answer than that to the question")
        return answer
    finally:
        writer.close()


def _parsed(wire: bytes) -> Message | None:
    try:
        return dns.message.from_wire(wire, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError, IndexError):
        return None


def _address(server: str) -> tuple[str, int]:
    host, _, port = server.partition(":")
    return host, int(port or 53)
