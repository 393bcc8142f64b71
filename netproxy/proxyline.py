"""The PROXY protocol, version 2: who the client is, in front of its first byte.

Rule: pure; the binary form of the protocol's specification (haproxy.org, section 2.2), TCP over IPv4.
"""

import socket
import struct

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_PROXY, _TCP4 = 0x21, 0x11


def header(client: tuple[str, int], asked: tuple[str, int]) -> bytes:
    """What a backend reads first: the client's address and the address that it asked for."""
    ends = socket.inet_aton(client[0]) + socket.inet_aton(asked[0]) + struct.pack(">HH", client[1], asked[1])
    return SIGNATURE + struct.pack(">BBH", _PROXY, _TCP4, len(ends)) + ends
