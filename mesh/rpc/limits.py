"""How much one client may ask for: calls in a second, streams at a time; and strangers, all together, very little.

Rule: a client is a name, whatever connections it has. Who asks for too much is refused with Unavailable, not slowed:
what he holds up would be everyone's loop.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from mesh.config import Limits
from mesh.errors import Unavailable

_STRANGERS = Limits(calls_per_second=5, burst=20, streams=1)
_KEPT = 10_000  # clients of whom it is remembered how much they asked for


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Meter:
    """Counts; `clock` is monotonic seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self.reader_seconds = float(limits.reader_seconds)  # that a stream's reader may take nothing
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._streams: Counter[str] = Counter()

    def call(self, client: str) -> None:
        """Counts a call, of nobody known when the name is empty; raises Unavailable when it is one too many."""
        limits, now = self._limits if client else _STRANGERS, self._clock()
        bucket = self._buckets.get(client)
        if bucket is None:
            if len(self._buckets) >= _KEPT:
                self._buckets.clear()
            bucket = self._buckets[client] = _Bucket(limits.burst, now)
        bucket.left = min(limits.burst, bucket.left + (now - bucket.at) * limits.calls_per_second)
        bucket.at = now
        if bucket.left < 1:
            raise Unavailable(f"too many calls: at most {limits.calls_per_second} in a second; try again in a moment")
        bucket.left -= 1

    def open(self, client: str) -> None:
        """Counts a stream until `close`; raises Unavailable when it is one too many."""
        if self._streams[client] >= self._limits.streams:
            raise Unavailable(f"too many streams at a time: at most {self._limits.streams}; end some first")
        self._streams[client] += 1

    def close(self, client: str) -> None:
        """A stream has ended."""
        self._streams[client] -= 1
        if self._streams[client] <= 0:
            del self._streams[client]
