"""Sessions between meshd and a host's agent, over whatever carries their calls: nobody on the way reads, forges or
repeats one.

Rule: pure; both sides prove themselves by their certificates over keys that are made for the session alone (X25519), so
what was recorded stays closed when a certificate's key is stolen. Calls and answers are sealed (AES-256-GCM) as what
they are: this session, direction, method and number. A number is taken once.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mesh import pki, signing
from mesh.errors import Forbidden
from mesh.signing import Signed
from mesh.v1.node_pb2 import SealedCall, SessionHello, SessionWelcome

LIFE = 3600.0  # seconds after which meshd begins another: a renewed or revoked certificate counts by then
MOST = 1 << 30  # calls in a session
WINDOW = 8192  # how far calls may overtake each other
_KEY = 32


@dataclass(frozen=True, slots=True)
class Trust:
    """The authority (PEM, one certificate or several) and the own certificate with its key, each as of now; `listen`
    calls back, in any thread, when they are other ones, and returns the way out."""

    ca: Callable[[], bytes]
    own: Callable[[], pki.Pair]
    listen: Callable[[Callable[[], object]], Callable[[], None]] = lambda _listener: lambda: None


class Opening:
    """meshd's side until the host has answered."""

    def __init__(self, node: str, trust: Trust) -> None:
        self._node = node
        self._key = X25519PrivateKey.generate()
        public = self._key.public_key().public_bytes_raw()
        signed = signing.sign(trust.own(), signing.HELLO, signing.words(node.encode(), public))
        self.hello = SessionHello(node=node, key=public, certificate=signed.certificate, signature=signed.signature)

    def welcomed(self, welcome: SessionWelcome, ca: bytes, now: int) -> "Session":
        """The session; raises Forbidden unless the host itself answered this hello. `now`: seconds since the epoch."""
        said = _said(self.hello, welcome)
        signed = Signed(welcome.certificate, welcome.signature)
        signing.verify_host(signed, signing.WELCOME, said, self._node, ca, now)
        calls, answers = _keys(self._key, welcome.key, said)
        return Session(welcome.session, calls, answers)


def accept(hello: SessionHello, node: str, trust: Trust, now: int) -> tuple[SessionWelcome, "Session"]:
    """The host's side; raises Forbidden unless the control service said this, to this host."""
    signed = Signed(hello.certificate, hello.signature)
    if hello.node != node:
        raise Forbidden(f'this is the host "{node}", not "{hello.node}"')
    signing.verify_control(signed, signing.HELLO, signing.words(node.encode(), hello.key), trust.ca(), now)
    key = X25519PrivateKey.generate()
    welcome = SessionWelcome(session=secrets.token_bytes(16), key=key.public_key().public_bytes_raw())
    said = _said(hello, welcome)
    calls, answers = _keys(key, hello.key, said)
    signed = signing.sign(trust.own(), signing.WELCOME, said)
    welcome.certificate, welcome.signature = signed.certificate, signed.signature
    return welcome, Session(welcome.session, calls, answers)


class Session:
    """One side's. meshd seals calls and opens answers, the host opens calls and seals answers."""

    def __init__(self, name: bytes, calls: bytes, answers: bytes) -> None:
        self.name = name
        self.used = False  # a call was opened: the other side has the keys
        self._calls, self._answers = AESGCM(calls), AESGCM(answers)
        self._number = 0
        self._highest, self._seen = 0, 0  # the highest number opened; one bit for each of the WINDOW below it

    @property
    def spent(self) -> bool:
        """No further call may be sealed."""
        return self._number >= MOST

    def seal_call(self, method: str, payload: bytes) -> SealedCall:
        """The next call."""
        self._number += 1
        box = self._calls.encrypt(_nonce(self._number), payload, self._bound("call", method, self._number))
        return SealedCall(session=self.name, number=self._number, box=box)

    def open_call(self, method: str, call: SealedCall) -> bytes:
        """What was called; raises Forbidden for what meshd has not sealed as this, or was opened before."""
        behind = self._highest - call.number
        if not 0 < call.number <= MOST or behind >= WINDOW or (behind >= 0 and self._seen >> behind & 1):
            raise Forbidden(f"the call of {method} is not new")
        payload = _opened(self._calls, call.number, call.box, self._bound("call", method, call.number), method)
        if behind < 0:
            self._seen = (self._seen << -behind if -behind < WINDOW else 0) & ((1 << WINDOW) - 1) | 1
            self._highest = call.number
        else:
            self._seen |= 1 << behind
        self.used = True
        return payload

    def seal_answer(self, method: str, number: int, payload: bytes) -> bytes:
        """The answer to a call that was opened; to be made once for each."""
        return self._answers.encrypt(_nonce(number), payload, self._bound("answer", method, number))

    def open_answer(self, method: str, number: int, box: bytes) -> bytes:
        """What the host answered to this very call; raises Forbidden for anything else."""
        return _opened(self._answers, number, box, self._bound("answer", method, number), method)

    def _bound(self, direction: str, method: str, number: int) -> bytes:
        return signing.words(b"mesh session 1", self.name, direction.encode(), method.encode(), _nonce(number))


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _opened(key: AESGCM, number: int, box: bytes, bound: bytes, method: str) -> bytes:
    try:
        return key.decrypt(_nonce(number), box, bound)
    except InvalidTag:
        raise Forbidden(f"what was said of {method} was changed on its way, or made up") from None


def _said(hello: SessionHello, welcome: SessionWelcome) -> bytes:
    return signing.words(hello.node.encode(), hello.key, hello.certificate, welcome.key, welcome.session)


def _keys(own: X25519PrivateKey, other: bytes, said: bytes) -> tuple[bytes, bytes]:
    try:
        shared = own.exchange(X25519PublicKey.from_public_bytes(other))
    except ValueError:
        raise Forbidden("the session's key is none") from None
    made = HKDF(hashes.SHA256(), 2 * _KEY, salt=said, info=b"mesh session 1").derive(shared)
    return made[:_KEY], made[_KEY:]
