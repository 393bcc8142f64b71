"""Ports of loopback for programs that are told theirs before they run."""

import contextlib
import socket


def free_ports(count: int) -> list[int]:
    """So many different ones that nobody listens on."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [int(free.getsockname()[1]) for free in sockets]
