"""Every TCP and UDP port that the mesh listens at on a host, and who must reach it: for firewalls.

Rule: pure; docs/security.md has the same table, and tests hold it against what really listens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mesh.fleet.ray_names import GCS_PORT, NODE_MANAGER_PORT
from mesh.supervision.programs import HEALTHZ_PORT, TUNNEL_PORT, Host
from mesh.supervision.ray_start import (
    DASHBOARD_AGENT_PORTS,
    METRICS_PORT,
    OBJECT_MANAGER_PORT,
    RUNTIME_ENV_AGENT_PORT,
    WORKER_PORTS,
)
from mesh.supervision.setup import CONSOLE_PORT

HOSTS, USERS, MONITORS, NEWCOMERS = "hosts of the mesh", "users and hosts", "monitoring", "who has a token"
BALANCERS = "load balancers"
AGENT_METRICS, MESHD_METRICS, VXLAN = 7446, 7445, 8472


@dataclass(frozen=True, slots=True)
class Port:
    """One port, or those from `first` to `last`; `reached_by` in words."""

    first: int
    last: int
    what: str
    reached_by: str
    protocol: str = "tcp"

    @property
    def numbers(self) -> str:
        """ "7430" or "7500-7599"."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def of_ray(head: bool) -> tuple[Port, ...]:
    """Ray's."""
    named = [
        (NODE_MANAGER_PORT, "Ray's raylet"),
        (OBJECT_MANAGER_PORT, "Ray's object manager"),
        (RUNTIME_ENV_AGENT_PORT, "Ray's runtime environments"),
        (DASHBOARD_AGENT_PORTS[0], "Ray's dashboard agent, HTTP"),
        (DASHBOARD_AGENT_PORTS[1], "Ray's dashboard agent, gRPC"),
        (METRICS_PORT, "Ray's own figures"),
    ]
    if head:
        named.insert(0, (GCS_PORT, "Ray's head"))
    first, last = WORKER_PORTS
    return (*(Port(number, number, what, HOSTS) for number, what in named), Port(first, last, "Ray's workers", HOSTS))


def of_host(host: Host) -> Sequence[Port]:
    """All of a host, as it was set up."""
    found = list(of_ray(head=not host.join))
    if host.has_meshd:
        for place in host.listen:
            if not place.startswith("/"):
                number = int(place.rpartition(":")[2])
                found.append(Port(number, number, f"meshd's API, at {place}", USERS))
        number = int(host.listen[0].rpartition(":")[2]) + 1
        found.append(Port(number, number, "meshd, for tokens", NEWCOMERS))
        found.append(Port(CONSOLE_PORT, CONSOLE_PORT, "meshd's console, while somebody is signed in", USERS))
        found.append(Port(MESHD_METRICS, MESHD_METRICS, "meshd's figures", MONITORS))
    found.append(Port(AGENT_METRICS, AGENT_METRICS, "the agent's figures", MONITORS))
    found.append(Port(TUNNEL_PORT, TUNNEL_PORT, "what Services want encrypted between hosts", HOSTS))
    found.append(Port(HEALTHZ_PORT, HEALTHZ_PORT, "the Service proxy's health", BALANCERS))
    found.append(Port(VXLAN, VXLAN, "pods' traffic between hosts (VXLAN), where it is used", HOSTS, "udp"))
    return sorted(found, key=lambda port: (port.protocol, port.first))
