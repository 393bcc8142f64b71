"""Lines of several logs as one: in the order of their times, each pod in a colour of its own.

Rule: pure; time is an argument (seconds). A line without a time of its own belongs to the one before it. Of lines of
one moment those of the earlier source come first, so that the same logs always read the same.
"""

import heapq
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from mesh.model.times import from_timestamp, parse_rfc3339

COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)  # SGR codes that read on dark and on light
PATIENCE = 0.25  # seconds that a line waits for older ones of other logs


@dataclass(frozen=True, slots=True)
class Source:
    """One container's log."""

    pod: str
    container: str

    def prefix(self, coloured: bool) -> bytes:
        """What says whose line it is."""
        text = f"[pod/{self.pod}/{self.container}]"
        if coloured:
            text = f"\x1b[{COLOURS[zlib.crc32(self.pod.encode()) % len(COLOURS)]}m{text}\x1b[0m"
        return f"{text} ".encode()


@dataclass(frozen=True, slots=True)
class Line:
    """A line: when it was written (nanoseconds since the epoch), the time as it was told, and the rest."""

    at: int
    stamp: bytes
    text: bytes


def read(raw: bytes, before: int) -> Line:
    """A line that begins with its time; `before`: the time of the one before it."""
    stamp, space, text = raw.partition(b" ")
    try:
        at = from_timestamp(parse_rfc3339(stamp.decode("ascii")))
    except (ValueError, UnicodeDecodeError):
        return Line(before, b"", raw)
    return Line(at, stamp + space, text)


class Merge:
    """Takes lines as they come and gives them in order; each is kept for PATIENCE, in case an older one follows."""

    def __init__(self) -> None:
        self._held: list[tuple[int, int, int, float, Line, Source]] = []
        self._sources: dict[Source, int] = {}
        self._count = 0

    def know(self, source: Source) -> None:
        """Among lines of one moment, sources come in the order in which they became known."""
        self._sources.setdefault(source, len(self._sources))

    def put(self, source: Source, line: Line, now: float) -> None:
        """A line."""
        self._count += 1
        self.know(source)
        heapq.heappush(self._held, (line.at, self._sources[source], self._count, now, line, source))

    def ready(self, now: float) -> Iterator[tuple[Source, Line]]:
        """Lines that have waited long enough, and all that are older than one of them."""
        last = max((entry[:3] for entry in self._held if entry[3] + PATIENCE <= now), default=None)
        while last is not None and self._held and self._held[0][:3] <= last:
            *_, line, source = heapq.heappop(self._held)
            yield source, line

    def rest(self) -> Iterator[tuple[Source, Line]]:
        """All that is left."""
        while self._held:
            *_, line, source = heapq.heappop(self._held)
            yield source, line

    def __bool__(self) -> bool:
        return bool(self._held)
