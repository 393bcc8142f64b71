"""A row of the failure matrix: what strikes, what it may cost, and what was seen.

Rule: pure. What no row may cost is looked at for every row: an object, a second pod of one StatefulSet's name at a
time, and a mesh that is not as before at the end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

S = TypeVar("S")  # the stage

HEAD = ("What happens", "What a user sees", "Asked", "Failed", "Slowest", "Restarts", "Pods replaced",
        "Readiness flips", "All well after", "Load")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row(Generic[S]):
    """One misfortune. `strike(stage)` brings it about, looks at what a user sees meanwhile (it raises when that is not
    so), and returns when it is over; the rest is the stage's work.

    `failed`, `restarts`, `replaced` and `flips`: how many there may be at most of requests, containers started again
    though their pod stayed, pods, and Ready conditions that went (None: as many as come); `asking`: the hosts, by
    number, from which the Service is asked meanwhile; `before` readies the stage, unmeasured.
    """

    name: str
    sees: str
    strike: Callable[[S], None]
    failed: int = 0
    restarts: int = 0
    replaced: int = 0
    flips: int | None = 0
    asking: Sequence[int] = (0, 1, 2)
    before: Callable[[S], None] | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What a row looked like. `seconds`: from the strike until all was well; `load`: of the machine meanwhile."""

    asked: int
    failed: int
    slowest: float
    restarts: int
    replaced: int
    flips: int
    seconds: float
    load: float
    lost: Sequence[str] = ()
    twice: Sequence[str] = ()
    why: str = ""

    def line(self, row: Row[Any]) -> str:
        """Of the table."""
        counts = (self.asked, self.failed, f"{self.slowest:.2f} s", self.restarts, self.replaced, self.flips)
        cells = (row.name, row.sees, *map(str, counts), f"{self.seconds:.1f} s", f"{self.load:.0f}")
        return f"| {' | '.join(cells)} |"


def wrong(row: Row[Any], seen: Seen) -> list[str]:
    """What must not be, in words; none: the row holds."""
    found = [f"{thing} is lost" for thing in seen.lost]
    found += [f"{name} ran twice at a time" for name in seen.twice]
    for what, count, most in (
        ("requests failed", seen.failed, row.failed), ("containers restarted", seen.restarts, row.restarts),
        ("pods replaced", seen.replaced, row.replaced), ("readiness flips", seen.flips, row.flips),
    ):  # fmt: skip
        if most is not None and count > most:
            found.append(f"{count} {what}, at most {most} may")
    if not seen.asked:
        found.append("nobody asked")
    return [f"{what} ({seen.why})" if seen.why and "requests" in what else what for what in found]


def merged(old: Sequence[str], names: Sequence[str], lines: Sequence[str]) -> list[str]:
    """The table's lines once those of `names` are `lines`; others stay as they were, and keep their place."""
    fresh = dict(zip(names, lines, strict=True))
    kept = [fresh.pop(_name(line), line) for line in old]
    return [*kept, *fresh.values()]


def _name(line: str) -> str:
    return line.split("|")[1].strip()
