"""Waiting for what other programs do: to files, which inotify tells, and to processes, which a pidfd tells.

Rules: blocking, for a thread where a loop runs; woken by the event, never by a clock; TimeoutError after `seconds`.
"""

import contextlib
import os
import select
import time
from collections.abc import Callable
from pathlib import Path

from nodeagent.runtime import syscalls

_CHANGES = syscalls.IN_MODIFY | syscalls.IN_CREATE | syscalls.IN_MOVED_TO


def wait_for_other(file: Path, old: str, seconds: float) -> str:
    """The content of a file, once it is another one than `old`; of a volume's, too, where `..data` swings."""
    return _wait(file, lambda said: said != old, seconds, "is as it was")


def wait_for_text(file: Path, text: str, seconds: float) -> str:
    """The file's content, once it is there and `text` is in it."""
    return _wait(file, lambda said: text in said, seconds, f"never said {text!r}")


def wait_for_file(file: Path, seconds: float) -> None:
    """Returns once it is there: a socket, too."""
    _woken(file, file.exists, seconds, lambda: f"{file} is not there")


def wait_for_end(pid: int, seconds: float) -> None:
    """Returns once this process has ended, whosever child it was."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not select.select([process], [], [], seconds)[0]:
            raise TimeoutError(f"process {pid} has not ended")
    finally:
        os.close(process)


def _wait(file: Path, true: Callable[[str], bool], seconds: float, otherwise: str) -> str:
    said = ""

    def holds() -> bool:
        nonlocal said
        if not file.exists():
            return False
        said = file.read_text()
        return true(said)

    _woken(file, holds, seconds, lambda: f"{file} {otherwise}: {said or 'empty or not there'}")
    return said


def _woken(file: Path, true: Callable[[], bool], seconds: float, why: Callable[[], str]) -> None:
    deadline = time.monotonic() + seconds
    with contextlib.closing(syscalls.Inotify()) as watch:
        watch.add(file.parent, _CHANGES)
        while not true():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(why())
            select.select([watch.fd], [], [], left)
            watch.read()
