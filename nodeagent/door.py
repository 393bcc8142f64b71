"""The agent's door: what comes over Ray is let in when meshd sealed it, in a session with this very process.

Rule: who holds Ray's token but no certificate can call the actor's methods and gets nothing done by it, nothing told.
What is refused is refused in clear and without reasons that help, and told to meshd; a session lives in memory alone.
"""

import time
from collections.abc import Awaitable, Callable

import structlog
from google.protobuf.message import DecodeError

from mesh import sessions
from mesh.errors import Forbidden, Invalid, MeshError
from mesh.sessions import Session
from mesh.v1.node_pb2 import Refusal, Reply, SealedCall, SessionHello
from nodeagent.identity import Identity

log = structlog.get_logger()

KEPT = 4  # sessions in use, and as many that nobody has used yet


class Door:
    """Of one process. `clock` gives nanoseconds since the epoch; `refused` is told what was refused."""

    def __init__(
        self, identity: Identity, clock: Callable[[], int] = time.time_ns,
        refused: Callable[[Refusal], None] = lambda _refusal: None,
    ) -> None:  # fmt: skip
        self._identity = identity
        self._clock = clock
        self._refused = refused
        self._sessions: dict[bytes, Session] = {}  # the one used last is the last

    def hello(self, payload: bytes) -> Reply:
        """Begins a session with meshd, or refuses whoever it is."""
        try:
            trust = self._identity.trust()
        except Forbidden as error:  # this host's own want
            log.warning("session_refused", why=error.message)
            return refusal(error)
        try:
            said = SessionHello.FromString(payload)
            welcome, session = sessions.accept(said, self._identity.node, trust, self._clock() // 1_000_000_000)
        except (MeshError, DecodeError) as error:
            log.warning("session_refused", why=str(error))
            self._refused(Refusal(method="hello", why="the control service did not say this to this host, or not now"))
            return refusal(error if isinstance(error, MeshError) else Invalid("cannot read the hello"))
        self._keep(session)
        return Reply(welcome=welcome)

    async def answer(self, method: str, payload: bytes, call: Callable[[bytes], Awaitable[Reply]]) -> Reply:
        """The sealed answer of `call` to a sealed call; in clear, why there is none."""
        try:
            sealed = SealedCall.FromString(payload)
        except DecodeError:
            sealed = SealedCall()
        session = self._sessions.get(sealed.session)
        if session is None:
            return Reply(no_session=True)
        try:
            request = session.open_call(method, sealed)
        except Forbidden as error:
            log.warning("call_refused", method=method, why=error.message)
            self._refused(Refusal(method=method, why=error.message))
            return refusal(error)
        self._sessions[session.name] = self._sessions.pop(session.name, session)
        reply = await call(request)
        return Reply(box=session.seal_answer(method, sealed.number, reply.SerializeToString()))

    def _keep(self, session: Session) -> None:
        """Who repeats an old hello of meshd can't use the session, nor push out one that is used."""
        self._sessions[session.name] = session
        for used in (True, False):
            names = [name for name, held in self._sessions.items() if held.used == used]
            for name in names[:-KEPT]:
                del self._sessions[name]


def refusal(error: MeshError) -> Reply:
    """In clear."""
    return Reply(error_kind=error.kind, error_message=error.message)
