"""The host's lock: one agent per host, whoever hosts it.

Rule: it is free the moment its holder is dead; who waits for it costs nothing.
"""

import asyncio
import fcntl
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

log = structlog.get_logger()

KNOCK = b"aside\n"  # what an actor says to who stands by and has the host


def try_lock(path: Path) -> int | None:
    """The descriptor that holds the lock, or None when somebody else has it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


async def lock_host(path: Path, held: Callable[[], None] = lambda: None) -> int:
    """The descriptor that holds the lock, once it is free. `held` is called first when somebody else has it."""
    fd = try_lock(path)
    if fd is not None:
        return fd
    log.info("waiting_for_host", lock=str(path))
    held()
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    waiting = fd
    loop = asyncio.get_running_loop()
    locked = asyncio.Event()

    def wait() -> None:
        fcntl.flock(waiting, fcntl.LOCK_EX)
        if not loop.is_closed():
            loop.call_soon_threadsafe(locked.set)

    threading.Thread(target=wait, name="host-lock", daemon=True).start()  # dies with the process, waiting or not
    await locked.wait()
    return fd


def knock(path: Path) -> None:
    """Asks who stands by for this host to step aside; nothing when nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door, suppress(OSError):
        door.settimeout(1.0)
        door.connect(str(path))
        door.sendall(KNOCK)
