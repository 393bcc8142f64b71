"""This side's terminal: raw while a command runs in a container, its size, and what is typed.

Rule: however the `with` ends, the terminal is as it was before.
"""

import asyncio
import contextlib
import os
import signal
import sys
import termios
import threading
import tty
from collections.abc import AsyncIterator, Callable, Iterator

_PIECE = 32 * 1024


def size() -> tuple[int, int]:
    """(rows, columns) of the terminal; (0, 0) when there is none."""
    try:
        found = os.get_terminal_size(sys.stdin.fileno())
    except OSError:
        return 0, 0
    return found.lines, found.columns


@contextlib.contextmanager
def raw() -> Iterator[None]:
    """Every key goes through as it is typed, Ctrl-C too; nothing is done without a terminal."""
    if not sys.stdin.isatty():
        yield
        return
    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    try:
        tty.setraw(handle)
        yield
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


@contextlib.contextmanager
def on_resize(call: Callable[[], None]) -> Iterator[None]:
    """Calls `call` on the event loop whenever the terminal changes its size."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, call)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)


async def typed() -> AsyncIterator[bytes]:
    """Standard input as it comes, to its end. A thread reads: files, pipes and terminals alike."""
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[bytes] = asyncio.Queue()
    room = threading.Semaphore(16)  # pieces read and not yet taken

    def read() -> None:
        while True:
            room.acquire()
            try:
                data = os.read(sys.stdin.fileno(), _PIECE)
            except OSError:
                data = b""
            try:
                loop.call_soon_threadsafe(pieces.put_nowait, data)
            except RuntimeError:  # the loop is over, nobody reads on
                return
            if not data:
                return

    threading.Thread(target=read, name="stdin", daemon=True).start()
    while data := await pieces.get():
        room.release()
        yield data
