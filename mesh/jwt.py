"""JSON Web Tokens as the mesh makes and reads its own (RFC 7519, ES256): claims in, text out, and back.

Rule: pure. The key is that of a certificate of the control service. Equal claims make an equal token (RFC 6979), so
nobody has to remember one. What is not signed by this key, with this algorithm, is refused, whatever it says.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from mesh.errors import Forbidden, Invalid

_LONGEST = 8192  # characters of a token
_HALF = 32  # bytes of each number of a signature


def sign(claims: Mapping[str, Any], key: bytes) -> str:
    """The token that says this; `key` is a P-256 private key, PEM. Raises Invalid for another one."""
    private = _private(key)
    header = {"alg": "ES256", "kid": _name(key), "typ": "JWT"}
    signed = f"{_packed(header)}.{_packed(claims)}"
    der = private.sign(signed.encode(), ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    numbers = utils.decode_dss_signature(der)
    return f"{signed}.{_text(b''.join(number.to_bytes(_HALF) for number in numbers))}"


def read(token: str, key: bytes) -> dict[str, Any]:
    """What a token says that this key has signed; raises Forbidden, without repeating it. Nothing else is checked."""
    parts = token.split(".")
    if len(token) > _LONGEST or len(parts) != 3:
        raise Forbidden("the token can't be read")
    try:
        header, claims = json.loads(_bytes(parts[0])), json.loads(_bytes(parts[1]))
        signature = _bytes(parts[2])
    except (ValueError, binascii.Error, RecursionError):
        raise Forbidden("the token can't be read") from None
    public = _private(key).public_key()
    if not isinstance(header, dict) or not isinstance(claims, dict) or len(signature) != 2 * _HALF:
        raise Forbidden("the token can't be read")
    if header.get("alg") != "ES256" or header.get("kid") != _name(key):
        raise Forbidden("the token was not made by this mesh, or by a key that it has no more")
    numbers = int.from_bytes(signature[:_HALF]), int.from_bytes(signature[_HALF:])
    try:
        der = utils.encode_dss_signature(*numbers)
        public.verify(der, f"{parts[0]}.{parts[1]}".encode(), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Forbidden("the token's signature is wrong") from None
    return claims


@lru_cache(maxsize=4)
def _private(key: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError):
        raise Invalid("the key that signs tokens is not a PEM private key") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
        raise Invalid("the key that signs tokens is no P-256 key")
    return private


@lru_cache(maxsize=4)
def _name(key: bytes) -> str:
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    der = _private(key).public_key().public_bytes(*form)
    return _text(hashlib.sha256(der).digest())[:16]


def _packed(value: Mapping[str, Any]) -> str:
    return _text(json.dumps(value, separators=(",", ":"), sort_keys=True).encode())


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
