"""The encrypting codec: Secrets lie in an envelope, everything else lies plain.

Rule: each write has a data key of its own (AES-256-GCM), wrapped by a key of the key file. Both boxes are bound to
kind, namespace, name, uid and revision, so that none can be put in another's or an older one's place.
"""

import os
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mesh.errors import Unavailable
from mesh.model.keys import Key
from mesh.model.kinds import Object
from mesh.store.codec import PlainCodec
from mesh.store.keyring import Keyring

SECRET_KINDS = frozenset({"Secret"})

# No protobuf message begins with a zero byte (there is no field 0), so a box is never taken for a plain object.
_MAGIC = b"\0mesh-box-1\0"
_HEAD = struct.Struct(f">{len(_MAGIC)}s16sH")  # magic, key id, length of the uid that follows
_NONCE, _WRAPPED = 12, 12 + 32 + 16  # bytes: a nonce; nonce, data key and tag


class EncryptedCodec:
    """A PlainCodec but for the kinds that hold secrets."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._plain = PlainCodec()

    def encode(self, key: Key, obj: Object, revision: int) -> bytes:
        """The bytes to store; two calls never give the same ones for a Secret."""
        value = self._plain.encode(key, obj, revision)
        if key.kind not in SECRET_KINDS:
            return value
        uid = obj.metadata.uid.encode()
        bound = _bound(key, uid, revision)
        data_key = AESGCM.generate_key(256)
        primary, wrapped = self._keyring.wrap(data_key, bound)
        head = _HEAD.pack(_MAGIC, primary.encode(), len(uid))
        return head + uid + wrapped + _sealed(data_key, value, bound)

    def decode(self, key: Key, value: bytes, revision: int) -> Object:
        """The object as of `revision`; raises Unavailable for a missing key and for a box that was tampered with."""
        if key.kind not in SECRET_KINDS:
            return self._plain.decode(key, value, revision)
        if not value.startswith(_MAGIC) or len(value) < _HEAD.size:
            raise Unavailable(f"cannot read {key}: it is not stored encrypted; restore a backup")
        _, name, length = _HEAD.unpack_from(value)
        uid = value[_HEAD.size : _HEAD.size + length]
        body = value[_HEAD.size + length :]
        key_name = name.decode("ascii", "replace")
        bound = _bound(key, uid, revision)
        try:
            data_key = self._keyring.unwrap(key_name, body[:_WRAPPED], bound)
            plain = _opened(data_key, body[_WRAPPED:], bound)
        except Unavailable as error:
            raise Unavailable(f"cannot read {key}: {error.message}") from None
        except (InvalidTag, ValueError):
            raise Unavailable(
                f"cannot read {key}: its box for key {key_name} at revision {revision} is damaged, or another's; "
                "restore a backup"
            ) from None
        return self._plain.decode(key, plain, revision)

    def rewrapped(self, key: Key, value: bytes, revision: int) -> bytes | None:
        """The same box with its data key wrapped by the first key; None when it is, or is no box of ours.

        Raises Unavailable for a missing key and for a box that was tampered with.
        """
        if key.kind not in SECRET_KINDS or not value.startswith(_MAGIC) or len(value) < _HEAD.size:
            return None
        _, name, length = _HEAD.unpack_from(value)
        key_name = name.decode("ascii", "replace")
        if key_name == self._keyring.primary:
            return None
        uid, body = value[_HEAD.size : _HEAD.size + length], value[_HEAD.size + length :]
        bound = _bound(key, uid, revision)
        try:
            data_key = self._keyring.unwrap(key_name, body[:_WRAPPED], bound)
        except Unavailable as error:
            raise Unavailable(f"cannot wrap {key} anew: {error.message}") from None
        except (InvalidTag, ValueError):
            raise Unavailable(f"cannot wrap {key} anew: its box at revision {revision} is damaged") from None
        primary, wrapped = self._keyring.wrap(data_key, bound)
        return _HEAD.pack(_MAGIC, primary.encode(), len(uid)) + uid + wrapped + body[_WRAPPED:]


def _bound(key: Key, uid: bytes, revision: int) -> bytes:
    """What a box is bound to: every part with its length, so that no two different ones read the same."""
    parts = [part.encode() for part in key] + [uid]
    return b"".join(struct.pack(">I", len(part)) + part for part in parts) + struct.pack(">Q", revision)


def _sealed(key: bytes, plain: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound)


def _opened(key: bytes, box: bytes, bound: bytes) -> bytes:
    return AESGCM(key).decrypt(box[:_NONCE], box[_NONCE:], bound)
