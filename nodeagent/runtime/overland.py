"""The way to pods of other hosts: a route where the host is on the same network, a VXLAN tunnel where it is not.

Rules: sources are preserved either way, nothing is translated. Doing it again is no work; routes are told from others'
by their protocol number, so that exactly ours are removed when a host goes. No tunnel is made before it is needed.
"""

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import structlog

from mesh.v1.node_pb2 import Neighbour
from nodeagent.runtime.netlink import Netlink, hardware_address

TUNNEL = "mesh-vx"
VXLAN_ID, VXLAN_PORT = 4096, 8472
RESOLV = Path("/etc/resolv.conf")

log = structlog.get_logger()


class Overland:
    """Of one host, whose address on the hosts' network is `node_ip`; pods are behind `bridge`."""

    def __init__(self, bridge: str, node_ip: str) -> None:
        self._bridge = bridge
        self._node_ip = node_ip

    def addresses(self) -> list[str]:
        """This host's IPv4 addresses, the one that others know first."""
        with Netlink() as netlink:
            found = {str(IPv4Address(a.address)) for a in netlink.addresses()}
        return [self._node_ip, *sorted(found - {self._node_ip}, key=lambda a: IPv4Address(a).packed)]

    def upstreams(self) -> list[str]:
        """The host's name servers, IPv4 alone."""
        try:
            lines = [line.split() for line in RESOLV.read_text().splitlines()]
        except (OSError, UnicodeDecodeError):
            return []
        named = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
        return [address for address in named if "." in address and ":" not in address]

    def connect(self, neighbours: Sequence[Neighbour]) -> None:
        """Makes exactly these hosts' pods reachable; raises OSError."""
        with Netlink() as netlink:
            near = [IPv4Network((a.address, a.prefix), strict=False) for a in netlink.addresses() if a.prefix < 32]
            far = [n for n in neighbours if not any(IPv4Address(n.address) in network for network in near)]
            wanted = {IPv4Network(n.pod_cidr) for n in neighbours}
            for stale in netlink.our_routes() - wanted:
                netlink.delete_route(stale)
            for neighbour in neighbours:
                if neighbour not in far:
                    netlink.route(IPv4Network(neighbour.pod_cidr), neighbour.address)
            if far:
                self._tunnel(netlink, far)
            elif TUNNEL in (name for _, name in socket.if_nameindex()):
                netlink.delete_link(TUNNEL)
        log.info("other_hosts_reached", direct=len(neighbours) - len(far), tunnelled=len(far))

    def _tunnel(self, netlink: Netlink, far: Sequence[Neighbour]) -> None:
        """Each host's end has a hardware address that follows from its own; nobody has to ask for it."""
        if TUNNEL not in (name for _, name in socket.if_nameindex()):
            netlink.add_vxlan(TUNNEL, VXLAN_ID, VXLAN_PORT, self._node_ip, hardware_address(self._node_ip))
        index = netlink.index(TUNNEL)
        for neighbour in far:
            hardware = hardware_address(neighbour.address)
            netlink.add_forwarding(index, hardware, neighbour.address)
            gateway = str(IPv4Network(neighbour.pod_cidr).network_address)
            netlink.add_neighbour(index, gateway, hardware)
            netlink.route(IPv4Network(neighbour.pod_cidr), gateway, index)


def remove() -> None:
    """Undoes `connect`, as far as the host is concerned."""
    with Netlink() as netlink:
        for route in netlink.our_routes():
            netlink.delete_route(route)
        netlink.delete_link(TUNNEL)
