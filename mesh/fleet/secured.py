"""The calls to one host's agent, sealed: each crosses in a session that only this meshd and that host's agent have.

Rules: a session begins with the first call, and again when the agent is another one (or when it is an hour old). What
comes back in clear is believed to be a failure of the way and nothing else. A call that the agent has not let in is
repeated in a new session; no other is ever repeated.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog
from google.protobuf.message import DecodeError

from mesh.errors import Forbidden, MeshError, Unavailable, from_kind
from mesh.sessions import LIFE, Opening, Session, Trust
from mesh.v1.node_pb2 import Reply

log = structlog.get_logger(__name__)

Carry = Callable[[str, bytes, float], Awaitable[Reply]]
_HELLO_SECONDS = 10.0


class Secured:
    """`carry` takes a method's name, bytes and seconds to the agent and brings its Reply; raises Unavailable."""

    def __init__(self, node: str, carry: Carry, trust: Trust, clock: Callable[[], int] = time.time_ns) -> None:
        self._node = node
        self._carry = carry
        self._trust = trust
        self._clock = clock
        self._session: Session | None = None
        self._ends = 0.0  # by the loop's clock
        self._opening = asyncio.Lock()
        self._why = ""

    async def call(self, method: str, payload: bytes, seconds: float) -> bytes:
        """What the agent answers; raises what it raised, or Unavailable."""
        session = await self._current(None)
        reply = await self._once(session, method, payload, seconds)
        if reply is None:
            session = await self._current(session)
            reply = await self._once(session, method, payload, seconds)
        if reply is None:
            raise Unavailable(f"the agent of {self._node} does not keep its session")
        if reply.error_kind:
            raise from_kind(reply.error_kind, reply.error_message)
        return reply.payload

    async def _once(self, session: Session, method: str, payload: bytes, seconds: float) -> Reply | None:
        """None: the agent does not know the session, and did nothing."""
        call = session.seal_call(method, payload)
        reply = await self._carry(method, call.SerializeToString(), seconds)
        if reply.no_session:
            return None
        if not reply.box:
            raise self._in_clear(reply)
        try:
            return Reply.FromString(session.open_answer(method, call.number, reply.box))
        except (Forbidden, DecodeError) as error:
            self._tell(f"{error}")
            raise Unavailable(f'an answer in the name of host "{self._node}" is not its own: {error}') from None

    async def _current(self, spent: Session | None) -> Session:
        """The session in use, another one than `spent`."""
        async with self._opening:
            loop = asyncio.get_running_loop()
            held = self._session
            if held is None or held is spent or held.spent or loop.time() >= self._ends:
                self._session = None
                self._session = held = await self._opened()
                self._ends = loop.time() + LIFE
            return held

    async def _opened(self) -> Session:
        opening = Opening(self._node, self._trust)
        reply = await self._carry("hello", opening.hello.SerializeToString(), _HELLO_SECONDS)
        if not reply.HasField("welcome"):
            raise self._in_clear(reply)
        try:
            session = opening.welcomed(reply.welcome, self._trust.ca(), self._clock() // 1_000_000_000)
        except MeshError as error:
            self._tell(error.message)
            raise Unavailable(f'who answers as host "{self._node}" does not prove it: {error.message}') from None
        self._tell("")
        return session

    def _in_clear(self, reply: Reply) -> Unavailable:
        return Unavailable(reply.error_message or f"the agent of {self._node} said nothing that counts")

    def _tell(self, why: str) -> None:
        if why and why != self._why:
            log.warning("host_does_not_prove_itself", node=self._node, why=why)
        self._why = why
