"""The proxy's end of the tunnel between hosts: what it says to it, and whom other hosts may be brought to.

Rule: a connection of an encrypted Service goes through the tunnel or nowhere. The tunnel reads the file of networks
with every connection from outside, so it needs no word of ours.
"""

import ipaddress
import json
import os
from pathlib import Path

from mesh.v1.node_pb2 import HostSide
from netproxy.routes import Backend

ACCEPTED = b"+"  # the backend has


def allowed_file(tunnel: Path) -> Path:
    """Beside the tunnel's socket."""
    return tunnel.with_name(tunnel.name + ".allowed")


def allow(tunnel: Path, host: HostSide) -> None:
    """Pods of this host, and those on its own network, may be reached from other hosts; raises OSError."""
    texts = [host.pod_cidr, *host.node_addresses]
    networks = [ipaddress.IPv4Network(text, strict=False) for text in texts if text]
    file = allowed_file(tunnel)
    fresh = file.with_name(file.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.writelines(f"{network}\n" for network in networks if not network.is_loopback)
    fresh.replace(file)


def request(backend: Backend) -> bytes:
    """What the tunnel is told first."""
    node, _, address = backend.via.partition("/")
    return json.dumps({"node": node, "address": address, "ip": backend.ip, "port": backend.port}).encode() + b"\n"
