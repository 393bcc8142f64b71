"""What meshd tells the supervisor that started it: ready, alive, stopping (systemd's protocol).

Rule: nothing is told where nobody listens.
"""

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import suppress


def notify(state: str) -> None:
    """Tells the supervisor, when it listens at NOTIFY_SOCKET (systemd's protocol)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier, suppress(OSError):
            notifier.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


def alive_seconds(environment: Mapping[str, str]) -> float:
    """How often the supervisor wants to hear that this process lives (WATCHDOG_USEC): three times as often as it must;
    0: never."""
    told = environment.get("WATCHDOG_USEC", "")
    return int(told) / 3e6 if told.isdecimal() else 0.0


async def say_alive(environment: Mapping[str, str]) -> None:
    """Says so until cancelled, if the supervisor wants to hear it."""
    pause = alive_seconds(environment)
    while pause:
        await asyncio.sleep(pause)
        notify("WATCHDOG=1")
