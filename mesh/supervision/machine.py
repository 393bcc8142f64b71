"""What a machine has and lacks: commands and their packages, its addresses, which ports are free.

Rule: it looks and changes nothing; nothing is sent anywhere.
"""

import errno
import ipaddress
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from mesh.fleet.ray_names import GCS_PORT, NODE_MANAGER_PORT
from mesh.supervision.port import systemd_runs
from mesh.supervision.ray_start import OBJECT_MANAGER_PORT, RUNTIME_ENV_AGENT_PORT

_SBIN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Need:
    """Something that must be there: one of `commands`, which `package` (Debian's name) brings."""

    commands: tuple[str, ...]
    package: str
    why: str

    @property
    def found(self) -> str:
        """The path of the first command that is there, or ""."""
        return next((path for c in self.commands if (path := shutil.which(c, path=_SBIN))), "")


def needs() -> list[Need]:
    """What this machine must have."""
    always = [
        Need(("podman",), "podman", "runs the containers"),
        Need(("crun", "runc"), "crun", "starts them"),
        Need(("conmon",), "conmon", "watches over them"),
        Need(("ip",), "iproute2", "makes their network"),
        Need(("nft",), "nftables", "lets pods reach the outside"),
        Need(("nsenter",), "util-linux", "enters their namespaces"),
        Need(("mountpoint",), "util-linux", "tells whether this boot is prepared"),
        Need(("flock",), "util-linux", "lets one program prepare it"),
    ]
    return always if systemd_runs() else [*always, Need(("runsvdir",), "runit", "keeps the programs alive")]


def missing() -> list[Need]:
    """What of it is not there."""
    return [need for need in needs() if not need.found]


def primary_address() -> str:
    """The address this machine would use to reach others, or 127.0.0.1 when it has no route to anywhere."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # a datagram socket: the kernel only chooses a route, nothing is sent
            found: str = probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"
    return found


def has_address(address: str) -> bool:
    """Whether this machine has `address`; raises ValueError when it is none."""
    ipaddress.ip_address(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def taken(address: str) -> bool:
    """Whether something listens at ip:port already."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return True
    return False


def answers(address: str, seconds: float = 1.0) -> bool:
    """Whether something accepts connections at ip:port, or at the path of a unix socket."""
    try:
        if address.startswith("/"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(seconds)
                probe.connect(address)
            return True
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), seconds).close()
    except OSError as error:
        return error.errno == errno.EPROTOTYPE  # somebody is there who speaks in messages, not in a stream
    return True


def ray_ports(node_ip: str, head: bool) -> dict[str, str]:
    """What Ray listens at, by what it is for."""
    ports = {
        "Ray's raylet": NODE_MANAGER_PORT,
        "Ray's object manager": OBJECT_MANAGER_PORT,
        "Ray's runtime environments": RUNTIME_ENV_AGENT_PORT,
    }
    if head:
        ports["Ray's head"] = GCS_PORT
    return {name: f"{node_ip}:{port}" for name, port in ports.items()}


def cgroups() -> str:
    """Which cgroups there are, in words; empty when none are mounted."""
    root = Path("/sys/fs/cgroup")
    if (root / "cgroup.controllers").exists():
        return "v2"
    if (root / "memory").is_dir():
        return "v1, hybrid" if (root / "unified").is_dir() else "v1"
    return ""
