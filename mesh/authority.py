"""The mesh's authority as a value: whom it trusts, with which key it issues, and how it is replaced with overlap.

Rule: pure; PEM in, PEM out. While an old authority is still trusted, everything issued carries the cross certificate by
which those who know only the old one recognise the new one. Of the bundle, the certificate of the key is the one that
issues: so the files may be written one after the other.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mesh import pki
from mesh.errors import Invalid, Unavailable
from mesh.pki import Pair, Request

BUNDLE, KEY, CROSS = "ca.crt", "ca.key", "cross.crt"  # their files, in the order of writing: CROSS, BUNDLE, KEY
_CA_DAYS = 3650


@dataclass(frozen=True, slots=True)
class Authority:
    """`bundle`: all authorities that are trusted. `key` empty: it is kept elsewhere and nothing is issued."""

    bundle: bytes
    key: bytes
    cross: bytes = b""

    @property
    def certificate(self) -> bytes:
        """The authority that issues, or the newest when the key is not here."""
        found = pki.split(self.bundle)
        return next((c for c in found if self.key and pki.belongs(self.key, c)), found[0])

    @property
    def outdated(self) -> bool:
        """Whether a newer authority is trusted, whose key another meshd has."""
        return self.certificate != pki.split(self.bundle)[0]

    @property
    def overlaps(self) -> bool:
        """Whether an older authority is still trusted."""
        return len(pki.split(self.bundle)) > 1

    def certify(self, request: Request, csr_or_certificate: bytes, now: int, seconds: int) -> bytes:
        """A certificate, with what leads to it, for the key of a request (CSR) or of a certificate that is renewed.

        Raises Unavailable when the authority's key is not here, Invalid.
        """
        if not self.key:
            raise Unavailable("cannot issue a certificate: the authority's key is kept elsewhere; put ca.key back")
        if not pki.belongs(self.key, self.certificate):
            raise Unavailable(
                "cannot issue a certificate: ca.key is of an authority that was replaced; bring the newer one"
            )
        renews = csr_or_certificate.lstrip().startswith(b"-----BEGIN CERTIFICATE-----")
        key = pki.key_of(csr_or_certificate) if renews else pki.wished_key(csr_or_certificate)
        return pki.certify(Pair(self.certificate, self.key), request, key, now, seconds) + self.cross

    def rotated(self, name: str, now: int, overlap_days: int) -> "Authority":
        """A new authority that issues from now on, and the old one trusted beside it."""
        if self.overlaps:
            raise Invalid("the authority is being replaced already: finish that first, `mesh certs rotate-ca --finish`")
        if not self.key:
            raise Unavailable("cannot replace the authority: its key is kept elsewhere; put ca.key back for it")
        new = pki.make_ca(name, now, _CA_DAYS)
        cross = pki.cross(Pair(self.certificate, self.key), new.certificate, now, overlap_days)
        return Authority(new.certificate + self.bundle, new.key, cross)

    def finished(self) -> "Authority":
        """Only the authority that issues is trusted. Raises Invalid for one that has been replaced."""
        if self.outdated:
            raise Invalid("the authority whose key is here was replaced: bring the newer key, as docs/ha.md says")
        return replace(self, bundle=self.certificate, cross=b"")

    def replaces(self, held: "Authority") -> bool:
        """Whether another meshd has replaced `held` by this one, or has ended the trust in an older one."""
        return self.certificate != held.certificate or (held.overlaps and not self.overlaps)

    def encode(self) -> bytes:
        """As one text, which `decode` reads."""
        return json.dumps({name: content.decode() for name, content in self.files().items()}).encode()

    @classmethod
    def decode(cls, text: bytes) -> "Authority":
        """Raises Unavailable for what is none."""
        try:
            told = json.loads(text)
            return cls(*(str(told[name]).encode() for name in (BUNDLE, KEY, CROSS)))
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable("cannot read the authority that another meshd has made: it is damaged") from error

    def files(self) -> Mapping[str, bytes]:
        """What its files hold, in the order in which they are to be written."""
        return {CROSS: self.cross, BUNDLE: self.bundle, KEY: self.key}


def made(name: str, now: int) -> Authority:
    """A new one."""
    pair = pki.make_ca(name, now, _CA_DAYS)
    return Authority(pair.certificate, pair.key)


def life(request: Request) -> int:
    """How long a certificate lasts, in seconds: those of programs on hosts longer than people's."""
    return pki.HOST_LIFE if request.server else pki.LIFE


def stale(chain: bytes, authority: Authority, now: int) -> bool:
    """Whether a certificate is to be issued again: two thirds of its life are over, or another authority issues now."""
    return pki.due(chain, now) == 0 or not pki.signed_by(pki.split(chain)[0], authority.certificate)
