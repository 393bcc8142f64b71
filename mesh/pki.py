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
MONITORS = "mesh:monitors"  # the group that may read figures
AGENT = "agent.mesh"  # a name of every host's certificate: readers of figures know hosts by address
DAY = 86_400
LIFE = 7 * DAY  # of a user's certificate
HOST_LIFE = 30 * DAY  # of a host's, and of meshd's: a host may be switched off for weeks
SCHEME = "mesh://"
_PLAIN = "@:"  # of a user's name, beside letters, digits and _.-~
_NAME = 64  # bytes of a name or group in a subject (RFC 5280)
_CA_USAGE = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
BACKDATE = 3600  # certificates are valid from an hour ago: clocks of hosts differ


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
    issued: int = field(default=0, compare=False)  # seconds since the epoch


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
    return Request(name, tuple(groups), uris=(f"{SCHEME}user/{quote(name, safe=_PLAIN)}",), client=True)


def server(name: str, hosts: Sequence[str]) -> Request:
    """What a server's certificate says; `hosts` are the names and addresses under which it is called."""
    return Request(name, hosts=tuple(hosts), server=True)


def node(name: str, hosts: Sequence[str] = ()) -> Request:
    """What a host's certificate says; it serves and it calls."""
    return Request(name, (NODES,), (name, AGENT, *hosts), (f"{SCHEME}node/{name}",), server=True, client=True)


def make_ca(name: str, now: int, days: int = 3650) -> Pair:
    """A new authority that signs itself and nothing but leaves."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _builder(subject, subject, key.public_key(), now, days * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)  # 1: see `cross`
        .add_extension(_CA_USAGE, critical=True)
    )
    return Pair(_pem(builder.sign(key, hashes.SHA256())), _key_pem(key))


def cross(old: Pair, new: bytes, now: int, days: int) -> bytes:
    """A certificate of `old` for the authority `new`: by it, who trusts the old one trusts what the new one issues."""
    old_cert, old_key = _load_pair(old)
    held = _load(new)
    key = held.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise Invalid("the new authority's key is no elliptic-curve key")
    builder = (
        _builder(held.subject, old_cert.subject, key, now, days * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_CA_USAGE, critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(old_key.public_key()), critical=False)
    )
    return _pem(builder.sign(old_key, hashes.SHA256()))


def issue(ca: Pair, request: Request, now: int, days: int = 365) -> Pair:
    """A new key and its certificate by `ca`; raises Invalid when `ca` is no authority with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Pair(certify(ca, request, key.public_key(), now, days * DAY), _key_pem(key))


def certify(ca: Pair, request: Request, key: ec.EllipticCurvePublicKey, now: int, seconds: int) -> bytes:
    """A certificate by `ca` for a key that somebody else holds; raises Invalid when `ca` is no authority."""
    ca_cert, ca_key = _load_pair(ca)
    common = request.name.encode()[:_NAME].decode(errors="ignore")  # for people; the identity is the URI
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    attributes += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in request.groups]
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH] * request.server + [ExtendedKeyUsageOID.CLIENT_AUTH] * request.client
    builder = (
        _builder(x509.Name(attributes), ca_cert.subject, key, now, seconds)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(True, False, False, False, False, False, False, False, False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    names = [_host(h) for h in request.hosts] + [x509.UniformResourceIdentifier(u) for u in request.uris]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _pem(builder.sign(ca_key, hashes.SHA256()))


def wish(key: bytes = b"") -> Pair:
    """A request to be certified (CSR, where a certificate would be) for a key (PEM), or a new one. It names nobody:
    the proof of who asks says that."""
    private = serialization.load_pem_private_key(key, None) if key else ec.generate_private_key(ec.SECP256R1())
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise Invalid("the key is no elliptic-curve key")
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(private, hashes.SHA256())
    return Pair(csr.public_bytes(serialization.Encoding.PEM), _key_pem(private))


def wished_key(csr: bytes) -> ec.EllipticCurvePublicKey:
    """The key of a request to be certified, whose holder has signed it; raises Invalid."""
    try:
        request = x509.load_pem_x509_csr(csr)
        key, valid = request.public_key(), request.is_signature_valid
    except Exception as error:  # the library raises several kinds for one meaning
        raise Invalid("the request for a certificate can't be read") from error
    if not valid or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Invalid("the request for a certificate is not signed by its own P-256 key")
    return key


def wished_names(csr: bytes) -> tuple[str, ...]:
    """Whom a request to be certified names, which by rule is nobody: its common names and alternative names. Raises
    Invalid."""
    try:
        request = x509.load_pem_x509_csr(csr)
        found = [str(a.value) for a in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        for extension in request.extensions:
            if isinstance(extension.value, x509.SubjectAlternativeName):
                found += [str(name.value) for name in extension.value]
    except Exception as error:  # the library raises several kinds for one meaning
        raise Invalid("the request for a certificate can't be read") from error
    return tuple(found)


def key_of(certificate: bytes) -> ec.EllipticCurvePublicKey:
    """The key that a PEM certificate is of; raises Invalid when it is of another sort."""
    key = _load(certificate).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise Invalid("the certificate's key is no elliptic-curve key")
    return key


def request_of(certificate: bytes) -> Request:
    """What to certify to get this leaf again."""
    held = _load(certificate)
    subject = held.subject
    names = [str(a.value) for a in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = tuple(str(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    try:
        usage = set(held.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        usage = set()
    server, client = ExtendedKeyUsageOID.SERVER_AUTH in usage, ExtendedKeyUsageOID.CLIENT_AUTH in usage
    return Request(names[0] if names else "", groups, _hosts(held), tuple(uris(held)), server, client)


def split(bundle: bytes) -> list[bytes]:
    """The certificates of a PEM text one by one; raises Invalid when there is none."""
    try:
        return [_pem(held) for held in x509.load_pem_x509_certificates(bundle)]
    except Exception as error:  # the library raises several kinds for one meaning
        raise Invalid("there is no PEM certificate") from error


def belongs(key: bytes, certificate: bytes) -> bool:
    """Whether a private key (PEM) is that of a certificate."""
    try:
        private = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError):
        return False
    return isinstance(private, ec.EllipticCurvePrivateKey) and private.public_key() == _load(certificate).public_key()


def due(certificate: bytes, now: int) -> int:
    """In how many seconds two thirds of a certificate's life are over; 0 when they are."""
    held = _load(certificate)
    begins, ends = held.not_valid_before_utc.timestamp() + BACKDATE, held.not_valid_after_utc.timestamp()
    return max(0, int(begins + (ends - begins) * 2 / 3) - now)


@lru_cache(maxsize=256)
def identity(certificate: bytes) -> Identity:
    """Whom a PEM certificate names; raises Invalid when it can't be read or does not name exactly one identity."""
    held = _load(certificate)
    try:
        names, subject = uris(held), held.subject
        groups = tuple(str(a.value) for a in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    except Exception as error:  # it is read piece by piece, and the library raises several kinds
        raise Invalid("the certificate can't be read") from error
    named = [uri.removeprefix(SCHEME).partition("/") for uri in names if uri.startswith(SCHEME)]
    if len(named) != 1 or named[0][0] not in ("user", "node") or not named[0][2]:
        raise Invalid(f"the certificate names no identity: it needs one alternative name such as {SCHEME}user/ada")
    kind, _, name = named[0]
    issued_at = int(held.not_valid_before_utc.timestamp()) + BACKDATE
    return Identity(unquote(name), groups, kind, held.serial_number, issued_at)


def fingerprint(certificate: bytes) -> str:
    """The SHA-256 of a PEM certificate's DER form, as "AB:CD:…"."""
    return _load(certificate).fingerprint(hashes.SHA256()).hex(":").upper()


def expires(certificate: bytes) -> int:
    """When a PEM certificate ends, in seconds since the epoch."""
    return int(_load(certificate).not_valid_after_utc.timestamp())


def serial(certificate: bytes) -> int:
    """The number of a PEM certificate."""
    return _load(certificate).serial_number


def issued(certificate: bytes) -> int:
    """When a PEM certificate was made, in seconds since the epoch."""
    return int(_load(certificate).not_valid_before_utc.timestamp()) + BACKDATE


def covers(certificate: bytes, hosts: Sequence[str]) -> bool:
    """Whether a PEM certificate names every one of `hosts`, so that it need not be issued again."""
    return set(hosts) <= set(_hosts(_load(certificate)))


def signed_by(certificate: bytes, ca: bytes) -> bool:
    """Whether the authority `ca` issued this certificate; its dates are not looked at."""
    try:
        _load(certificate).verify_directly_issued_by(_load(ca))
    except Exception:  # noqa: BLE001 - the library raises several kinds for one meaning
        return False
    return True


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: int, seconds: int
) -> x509.CertificateBuilder:
    begin = dt.datetime.fromtimestamp(now - BACKDATE, dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + dt.timedelta(seconds=seconds + BACKDATE))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def uris(certificate: x509.Certificate) -> list[str]:
    """The URIs among its alternative names, such as mesh://node/host1."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _hosts(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(v) for kind in (x509.DNSName, x509.IPAddress) for v in names.get_values_for_type(kind))


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _load(certificate: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(certificate)
    except Exception as error:  # the library raises several kinds for one meaning
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
