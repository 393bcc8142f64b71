"""Signatures of the mesh's own certificates over what crosses Ray: a host's key, and meshd's orders.

Rule: pure; who holds Ray's token but no key of a certificate can forge neither. Every signature names its purpose, so
that none serves for another. A certificate counts when the mesh's authority issued it, within its dates, for this role.
"""

import datetime as dt
import struct
from dataclasses import dataclass
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh import pki
from mesh.errors import Forbidden, Invalid

ORDER, HOST_KEY = "order", "host key"
HELLO, WELCOME = "session hello", "session welcome"
CONTROL = "meshd"  # the common name of the control service's certificate


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature and the certificate (PEM) of who made it."""

    certificate: bytes
    signature: bytes


def sign(pair: pki.Pair, purpose: str, payload: bytes) -> Signed:
    """Signs with a certificate's key; raises Invalid for a key that is none."""
    return Signed(pair.certificate, _private(pair.key).sign(_bound(purpose, payload), ec.ECDSA(hashes.SHA256())))


@lru_cache(maxsize=4)
def _private(key: bytes) -> ec.EllipticCurvePrivateKey:
    """Reading a key costs as much as signing with it, and every order is signed."""
    private = serialization.load_pem_private_key(key, password=None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise Invalid("cannot sign: the certificate's key is no elliptic-curve key")
    return private


def verify_control(signed: Signed, purpose: str, payload: bytes, ca: bytes, now: int) -> None:
    """Raises Forbidden unless the control service of this authority signed. `now`: seconds since the epoch. `ca` may
    hold several certificates."""
    certificate = _certificate(signed.certificate, ca, now)
    names, hosts_or_users = _common_names(certificate), [u for u in pki.uris(certificate) if u.startswith("mesh://")]
    if names != [CONTROL] or hosts_or_users or not _serves(certificate):
        raise Forbidden(f'the {purpose} is signed by "{", ".join(names)}", which is not the control service')
    _check(certificate, signed, purpose, payload)


def verify_host(signed: Signed, purpose: str, payload: bytes, node: str, ca: bytes, now: int) -> None:
    """Raises Forbidden unless the host `node` itself signed."""
    certificate = _certificate(signed.certificate, ca, now)
    if f"mesh://node/{node}" not in pki.uris(certificate):
        names = ", ".join(_common_names(certificate))
        raise Forbidden(f'the {purpose} is signed by "{names}", which is not the host "{node}"')
    _check(certificate, signed, purpose, payload)


def announcement(node: str, boot: str, nonce: bytes, suite: str, public_key: bytes) -> bytes:
    """What a host signs of its key."""
    return words(node.encode(), boot.encode(), nonce, suite.encode(), public_key)


def words(*parts: bytes) -> bytes:
    """Every part with its length, so that no two different lists read the same."""
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def _certificate(pem: bytes, ca: bytes, now: int) -> x509.Certificate:
    """The first certificate of a chain, which leads to an authority directly or by one more of the chain."""
    try:
        certificate, *between = x509.load_pem_x509_certificates(pem)
        authorities = x509.load_pem_x509_certificates(ca)
    except Exception:  # noqa: BLE001 - the library raises several kinds for one meaning
        raise Forbidden("the signature's certificate can't be read") from None
    at = dt.datetime.fromtimestamp(now, dt.UTC)
    trusted = [a for a in authorities if _in_time(a, at)]
    trusted += [b for b in between if _in_time(b, at) and any(_issued(b, a) for a in trusted) and _is_authority(b)]
    if not any(_issued(certificate, authority) for authority in trusted):
        raise Forbidden("the signature's certificate is not of this mesh's authority")
    if not _in_time(certificate, at):
        raise Forbidden("the signature's certificate has expired, or is not valid yet")
    return certificate


def _in_time(certificate: x509.Certificate, at: dt.datetime) -> bool:
    return certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001 - the library raises several kinds for one meaning
        return False
    return True


def _common_names(certificate: x509.Certificate) -> list[str]:
    return [str(a.value) for a in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]


def _serves(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.SERVER_AUTH in usage


def _check(certificate: x509.Certificate, signed: Signed, purpose: str, payload: bytes) -> None:
    key = certificate.public_key()
    try:
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise InvalidSignature
        key.verify(signed.signature, _bound(purpose, payload), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Forbidden("the signature is not of this certificate's key, or of something else") from None


def _bound(purpose: str, payload: bytes) -> bytes:
    return b"mesh signature 1\0" + purpose.encode() + b"\0" + payload
