"""Termination messages (L16): the file that a container may write its last words to, and what is taken from it.

    <state>/pods/<uid>/termination/<container>/<attempt>

Rule: nothing that a container wrote is followed or trusted: a plain file only, its end only, any bytes.
"""

import contextlib
import os
import stat
from pathlib import Path

LONGEST = 4096  # bytes of a message
LOG_LINES, LOG_BYTES = 80, 2048  # of a log that stands in for a message
_LOG_TAIL = 64 * 1024


def make(directory: Path, container: str, attempt: int) -> str:
    """The file for one attempt, empty unless it is there, and its path; those before the previous attempt go."""
    place = directory / container
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in place.iterdir():
        if old.name.isdigit() and int(old.name) < attempt - 1:
            old.unlink(missing_ok=True)
    path = place / str(attempt)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    path.chmod(0o666)
    return str(path)


def read(directory: Path, container: str, attempt: int) -> str:
    """The last 4096 bytes that one attempt wrote; "" for none."""
    return _text(_end(directory / container / str(attempt), LONGEST))


def from_log(path: str) -> str:
    """The last 80 lines, 2048 bytes at most, of a container's log."""
    lines = _end(Path(path), _LOG_TAIL).split(b"\n")
    shown = [_shown(line) for line in lines if line.count(b" ") >= 2]
    whole = b"".join(shown).splitlines(keepends=True)
    return _text(b"".join(whole[-LOG_LINES:])[-LOG_BYTES:])


def _shown(line: bytes) -> bytes:
    _, _, tag, *text = line.split(b" ", 3)
    return (text[0] if text else b"") + (b"" if tag.startswith(b"P") else b"\n")


def _end(path: Path, count: int) -> bytes:
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode):
                file.seek(max(0, status.st_size - count))
                return file.read(count)
    return b""


def _text(data: bytes) -> str:
    """As text: bytes that are none, and what a cut tore apart, become replacement characters."""
    return data.decode(errors="replace").replace("\0", "")
