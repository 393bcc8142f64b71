"""Who this host is to meshd, and meshd to it: the host's certificate signs its key, meshd's signs its orders.

Rule: files are read when they are needed, so that renewed ones count at once. A host takes no order that meshd has not
signed, for this host; before it knows the mesh's authority it takes none.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from mesh import pki, signing
from mesh.errors import Forbidden, Invalid
from mesh.handed import handed
from mesh.sealing import PublicKey
from mesh.sessions import Trust
from mesh.v1.node_pb2 import Assignment, HostKey
from nodeagent import raylife
from nodeagent.config import AgentConfig


@dataclass(frozen=True, slots=True)
class Identity:
    """Files, PEM: the host's certificate and key, the authority's certificate; and that of Ray's token."""

    node: str
    certificate: Path
    key: Path
    ca: Path
    ray_token: Path = Path("/nonexistent")

    @classmethod
    def of(cls, config: AgentConfig) -> "Identity":
        """The one that `mesh up` gives a host."""
        pki = config.pki_dir
        return cls(
            config.node_name, pki / "agent.crt", pki / "agent.key", pki / "ca.crt", config.root / "ray" / "token"
        )

    def announce(self, boot: str, nonce: bytes, public: PublicKey) -> HostKey:
        """The host's key, signed for whoever asked with this nonce; unsigned where the host has no certificate."""
        told = HostKey(suite=public.suite, public_key=public.raw, nonce=nonce)
        pair = self._pair()
        if pair is not None:
            words = signing.announcement(self.node, boot, nonce, public.suite, public.raw)
            signed = signing.sign(pair, signing.HOST_KEY, words)
            told.certificate, told.signature = signed.certificate, signed.signature
        told.authorities = _digest(_read(self.ca))
        if token := _read(self.ray_token).strip():
            told.ray_token, told.ray_stale = _digest(token), raylife.older_than(self.ray_token)
        return told

    @property
    def stamp(self) -> int:
        """Another number when one of the files is another one."""
        return sum(path.stat().st_mtime_ns for path in (self.certificate, self.ca, self.ray_token) if path.exists())

    def trust(self) -> Trust:
        """For sessions; raises Forbidden where this host has no certificate, or does not know the authority, yet."""
        pair, ca = self._pair(), _read(self.ca)
        if pair is None or not ca:
            raise Forbidden(f"{self.node} has no certificate of the mesh yet: `mesh node join` on it gets one")
        return Trust(lambda: ca, lambda: pair)

    def order(self, assignment: Assignment, now: int) -> Assignment:
        """The order that meshd has signed; raises Forbidden for any other, Invalid when it can't be read. `now`:
        seconds since the epoch."""
        signed = assignment.signed
        if not assignment.HasField("signed"):
            raise Forbidden(f"cannot assign to {self.node}: the order is not signed by the control service")
        proof = signing.Signed(signed.certificate, signed.signature)
        signing.verify_control(proof, signing.ORDER, signed.assignment, _read(self.ca), now)
        try:
            order = Assignment.FromString(signed.assignment)
        except DecodeError as error:
            raise Invalid(f"cannot read the order: {error}") from error
        if order.node != self.node:
            raise Forbidden(f"cannot assign to {self.node}: the order was signed for {order.node or 'no host'}")
        return order

    def _pair(self) -> pki.Pair | None:
        certificate, key = _read(self.certificate), _read(handed(self.key))
        return pki.Pair(certificate, key) if certificate and key else None


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
