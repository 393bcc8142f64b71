"""The host's lock: one agent per host, whoever hosts it.

Rule: it is free the moment its holder is dead; who waits for it costs nothing. Only what Python has by itself is needed
here: who stands by is to be small.
"""

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path

KNOCK = b"aside\n"  # what an actor says to who stands by and has the host


def opened(path: Path) -> int:
    """A descriptor of the lock's file, which is made if need be; it holds nothing yet."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(path: Path) -> int | None:
    """The descriptor that holds the lock, or None when somebody else has it."""
    fd = opened(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def knock(path: Path) -> None:
    """Asks who stands by for this host to step aside; nothing when nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door, suppress(OSError):
        door.settimeout(1.0)
        door.connect(str(path))
        door.sendall(KNOCK)
