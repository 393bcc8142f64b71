"""Listening sockets: how one of a given address is made.

Rules: bound before its address is there (IP_FREEBIND), and beside sockets of ours that have every address
(SO_REUSEPORT): a host port 80 and the port 80 of a Service's address live together, the narrower one first. What
connections inherit is set here once. Who may connect at all, or that nobody gets an answer, is a filter of the kernel's
on the socket, so that nothing is answered that should not be.
"""

import ctypes
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Network

from netproxy.routes import Listen, Route

BACKLOG = 4096
IDLE, INTERVAL, PROBES = 60, 15, 4  # seconds of silence before a client is asked whether it lives, and so on
BUFFER = 4 * 1024 * 1024  # bytes of datagrams that may wait
IP_FREEBIND = 15
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
_NETWORK = -0x100000  # offsets from here on are into the IP header
_LOAD, _AND, _EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06  # classic BPF
_ACCEPT = 0xFFFFFFFF


def bound(listen: Listen) -> socket.socket:
    """A socket at this address that does not listen yet; raises OSError."""
    stream = listen.protocol == "TCP"
    sock = socket.socket(socket.AF_INET, (socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        if stream:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, INTERVAL)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        sock.bind((listen.ip, listen.port))
    except BaseException:
        sock.close()
        raise
    return sock


def guard(sock: socket.socket, route: Route) -> None:
    """Lets in those whom `route` lets in; the others get no answer at all."""
    program = filter_of(route)
    if not program:
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        except FileNotFoundError:  # there was none
            return
        return
    code = ctypes.create_string_buffer(program, len(program))
    sock.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    )


def filter_of(route: Route) -> bytes:
    """The kernel's filter for a route as classic BPF; empty: none is needed."""
    if route.drop:
        return _step(_RETURN, 0)
    return _only(route.sources) if route.sources else b""


def _only(networks: Iterable[IPv4Network]) -> bytes:
    """Accepts a packet whose source address is in one of the networks."""
    program = b""
    for network in networks:
        program += _step(_LOAD, (_NETWORK + 12) & 0xFFFFFFFF)
        program += _step(_AND, int(network.netmask))
        program += _step(_EQUAL, int(network.network_address), 0, 1)
        program += _step(_RETURN, _ACCEPT)
    return program + _step(_RETURN, 0)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
