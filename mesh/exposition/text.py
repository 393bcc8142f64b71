"""Prometheus' text exposition format 0.0.4, and OpenMetrics 1.0 with exemplars: families of samples in, one text out.

Rule: pure, and quick: a host writes some ten thousand lines every 15 s, so labels are texts that their owner keeps, and
a family is written in one go. A family without a sample is not written.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # Prometheus' own buckets


class Family(NamedTuple):
    """`kind` is counter, gauge or histogram."""

    name: str
    kind: str
    help: str


class Histogram:
    """Counts of what was observed, by upper bound; the last of each bucket that was part of a trace is its exemplar."""

    __slots__ = ("bounds", "counts", "exemplars", "sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.exemplars: dict[int, tuple[str, float]] = {}  # trace and value, by bucket

    def observe(self, value: float, trace: str = "") -> None:
        """One more; `trace`: the id of the trace in which it was observed."""
        self.sum += value
        bucket = next((i for i, bound in enumerate(self.bounds) if value <= bound), len(self.bounds))
        self.counts[bucket] += 1
        if trace:
            self.exemplars[bucket] = trace, value

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)


class Page:
    """What one answer will say."""

    def __init__(self, *, openmetrics: bool = False) -> None:
        self._openmetrics = openmetrics
        self._families: dict[str, list[str]] = {}

    def put(self, family: Family, samples: Iterable[tuple[str, float]]) -> None:
        """Samples of one family: labels as `labels` writes them, and a value. May be called again for more."""
        name = family.name
        lines = self._lines(family)
        lines += [f"{name}{{{of}}} {_number(value)}\n" if of else f"{name} {_number(value)}\n" for of, value in samples]

    def one(self, family: Family, value: float, of: str = "") -> None:
        """One sample."""
        self.put(family, ((of, value),))

    def histogram(self, family: Family, of: str, histogram: Histogram) -> None:
        """A histogram's samples."""
        lines, total, before = self._lines(family), 0, of + "," if of else ""
        for i, bound in enumerate((*histogram.bounds, math.inf)):
            total += histogram.counts[i]
            shown = self._exemplar(histogram, i)
            lines.append(f'{family.name}_bucket{{{before}le="{_number(bound)}"}} {total}{shown}\n')
        inner = f"{{{of}}}" if of else ""
        lines.append(f"{family.name}_sum{inner} {_number(histogram.sum)}\n{family.name}_count{inner} {total}\n")

    def raw(self, name: str, head: str, lines: Iterable[str]) -> None:
        """Lines of a family that somebody else wrote; of two heads the first counts."""
        self._families.setdefault(name, [head]).extend(lines)

    def render(self) -> bytes:
        """The whole text."""
        text = "".join(text for lines in self._families.values() if len(lines) > 1 for text in lines)
        return (text + "# EOF\n" if self._openmetrics else text).encode()

    def _lines(self, family: Family) -> list[str]:
        lines = self._families.get(family.name)
        if lines is None:
            name, kind = self._typed(family)
            head = f"# HELP {name} {_help(family.help)}\n# TYPE {name} {kind}\n"
            lines = self._families[family.name] = [head]
        return lines

    def _typed(self, family: Family) -> tuple[str, str]:
        """Name and kind as they are declared; OpenMetrics knows no counter but x_total, of a family x."""
        if not self._openmetrics or family.kind != "counter":
            return family.name, family.kind
        name = family.name.removesuffix("_total")
        return name, "counter" if name != family.name else "unknown"

    def _exemplar(self, histogram: Histogram, bucket: int) -> str:
        if not self._openmetrics or bucket not in histogram.exemplars:
            return ""
        trace, value = histogram.exemplars[bucket]
        return f' # {{trace_id="{trace}"}} {_number(value)}'


def labels(of: Mapping[str, str]) -> str:
    """Labels as they stand between braces."""
    return ",".join(f'{name}="{escaped(value)}"' for name, value in of.items())


def escaped(value: str) -> str:
    """A label's value as it stands between quotes."""
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return value


def _help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    if value != value or value in (math.inf, -math.inf):  # noqa: PLR0124 - NaN
        return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"  # noqa: PLR0124
    return repr(value)
