"""Links, addresses and routes over rtnetlink, in well under a millisecond per pod (`ip -batch` takes eight).

Rule: one `Netlink` belongs to one thread and to the network namespace that the thread was in when it was opened;
every request waits for the kernel's answer and raises OSError with its errno.
"""

import os
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from types import TracebackType

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR = 16, 17, 18, 20, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE, RTM_NEWNEIGH = 24, 25, 26, 28
NLM_REQUEST, NLM_ACK, NLM_REPLACE, NLM_EXCL, NLM_DUMP, NLM_CREATE = 0x1, 0x4, 0x100, 0x200, 0x300, 0x400
NLMSG_ERROR, NLMSG_DONE = 2, 3
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MASTER, IFLA_LINKINFO, IFLA_NET_NS_FD = 1, 3, 10, 18, 28
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_DST, RTA_GATEWAY, RTA_OIF = 1, 5, 4
NDA_DST, NDA_LLADDR = 1, 2
VXLAN_INFO_ID, VXLAN_INFO_LOCAL, VXLAN_INFO_LEARNING, VXLAN_INFO_PORT = 1, 4, 7, 15
NUD_PERMANENT, NTF_SELF = 0x80, 0x02
RTNH_F_ONLINK = 4
MAIN_TABLE, OUR_PROTOCOL = 254, 78  # routes that are ours say so; the proxy's say 77
IFF_UP = 0x1
LOOPBACK = 1  # lo's index in every network namespace
POD_LINK = 2  # and the index that we give eth0


def attribute(kind: int, value: bytes | str | int) -> bytes:
    """One rtattr, padded; an int is 32 bit, a str ends with NUL."""
    if isinstance(value, int):
        value = struct.pack("I", value)
    elif isinstance(value, str):
        value = value.encode() + b"\0"
    return struct.pack("HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def link(index: int = 0, *, up: bool = False) -> bytes:
    """An ifinfomsg."""
    flags = IFF_UP if up else 0
    return struct.pack("BxHiII", socket.AF_UNSPEC, 0, index, flags, flags)


def hardware_address(address: str) -> bytes:
    """A MAC address that follows from the IPv4 address: no neighbour's ARP entry goes stale when it is reused."""
    return b"\x0a\x58" + IPv4Address(address).packed


@dataclass(frozen=True, slots=True)
class Address:
    """An address of this host, packed, with the length of its network's prefix."""

    address: bytes
    prefix: int


class Netlink:
    """An open rtnetlink socket."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def request(self, kind: int, payload: bytes, flags: int = 0) -> None:
        """Sends one request; returns when the kernel has done it."""
        self._sequence += 1
        header = struct.pack("IHHII", 16 + len(payload), kind, NLM_REQUEST | NLM_ACK | flags, self._sequence, 0)
        self._socket.send(header + payload)
        while True:
            data = self._socket.recv(65536)
            _, answer, _, sequence, _ = struct.unpack_from("IHHII", data)
            if sequence != self._sequence or answer != NLMSG_ERROR:
                continue
            number = -struct.unpack_from("i", data, 16)[0]
            if number:
                raise OSError(number, os.strerror(number))
            return

    def index(self, name: str) -> int:
        """The number of a link; raises OSError when there is none."""
        self._sequence += 1
        payload = link() + attribute(IFLA_IFNAME, name)
        header = struct.pack("IHHII", 16 + len(payload), RTM_GETLINK, NLM_REQUEST, self._sequence, 0)
        self._socket.send(header + payload)
        data = self._socket.recv(65536)
        _, kind, _, _, _ = struct.unpack_from("IHHII", data)
        if kind == NLMSG_ERROR:
            number = -struct.unpack_from("i", data, 16)[0]
            raise OSError(number, os.strerror(number), name)
        return int(struct.unpack_from("i", data, 20)[0])

    def add_link(self, attributes: Iterable[bytes]) -> None:
        """A new link, up; raises FileExistsError when the name is taken."""
        self.request(RTM_NEWLINK, link(up=True) + b"".join(attributes), NLM_CREATE | NLM_EXCL)

    def add_bridge(self, name: str, hardware: bytes) -> None:
        """A bridge without ports."""
        info = attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, "bridge"))
        self.add_link((attribute(IFLA_IFNAME, name), attribute(IFLA_ADDRESS, hardware), info))

    def add_veth(self, name: str, bridge: int, peer_namespace: int, peer_hardware: bytes) -> None:
        """A veth pair: `name` here, up, in `bridge`; eth0 (index POD_LINK), down, in the other namespace (an fd)."""
        peer = link(POD_LINK) + b"".join((
            attribute(IFLA_IFNAME, "eth0"),
            attribute(IFLA_ADDRESS, peer_hardware),
            attribute(IFLA_NET_NS_FD, peer_namespace),
        ))  # fmt: skip
        data = attribute(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, peer))
        info = attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, "veth") + data)
        self.add_link((attribute(IFLA_IFNAME, name), attribute(IFLA_MASTER, bridge), info))

    def up(self, index: int) -> None:
        """Sets a link up."""
        self.request(RTM_NEWLINK, link(index, up=True))

    def delete_link(self, name: str) -> None:
        """Removes a link by its name; none there is no error."""
        try:
            self.request(RTM_DELLINK, link() + attribute(IFLA_IFNAME, name))
        except OSError as error:
            if error.errno != 19:  # ENODEV
                raise

    def add_address(self, index: int, address: str) -> None:
        """An address such as "10.244.1.7/24"; there already is no error."""
        interface = IPv4Interface(address)
        message = struct.pack("BBBBI", socket.AF_INET, interface.network.prefixlen, 0, 0, index)
        message += attribute(IFA_LOCAL, interface.ip.packed) + attribute(IFA_ADDRESS, interface.ip.packed)
        try:
            self.request(RTM_NEWADDR, message, NLM_CREATE | NLM_EXCL)
        except FileExistsError:
            return

    def add_default_route(self, index: int, gateway: str) -> None:
        """0.0.0.0/0 through `gateway`."""
        message = struct.pack("BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 4, 0, 1, 0)  # main table, static, universe
        message += attribute(RTA_OIF, index) + attribute(RTA_GATEWAY, IPv4Address(gateway).packed)
        self.request(RTM_NEWROUTE, message, NLM_CREATE)

    # ---- other hosts

    def addresses(self) -> list[Address]:
        """Every IPv4 address of this network namespace."""
        found = []
        for body in self._dump(RTM_GETADDR, struct.pack("BBBBI", socket.AF_INET, 0, 0, 0, 0)):
            attributes = dict(_attributes(body[8:]))
            address = attributes.get(IFA_LOCAL, attributes.get(IFA_ADDRESS))
            if address is not None:
                found.append(Address(address, body[1]))
        return found

    def our_routes(self) -> set[IPv4Network]:
        """Networks to which we made a route."""
        found = set()
        for body in self._dump(RTM_GETROUTE, struct.pack("BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)):
            length, table, protocol = body[1], body[4], body[5]
            target = dict(_attributes(body[12:])).get(RTA_DST)
            if (table, protocol) == (MAIN_TABLE, OUR_PROTOCOL) and target is not None:
                found.add(IPv4Network((target, length)))
        return found

    def route(self, network: IPv4Network, gateway: str, index: int = 0) -> None:
        """A route to a network, instead of any that we had; with `index` the gateway is said to be on that link."""
        flags = RTNH_F_ONLINK if index else 0
        message = struct.pack(
            "BBBBBBBBI", socket.AF_INET, network.prefixlen, 0, 0, MAIN_TABLE, OUR_PROTOCOL, 0, 1, flags
        )
        message += attribute(RTA_DST, network.network_address.packed)
        message += attribute(RTA_GATEWAY, IPv4Address(gateway).packed)
        if index:
            message += attribute(RTA_OIF, index)
        self.request(RTM_NEWROUTE, message, NLM_CREATE | NLM_REPLACE)

    def delete_route(self, network: IPv4Network) -> None:
        """Removes our route to a network; none there is no error."""
        message = struct.pack("BBBBBBBBI", socket.AF_INET, network.prefixlen, 0, 0, MAIN_TABLE, OUR_PROTOCOL, 0, 0, 0)
        try:
            self.request(RTM_DELROUTE, message + attribute(RTA_DST, network.network_address.packed))
        except ProcessLookupError:  # ESRCH
            return

    def add_vxlan(self, name: str, number: int, port: int, local: str, hardware: bytes) -> None:
        """A VXLAN link that learns nothing by itself, up."""
        data = b"".join((
            attribute(VXLAN_INFO_ID, number),
            attribute(VXLAN_INFO_LOCAL, IPv4Address(local).packed),
            attribute(VXLAN_INFO_LEARNING, b"\0"),
            attribute(VXLAN_INFO_PORT, struct.pack(">H", port)),
        ))  # fmt: skip
        info = attribute(IFLA_INFO_KIND, "vxlan") + attribute(IFLA_INFO_DATA, data)
        self.add_link((attribute(IFLA_IFNAME, name), attribute(IFLA_ADDRESS, hardware), attribute(IFLA_LINKINFO, info)))

    def add_neighbour(self, index: int, address: str, hardware: bytes) -> None:
        """Who has an address on a link, for good."""
        self._neighbour(socket.AF_INET, index, address, hardware, 0)

    def add_forwarding(self, index: int, hardware: bytes, host: str) -> None:
        """Behind which host a hardware address of a VXLAN link is."""
        self._neighbour(socket.AF_BRIDGE, index, host, hardware, NTF_SELF)

    def _neighbour(self, family: int, index: int, address: str, hardware: bytes, flags: int) -> None:
        message = struct.pack("BBHiHBB", family, 0, 0, index, NUD_PERMANENT, flags, 0)
        message += attribute(NDA_DST, IPv4Address(address).packed) + attribute(NDA_LLADDR, hardware)
        self.request(RTM_NEWNEIGH, message, NLM_CREATE | NLM_REPLACE)

    def _dump(self, kind: int, payload: bytes) -> Iterator[bytes]:
        """The bodies of all answers."""
        self._sequence += 1
        header = struct.pack("IHHII", 16 + len(payload), kind, NLM_REQUEST | NLM_DUMP, self._sequence, 0)
        self._socket.send(header + payload)
        while True:
            data = self._socket.recv(1 << 20)
            while data:
                length, answer, _, sequence, _ = struct.unpack_from("IHHII", data)
                body, data = data[16:length], data[(length + 3) & ~3 :]
                if sequence != self._sequence:
                    continue
                if answer == NLMSG_DONE:
                    return
                if answer == NLMSG_ERROR:
                    number = -struct.unpack_from("i", body)[0]
                    raise OSError(number, os.strerror(number))
                yield body


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("HH", data)
        yield kind, data[4:length]
        data = data[(length + 3) & ~3 :]
