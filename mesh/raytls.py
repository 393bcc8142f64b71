"""Ray's own authority, and the certificates by which the mesh's Ray processes know each other.

Rule: pure; PEM in, PEM out. It is apart from the mesh's authority: who has a certificate of the one has none of the
other. Ray loads a certificate once, when it starts, and serves it past its end; so they last long, and are renewed, for
the same key, where Ray is started again anyway.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mesh import pki
from mesh.errors import Unavailable
from mesh.pki import Pair, Request

CA_DAYS, DAYS = 20 * 365, 5 * 365


@dataclass(frozen=True, slots=True)
class RayAuthority:
    """`key` is empty on every host but the first."""

    certificate: bytes
    key: bytes = field(default=b"", repr=False)

    def certify(self, node: str, addresses: Sequence[str], wish: bytes, now: int) -> bytes:
        """A certificate for the key of a request (CSR); Ray's processes of the host `node` are called by its
        `addresses`. Raises Unavailable when the authority's key is not here, Invalid."""
        if not self.key:
            raise Unavailable("cannot issue a certificate for Ray: its authority's key is on the mesh's first host")
        pair = Pair(self.certificate, self.key)
        return pki.certify(pair, _request(node, addresses), pki.wished_key(wish), now, DAYS * pki.DAY)

    def fits(self, certificate: bytes, addresses: Sequence[str], now: int) -> bool:
        """Whether a certificate is this authority's, for these addresses, and has a third of its life before it."""
        return (
            pki.signed_by(certificate, self.certificate)
            and pki.covers(certificate, addresses)
            and pki.due(certificate, now) > 0
        )


def made(now: int) -> RayAuthority:
    """A new one."""
    pair = pki.make_ca("mesh ray", now, CA_DAYS)
    return RayAuthority(pair.certificate, pair.key)


def names(node_ip: str) -> tuple[str, ...]:
    """By which names and addresses Ray's processes of a host are called."""
    return tuple(dict.fromkeys((node_ip, "127.0.0.1", "localhost")))


def _request(node: str, addresses: Sequence[str]) -> Request:
    return Request(node, hosts=tuple(addresses), server=True, client=True)
