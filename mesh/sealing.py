"""Seals bytes to one host's key (HPKE, RFC 9180), so that nobody between meshd and that host's agent can read them.

Rule: a box is bound to its context: host, key, object and revision; it opens nowhere else and as nothing else. The
private key is made in the memory of the process that opens, and is never written or shown. The suite is the hybrid of
ML-KEM-768 and X25519 where the library has it, X25519 alone otherwise; the opener says which.
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519

from mesh.errors import Invalid

HYBRID, PLAIN = "mlkem768-x25519", "x25519"
_KEMS = {HYBRID: hpke.KEM.MLKEM768_X25519, PLAIN: hpke.KEM.X25519}
_MLKEM_BYTES, _X25519_BYTES = 1184, 32


@dataclass(frozen=True, slots=True)
class Context:
    """What a box is for; all of it must be the same where it is opened."""

    node: str
    key_id: str
    namespace: str
    name: str
    uid: str
    revision: str

    def bytes(self) -> bytes:
        """Every part with its length, so that no two different contexts read the same."""
        parts = (self.node, self.key_id, self.namespace, self.name, self.uid, self.revision)
        texts = [part.encode() for part in parts]
        return b"mesh sealed secret 1\0" + b"".join(struct.pack(">I", len(text)) + text for text in texts)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Whom to seal to; `raw` as it travels."""

    suite: str
    raw: bytes

    @property
    def id(self) -> str:
        """16 hexadecimal digits over suite and key."""
        return hashlib.sha256(self.suite.encode() + b"\0" + self.raw).hexdigest()[:16]


class PrivateKey:
    """A new key in this process' memory; never printed."""

    def __init__(self, suite: str = "") -> None:
        self.public, self._key = _made(suite or _best())

    def open(self, box: bytes, context: Context) -> bytes:
        """What was sealed; raises Invalid for a box of another key or context, or a damaged one."""
        try:
            return _suite(self.public.suite).decrypt(box, self._key, context.bytes())
        except (InvalidTag, ValueError):
            raise Invalid(
                f'cannot open secret "{context.namespace}/{context.name}" at revision {context.revision}: its box is '
                "damaged, or was sealed for another host, key or revision"
            ) from None

    def __repr__(self) -> str:
        return f"PrivateKey({self.public.suite}, {self.public.id})"


def seal(plain: bytes, to: PublicKey, context: Context) -> bytes:
    """A box that only the holder of the private key opens, under the same context; no two are alike.

    Raises Invalid for a suite that is not known or a key that is none.
    """
    try:
        return _suite(to.suite).encrypt(plain, _loaded(to), context.bytes())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid(f"cannot seal to key {to.id}: {error}") from error


def _best() -> str:
    try:
        mlkem.MLKEM768PrivateKey.generate()
    except UnsupportedAlgorithm:
        return PLAIN
    return HYBRID


def _suite(name: str) -> hpke.Suite:
    if name not in _KEMS:
        raise Invalid(f'cannot seal: the suite "{name}" is not known; known are {", ".join(_KEMS)}')
    return hpke.Suite(_KEMS[name], hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def _made(suite: str) -> tuple[PublicKey, Any]:
    classic = x25519.X25519PrivateKey.generate()
    if suite == PLAIN:
        return PublicKey(PLAIN, classic.public_key().public_bytes_raw()), classic
    _suite(suite)
    lattice = mlkem.MLKEM768PrivateKey.generate()
    raw = lattice.public_key().public_bytes_raw() + classic.public_key().public_bytes_raw()
    return PublicKey(HYBRID, raw), hpke.MLKEM768X25519PrivateKey(lattice, classic)


def _loaded(key: PublicKey) -> Any:
    if key.suite == PLAIN:
        return x25519.X25519PublicKey.from_public_bytes(key.raw)
    if len(key.raw) != _MLKEM_BYTES + _X25519_BYTES:
        raise ValueError(f"a public key of {key.suite} has {_MLKEM_BYTES + _X25519_BYTES} bytes, not {len(key.raw)}")
    return hpke.MLKEM768X25519PublicKey(
        mlkem.MLKEM768PublicKey.from_public_bytes(key.raw[:_MLKEM_BYTES]),
        x25519.X25519PublicKey.from_public_bytes(key.raw[_MLKEM_BYTES:]),
    )
