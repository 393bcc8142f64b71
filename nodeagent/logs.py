"""Container logs as kubectl shows them, read from CRI-format files (G1, G3).

Rule: the reading is pure over bytes; `Tail` reads one file, forwards only, and never the whole of it at once.
"""

import gzip
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BufferedIOBase
from pathlib import Path

from mesh.model.times import SECOND, from_timestamp, parse_rfc3339
from mesh.v1.node_pb2 import Channel, LogOptions

BLOCK = 64 * 1024


@dataclass(slots=True)
class Reader:
    """Turns lines of a log file into what is shown, by `since` (nanoseconds), timestamps and a limit of bytes."""

    timestamps: bool = False
    since: int = 0
    limit: int | None = None
    _fresh: dict[bytes, bool] = field(default_factory=dict)  # by stream: the next record begins a line
    _begun: bool = False  # a record young enough was seen: the rest is younger

    @property
    def full(self) -> bool:
        """The limit is reached."""
        return self.limit is not None and self.limit <= 0

    def show(self, line: bytes) -> tuple["Channel.ValueType", bytes] | None:
        """What one line of the file (without its newline) shows, or None."""
        parts = line.split(b" ", 3)
        if len(parts) < 3 or self.full:
            return None
        stamp, stream, tag = parts[:3]
        if self.since and not self._begun:
            if _nanoseconds(stamp) < self.since:
                return None
            self._begun = True
        text = parts[3] if len(parts) > 3 else b""
        if self.timestamps and self._fresh.get(stream, True):
            text = stamp + b" " + text
        partial = tag.startswith(b"P")
        self._fresh[stream] = not partial
        if not partial:
            text += b"\n"
        if self.limit is not None:
            text = text[: self.limit]
            self.limit -= len(text)
        return (Channel.STDERR if stream == b"stderr" else Channel.STDOUT), text


def _nanoseconds(stamp: bytes) -> int:
    try:
        return from_timestamp(parse_rfc3339(stamp.decode()))
    except (ValueError, UnicodeDecodeError):
        return 0


def reader_for(options: LogOptions, now: int) -> Reader:
    """The reader that these options ask for; `now` in nanoseconds since the epoch."""
    since = 0
    if options.HasField("since_unix_nanos"):
        since = options.since_unix_nanos
    elif options.HasField("since_seconds"):
        since = now - options.since_seconds * SECOND
    limit = options.limit_bytes if options.HasField("limit_bytes") else None
    return Reader(options.timestamps, since, limit)


class Tail:
    """One log file, read line by line from where `tail_lines` says."""

    def __init__(self, path: Path, tail_lines: int | None = None) -> None:
        packed = path.suffix == ".gz"
        self._file: BufferedIOBase = gzip.open(path) if packed else path.open("rb")  # noqa: SIM115 - `close`
        self._rest = b""
        if tail_lines is not None:
            self._file.seek(start_of_tail(self._file.fileno(), tail_lines))

    def lines(self) -> list[bytes] | None:
        """The next whole lines, about a block's worth; None at the end of what is written so far."""
        block = self._file.read(BLOCK)
        if not block:
            return None
        *whole, self._rest = (self._rest + block).split(b"\n")
        return whole

    def is_replaced(self, path: Path) -> bool:
        """Another file has taken this one's name: nothing more is written here (G2)."""
        try:
            return path.stat().st_ino != os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:
            return False  # the new one is about to come

    def close(self) -> None:
        """Gives the descriptor back."""
        self._file.close()


def rotated(path: Path) -> list[str]:
    """The names of a log's files that were put aside, oldest first, by which they can be opened packed or not (G2)."""
    found = (p.name.removesuffix(".gz") for p in path.parent.glob(f"{path.name}.*") if p.suffix != ".tmp")
    return sorted(set(found))


def open_rotated(path: Path, name: str) -> Tail:
    """One of `rotated`; raises FileNotFoundError when it is gone."""
    try:
        return Tail(path.with_name(name))
    except FileNotFoundError:
        return Tail(path.with_name(f"{name}.gz"))


def start_of_tail(fd: int, lines: int) -> int:
    """The offset at which the last `lines` lines of a file begin."""
    end = os.fstat(fd).st_size
    if lines <= 0:
        return end
    position, missing = end, lines + 1  # the newline before the first of them
    while position > 0:
        size = min(BLOCK, position)
        block = os.pread(fd, size, position - size)
        if position == end and not block.endswith(b"\n"):
            missing -= 1
        for at in range(len(block) - 1, -1, -1):
            if block[at] == 0x0A:
                missing -= 1
                if missing == 0:
                    return position - size + at + 1
        position -= size
    return 0


def attempts(directory: Path | None, container: str) -> list[int]:
    """The attempts of a container that have a log, in order."""
    if directory is None or not (directory / container).is_dir():
        return []
    return sorted(int(p.stem) for p in (directory / container).glob("*.log") if p.stem.isdigit())


def now_nanoseconds() -> int:
    """The host's clock."""
    return int(datetime.now(UTC).timestamp() * SECOND)
