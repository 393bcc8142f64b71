"""The few rtnetlink requests that the proxy needs: routes that make a range of addresses the host's own.

Rules: our routes carry a protocol number of their own, so those of a former process are known and nobody else's is
touched; every request waits for the kernel's answer and raises OSError with its errno.
"""

import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from types import TracebackType

RTM_GETADDR, RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 22, 24, 25, 26
REQUEST, ACK, REPLACE, CREATE, DUMP = 0x1, 0x4, 0x100, 0x400, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
RTA_DST, RTA_OIF, RTA_PREFSRC = 1, 4, 7
IFA_LOCAL = 2
LOCAL_TABLE, SCOPE_HOST, RTN_LOCAL = 255, 254, 2
OURS = 77  # the protocol of our routes; numbers of the kernel's and of routing daemons end far from it
LOOPBACK = 1


class Netlink:
    """An open rtnetlink socket of this network namespace."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def own(self, network: IPv4Network, source: str = "") -> None:
        """Every address of `network` is this host's; what it sends there comes from `source` (AnyIP)."""
        attributes = _attribute(RTA_OIF, struct.pack("I", LOOPBACK))
        if source:
            attributes += _attribute(RTA_PREFSRC, IPv4Address(source).packed)
        self._ask(RTM_NEWROUTE, REQUEST | ACK | CREATE | REPLACE, _route(network) + attributes)

    def disown(self, network: IPv4Network) -> None:
        """Takes back `own`."""
        self._ask(RTM_DELROUTE, REQUEST | ACK, _route(network))

    def owned(self) -> set[IPv4Network]:
        """The ranges that we or a process before us have made the host's own."""
        found: set[IPv4Network] = set()
        for kind, body in self._ask(RTM_GETROUTE, REQUEST | DUMP, struct.pack("B11x", socket.AF_INET)):
            _, length, _, _, table, protocol, _, what, _ = struct.unpack_from("BBBBBBBBI", body)
            if kind == RTM_NEWROUTE and (table, protocol, what) == (LOCAL_TABLE, OURS, RTN_LOCAL):
                for attribute, value in _attributes(body[12:]):
                    if attribute == RTA_DST:
                        found.add(IPv4Network((value, length)))
        return found

    def addresses(self) -> set[str]:
        """The IPv4 addresses of this host's links."""
        found: set[str] = set()
        for _, body in self._ask(RTM_GETADDR, REQUEST | DUMP, struct.pack("B7x", socket.AF_INET)):
            found.update(socket.inet_ntoa(value) for kind, value in _attributes(body[8:]) if kind == IFA_LOCAL)
        return found

    def _ask(self, kind: int, flags: int, payload: bytes) -> list[tuple[int, bytes]]:
        self._sequence += 1
        self._socket.send(struct.pack("IHHII", 16 + len(payload), kind, flags, self._sequence, 0) + payload)
        answers: list[tuple[int, bytes]] = []
        while True:
            data = self._socket.recv(1 << 17)
            for answer, body in _messages(data):
                if answer == NLMSG_ERROR:
                    number = -struct.unpack_from("i", body)[0]
                    if number:
                        raise OSError(number, os.strerror(number))
                    return answers
                if answer == NLMSG_DONE:
                    return answers
                answers.append((answer, body))


def _route(network: IPv4Network) -> bytes:
    head = struct.pack(
        "BBBBBBBBI", socket.AF_INET, network.prefixlen, 0, 0, LOCAL_TABLE, OURS, SCOPE_HOST, RTN_LOCAL, 0
    )
    return head + _attribute(RTA_DST, network.network_address.packed)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("HH", data)
        if length < 4:
            return
        yield kind, data[4:length]
        data = data[(length + 3) & ~3 :]


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 16:
        length, kind = struct.unpack_from("IH", data)
        if length < 16:
            return
        yield kind, data[16:length]
        data = data[(length + 3) & ~3 :]
