"""Certificates of the mesh: one authority, and who a certificate says its holder is.

Rule: PEM bytes in, PEM bytes out; no files, no clock. Times are seconds since the epoch. Keys are EC P-256.
A private key is never logged and never part of an error message.
"""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote, unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mesh.errors import Invalid

ADMINS = "mesh:admins"  # the group that may do everything
NODES = "mesh:nodes"  # the group of hosts
DAY = 86_400
_SCHEME = "mesh://"
_PLAIN = "@:"  # of a user's name, beside letters, digits and _.-~
_BACKDATE = 3600  # certificates are valid from an hour ago: clocks of hosts differ


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key (PKCS #8, not encrypted), both PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a certificate names: a "user" or a "node" by the URI "mesh://user/ada" among its alternative names, with its
    organizations as groups."""

    name: str
    groups: tuple[str, ...] = ()
    kind: str = "user"
    serial: int = field(default=0, compare=False)
    begins: int = field(default=0, compare=False)  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class Request:
    """What to certify. `hosts` are DNS names and IP addresses, `uris` such as "mesh://node/a" and "mesh://user/b"."""

    name: str
    groups: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    server: bool = False
    client: bool = False


def user(name: str, groups: Sequence[str] = (ADMINS,)) -> Request:
    """What a person's or program's client certificate says."""
    return Request(name, tuple(groups), uris=(f"{_SCHEME}user/{quote(name, safe=_PLAIN)}",), client=True)


def server(name: str, hosts: Sequence[str]) -> Request:
    """What a server's certificate says; `hosts` are the names and addresses under which it is called."""
    return Request(name, hosts=tuple(hosts), server=True)


def node(name: str, hosts: Sequence[str] = ()) -> Request:
    """What a host's certificate says; it serves and it calls."""
    return Request(name, (NODES,), (name, *hosts), (f"{_SCHEME}node/{name}",), server=True, client=True)


def make_ca(name: str, now: int, days: int = 3650) -> Pair:
    """A new authority that signs itself and nothing but leaves."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    builder = (
        _builder(subject, subject, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )
    return Pair(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key))


def issue(ca: Pair, request: Request, now: int, days: int = 365) -> Pair:
    """A new key and its certificate by `ca`; raises Invalid when `ca` is no authority with its key."""
    ca_cert, ca_key = _load_pair(ca)
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, request.name)]
    attributes += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in request.groups]
    subject = x509.Name(attributes)
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH] * request.server + [ExtendedKeyUsageOID.CLIENT_AUTH] * request.client
    builder = (
        _builder(subject, ca_cert.subject, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(True, False, False, False, False, False, False, False, False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    names = [_host(h) for h in request.hosts] + [x509.UniformResourceIdentifier(u) for u in request.uris]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Pair(_pem(builder.sign(ca_key, hashes.SHA256())), _key_pem(key))


@lru_cache(maxsize=256)
def identity(certificate: bytes) -> Identity:
    """Whom a PEM certificate names; raises Invalid when it can't be read or does not name exactly one identity."""
    held = _load(certificate)
    named = [uri.removeprefix(_SCHEME).partition("/") for uri in _uris(held) if uri.startswith(_SCHEME)]
    if len(named) != 1 or named[0][0] not in ("user", "node") or not named[0][2]:
        raise Invalid(f"the certificate names no identity: it needs one alternative name such as {_SCHEME}user/ada")
    kind, _, name = named[0]
    groups = tuple(str(a.value) for a in held.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    begins = int(held.not_valid_before_utc.timestamp())
    return Identity(unquote(name), groups, kind, held.serial_number, begins)


def fingerprint(certificate: bytes) -> str:
    """The SHA-256 of a PEM certificate's DER form, as "AB:CD:…"."""
    return _load(certificate).fingerprint(hashes.SHA256()).hex(":").upper()


def expires(certificate: bytes) -> int:
    """When a PEM certificate ends, in seconds since the epoch."""
    return int(_load(certificate).not_valid_after_utc.timestamp())


def covers(certificate: bytes, hosts: Sequence[str]) -> bool:
    """Whether a PEM certificate names every one of `hosts`, so that it need not be issued again."""
    try:
        names = _load(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return not hosts
    held = {str(v) for kind in (x509.DNSName, x509.IPAddress) for v in names.get_values_for_type(kind)}
    return set(hosts) <= held


def signed_by(certificate: bytes, ca: bytes) -> bool:
    """Whether the authority `ca` issued this certificate; its dates are not looked at."""
    try:
        _load(certificate).verify_directly_issued_by(_load(ca))
    except Exception:  # noqa: BLE001 - the library raises several kinds for one meaning
        return False
    return True


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: int, days: int
) -> x509.CertificateBuilder:
    begin = dt.datetime.fromtimestamp(now - _BACKDATE, dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + dt.timedelta(days=days, seconds=_BACKDATE))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _load(certificate: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(certificate)
    except ValueError as error:
        raise Invalid("the certificate is not a PEM certificate") from error


def _load_pair(pair: Pair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate = _load(pair.certificate)
    try:
        key = serialization.load_pem_private_key(pair.key, password=None)
    except (ValueError, TypeError) as error:
        raise Invalid("the authority's key is not a PEM private key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise Invalid("the authority's key is not the key of its certificate")
    return certificate, key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
