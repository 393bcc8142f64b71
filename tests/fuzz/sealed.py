"""The sealed door between meshd and agents, fuzzed: bytes of whoever holds Ray's token, at both of its sides.

Rule: nothing that meshd has not sealed reaches the agent, nothing that the agent has not sealed is believed; what was
sealed arrives as it was, once.
"""

import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from google.protobuf.message import DecodeError
from structlog.testing import capture_logs

from mesh import pki
from mesh.errors import Forbidden, MeshError
from mesh.sessions import Opening, Session, Trust
from mesh.v1.node_pb2 import Reply, SealedCall, SessionWelcome
from nodeagent.door import Door
from nodeagent.identity import Identity

NOW = 1_770_000_000
_CA = pki.make_ca("mesh", NOW)
_MESHD = Trust(lambda: _CA.certificate, lambda: _OWN)
_OWN = pki.issue(_CA, pki.server("meshd", ("localhost",)), NOW)
_HOST = pki.issue(_CA, pki.node("host1"), NOW)


class _Known(Identity):
    """A host's, without files."""

    def trust(self) -> Trust:
        return Trust(lambda: _CA.certificate, lambda: _HOST)


class _Line:
    """A door and meshd's session with it, made anew when it is spent."""

    def __init__(self) -> None:
        self.door = Door(_Known("host1", Path(), Path(), Path()), lambda: NOW * 10**9)
        self.opening, self.session = self._open()

    def _open(self) -> tuple[Opening, Session]:
        opening = Opening("host1", _MESHD)
        welcome = self.door.hello(opening.hello.SerializeToString()).welcome
        return opening, opening.welcomed(welcome, _CA.certificate, NOW)

    def fresh(self) -> Session:
        """A session that may be used once more."""
        if self.session.spent:
            self.opening, self.session = self._open()
        return self.session


_LINE = _Line()
HELLO = _LINE.opening.hello.SerializeToString()
CALL = _LINE.session.seal_call("observe", b"").SerializeToString()


def door(data: bytes) -> None:
    """Hellos, calls and answers; each refusal would be a line of log."""
    with capture_logs():
        _door(data)


def _door(data: bytes) -> None:
    session = _LINE.fresh()
    heard: list[bytes] = []

    async def take(request: bytes) -> Reply:
        heard.append(request)
        return Reply(payload=request)

    _LINE.door.hello(data)
    for payload in (data, SealedCall(session=session.name, number=2**40, box=data).SerializeToString()):
        refused = _run(_LINE.door.answer("assign", payload, take))
        assert not heard, data
        assert refused.error_kind or refused.no_session
    call = session.seal_call("assign", data)
    answer = _run(_LINE.door.answer("assign", call.SerializeToString(), take))
    assert heard == [data]
    assert Reply.FromString(session.open_answer("assign", call.number, answer.box)).payload == data
    assert _run(_LINE.door.answer("assign", call.SerializeToString(), take)).error_kind  # said again by somebody
    assert len(heard) == 1
    with contextlib.suppress(Forbidden):
        session.open_answer("assign", call.number, data)
        raise AssertionError(data)
    with contextlib.suppress(MeshError, DecodeError):
        _LINE.opening.welcomed(SessionWelcome.FromString(data), _CA.certificate, NOW)
        raise AssertionError(data)


def _run(waiting: Awaitable[Reply]) -> Reply:
    """What never really waits."""
    step: Callable[[None], object] = waiting.__await__().send
    try:
        step(None)
    except StopIteration as done:
        reply: Reply = done.value
        return reply
    raise AssertionError("the door waited")
