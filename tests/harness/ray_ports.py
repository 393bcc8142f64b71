"""Who is answered at Ray's ports: `python -m tests.harness.ray_ports IP PORT...` on a host prints one JSON object.

By port: whether a gRPC server answers who has the host's certificate for Ray, who has none, who has one of another
authority, and who speaks no TLS at all.
"""

import json
import os
import socket
import ssl
import sys
import tempfile
import time
from pathlib import Path

from mesh import pki, raytls
from mesh.supervision.layout import Layout

GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
MINE = Layout(Path(os.environ["MESH_ROOT"])).ray_tls


def answered(ip: str, port: int, tls: ssl.SSLContext | None) -> bool:
    """Whether more than a farewell comes back."""
    with socket.create_connection((ip, port), timeout=5) as plain:
        try:
            side = tls.wrap_socket(plain, server_hostname=ip) if tls else plain
            side.sendall(GREETING)
            return len(side.recv(9)) > 0
        except OSError:
            return False


def context(certificate: Path | None) -> ssl.SSLContext:
    """What a client of the mesh's Ray trusts, with a certificate or without."""
    made = ssl.create_default_context(cafile=str(MINE / "ca.crt"))
    made.set_alpn_protocols(["h2"])
    if certificate:
        made.load_cert_chain(certificate / "node.crt", certificate / "node.key")
    return made


def foreign(directory: Path) -> Path:
    """A certificate of another authority."""
    now, wish = int(time.time()), pki.wish()
    (directory / "node.crt").write_bytes(raytls.made(now).certify("host1", ("10.77.0.1",), wish.certificate, now))
    (directory / "node.key").write_bytes(wish.key)
    return directory


def main() -> None:
    """Command line."""
    ip, ports = sys.argv[1], list(map(int, sys.argv[2:]))
    with tempfile.TemporaryDirectory() as directory:
        theirs = foreign(Path(directory))
        sides = [context(MINE), context(None), context(theirs), None]
        print(json.dumps({port: [answered(ip, port, side) for side in sides] for port in ports}))


if __name__ == "__main__":
    main()
