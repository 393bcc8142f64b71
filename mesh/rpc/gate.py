"""The gate of the service: recognises callers, decides what they may do by the newest view, and writes it down.

Rule: deny by default; what is refused is always written down, and so is what is allowed if it changes something, goes
into a pod or shows a Secret. A call asks through `current()`, so a handler can ask of what it is about to write.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mesh import jwt
from mesh.access import escalation
from mesh.access.accounts import bearer_of
from mesh.access.asks import DEFERRED, STRANGERS, asks_of
from mesh.access.decide import Decision, decide, refusal
from mesh.access.revoked import is_revoked
from mesh.access.rules import READ, SERVICE, Ask
from mesh.access.who import Who, of_certificate
from mesh.config import Limits
from mesh.errors import Forbidden, MeshError
from mesh.model.kinds import Object
from mesh.pki import Identity, identity
from mesh.rpc.audit import Audit
from mesh.rpc.limits import Meter
from mesh.view import View

_LIMITS = Limits()
_SECOND = 1_000_000_000


@dataclass(slots=True)
class Call:
    """One call under way, and what it was allowed so far."""

    gate: "Gate"
    who: Who
    method: str
    peer: str
    identity: Identity | None = None
    claims: Mapping[str, Any] | None = None  # of a service account's token
    expires: int = 0  # of that token, in seconds since the epoch
    asks: list[Ask] = field(default_factory=list)

    def require(self, asks: Iterable[Ask], view: View | None = None) -> None:
        """Raises Forbidden unless all of it is allowed; each wish of a call is written down once."""
        fresh = [ask for ask in dict.fromkeys(asks) if ask not in self.asks]
        self.gate.check(self, fresh, view)
        self.asks += fresh

    def require_grants(self, new: Object, old: Object | None, view: View) -> None:
        """Raises Forbidden when writing this would give what the caller has not."""
        try:
            escalation.check(self.who, new, old, view)
        except Forbidden as error:
            self.gate.refused(self, error)
            raise


class Gate:
    """`view` is the feed's; `clock` nanoseconds since the epoch; `key` signs the tokens of service accounts."""

    def __init__(
        self, view: View, audit: Audit, clock: Callable[[], int], limits: Limits = _LIMITS,
        key: Callable[[], bytes] = bytes,
    ) -> None:  # fmt: skip
        self.view = view
        self.meter = Meter(limits, time.monotonic)
        self._audit = audit
        self._clock = clock
        self._key = key

    @property
    def now(self) -> int:
        """Seconds since the epoch."""
        return self._clock() // _SECOND

    def recognise(self, call: Call, auth_context: Mapping[str, Iterable[bytes]], token: str = "") -> None:
        """Finds out who calls, by a certificate or, without one, by a service account's token; raises Forbidden when
        nobody can be, or his certificate was revoked, Invalid."""
        if call.method in STRANGERS:
            self.meter.call("")
            return
        if token and "x509_pem_cert" not in auth_context:
            self._recognise_token(call, token)
            return
        call.identity = certified(auth_context)
        call.who = of_certificate(call.identity)
        if is_revoked(call.identity, self.view):
            raise Forbidden(f'the certificate of "{call.who.name}" was revoked: `mesh login` with a new token')
        self.meter.call(call.who.name)

    def _recognise_token(self, call: Call, token: str) -> None:
        try:
            claims = jwt.read(token, self._key())
            bearer = bearer_of(claims, self.view, self.now)
        except MeshError:
            self.meter.call("")  # who tries tokens out is a stranger
            raise
        call.claims, call.who, call.expires = claims, bearer.who, bearer.expires
        self.meter.call(call.who.name)

    def enter(self, call: Call, request: Any) -> None:
        """Raises Forbidden unless the caller may make this call; NotFound, Invalid for what is no wish at all."""
        asks = asks_of(call.method, request)
        if asks is None:
            error = Forbidden(f'"{call.who.name}" may not call {call.method}: nobody may')
            self.refused(call, error)
            raise error
        if call.method not in DEFERRED:
            call.require(asks)

    def check(self, call: Call, asks: Iterable[Ask], view: View | None = None) -> None:
        """Decides and writes down; raises Forbidden at the first wish that is not allowed."""
        allowed: dict[str, list[Ask]] = {}
        for ask in asks:
            decision = decide(call.who, ask, view or self.view)
            if not decision.allowed:
                self._write(call, [ask], decision)
                raise Forbidden(refusal(call.who, ask, decision))
            if _notable(ask):
                allowed.setdefault(decision.why, []).append(ask)
        for why, some in allowed.items():
            self._write(call, some, Decision(True, why))

    def still(self, call: Call) -> Forbidden | None:
        """Why a call that was let in would not be any more; None when it would."""
        if call.identity is not None and is_revoked(call.identity, self.view):
            error = Forbidden(f'the certificate of "{call.who.name}" was revoked')
            self.refused(call, error)
            return error
        if call.claims is not None:
            try:
                bearer_of(call.claims, self.view, self.now)
            except Forbidden as error:
                self.refused(call, error)
                return error
        for ask in call.asks:
            decision = decide(call.who, ask, self.view)
            if not decision.allowed:
                self._write(call, [ask], decision)
                return Forbidden(refusal(call.who, ask, decision))
        return None

    def note(self, call: Call, why: str) -> None:
        """Writes down what was allowed without a wish."""
        self._write(call, (), Decision(True, why))

    def refused(self, call: Call, error: MeshError) -> None:
        """Writes down a refusal that has no wish."""
        self._write(call, (), Decision(False, error.message))

    def _write(self, call: Call, asks: Iterable[Ask], decision: Decision) -> None:
        named = [_words(ask) for ask in asks]
        self._audit.write({
            "time": datetime.fromtimestamp(self._clock() / 1e9, UTC).isoformat(timespec="microseconds"),
            "user": call.who.name,
            "groups": list(call.who.groups),
            "by": call.who.by,
            "from": call.peer,
            "method": call.method,
            "allowed": decision.allowed,
            "why": decision.why,
            "what": named,
        })  # fmt: skip


_current: ContextVar[Call] = ContextVar("call")


def current() -> Call:
    """The call that this task serves; LookupError outside of one."""
    return _current.get()


def begin(call: Call) -> None:
    """Makes it the call of this task, and of the tasks that it starts."""
    _current.set(call)


def certified(auth_context: Mapping[str, Iterable[bytes]]) -> Identity:
    """Whom the peer's certificate names; raises Forbidden when there is none, Invalid when it names nobody."""
    for certificate in auth_context.get("x509_pem_cert", ()):
        return identity(bytes(certificate))
    raise Forbidden("a client certificate is required, or the token of a service account")


def _notable(ask: Ask) -> bool:
    if ask.group == SERVICE:
        return ask.verb not in READ
    return ask.verb not in READ or ask.resource in ("secrets", "*") or bool(ask.subresource)


def _words(ask: Ask) -> dict[str, str]:
    words = {"verb": ask.verb, "group": ask.group, "resource": ask.what, "namespace": ask.namespace, "name": ask.name}
    return {key: word for key, word in words.items() if word}
