"""What a host needs to be one of the mesh's Ray: where its head is, the token, and a certificate for its processes.

Rule: only a host that has just proved itself is given it, for its own address; the authority's key stays here.
"""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from mesh import raytls
from mesh.errors import Conflict, Invalid, Violation
from mesh.files import read_file
from mesh.fleet.needs import address_of
from mesh.fleet.ray_names import AUTHORITY, AUTHORITY_KEY
from mesh.raytls import RayAuthority
from mesh.v1 import access_pb2 as pb
from mesh.view import View


@dataclass(frozen=True, slots=True)
class RayAccess:
    """`head`: "ip:port". Files are read when they are needed."""

    head: str
    token_file: Path
    tls_dir: Path

    def given(self, node: str, node_ip: str, wish: bytes, now: int) -> pb.RayAccess:
        """For the host `node`, called at `node_ip`; `wish` is the request (CSR) of its key for Ray. Raises Unavailable,
        Invalid. `now`: seconds since the epoch."""
        token = read_file(self.token_file).decode().strip()
        authority = RayAuthority(read_file(self.tls_dir / AUTHORITY), read_file(self.tls_dir / AUTHORITY_KEY))
        certificate = authority.certify(node, raytls.names(node_ip), wish, now)
        return pb.RayAccess(head=self.head, token=token, authority=authority.certificate, certificate=certificate)


def check_address(node: str, node_ip: str, view: View) -> None:
    """Raises Invalid for what is no address, Conflict for that of another host."""
    try:
        ipaddress.ip_address(node_ip)
    except ValueError:
        raise Invalid.of("the host", [Violation("node_ip", f'"{node_ip}" is no address')]) from None
    for other in view.nodes():
        if address_of(other) == node_ip and other.metadata.name != node:
            raise Conflict(f'{node_ip} is the address of the host "{other.metadata.name}": choose another by --node-ip')
