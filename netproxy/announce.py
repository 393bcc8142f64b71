"""Tells the hosts' network that an address has moved here: gratuitous ARP, for a load balancer's addresses.

Rule: only the host that is told to announces, and only addresses that it has just taken; the kernel answers everyone
who asks from then on, for the address is the host's own.
"""

import fcntl
import socket
import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Interface

SIOCGIFADDR, SIOCGIFNETMASK, SIOCGIFHWADDR = 0x8915, 0x891B, 0x8927
ETHERNET, ARP, IP = 1, 0x0806, 0x0800
REQUEST, REPLY = 1, 2
BROADCAST = b"\xff" * 6


def announce(addresses: Iterable[str], node_address: str) -> None:
    """Says on the link of each address, else on that of the host's own, that it is here; raises OSError."""
    links = list(_links())
    for address in addresses:
        found = [link for link in links if IPv4Address(address) in link[2].network]
        found = found or [link for link in links if str(link[2].ip) == node_address]
        for name, hardware, _ in found[:1]:
            _say(name, hardware, address)


def frame(operation: int, hardware: bytes, address: str) -> bytes:
    """An Ethernet frame to all that says who has the address: sender and target are the same (RFC 5227, section 3)."""
    packed = IPv4Address(address).packed
    target = BROADCAST if operation == REPLY else bytes(6)
    body = struct.pack(">HHBBH", ETHERNET, IP, 6, 4, operation) + hardware + packed + target + packed
    return BROADCAST + hardware + struct.pack(">H", ARP) + body


def _say(name: str, hardware: bytes, address: str) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind((name, 0))
        for operation in (REQUEST, REPLY):  # some listen to the one, some to the other
            raw.send(frame(operation, hardware, address))


def _links() -> Iterator[tuple[str, bytes, IPv4Interface]]:
    """Ethernet links with an address: name, hardware address, address with its network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                address = fcntl.ioctl(asking, SIOCGIFADDR, request)[20:24]
                mask = fcntl.ioctl(asking, SIOCGIFNETMASK, request)[20:24]
                answer = fcntl.ioctl(asking, SIOCGIFHWADDR, request)
            except OSError:  # a link without an address
                continue
            if struct.unpack_from("H", answer, 16)[0] == ETHERNET:
                yield name, answer[18:24], IPv4Interface(f"{IPv4Address(address)}/{IPv4Address(mask)}")
