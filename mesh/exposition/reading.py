"""Reads Prometheus' text format: the samples of some metrics, out of a page of a host.

Rule: pure; a line that is no sample is left out.
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")
_PLAIN = {"n": "\n"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric; a counter only ever grows, until its program starts again."""

    name: str
    labels: Mapping[str, str]
    value: float
    counter: bool


def read(text: str, names: Collection[str]) -> list[Sample]:
    """The samples of these names whose values are finite numbers."""
    found, counters = [], set[str]()
    for line in text.split("\n"):
        if line.startswith("# TYPE "):
            words = line.split()
            if len(words) == 4 and words[3] in ("counter", "histogram"):
                counters.add(words[2])
            continue
        if not line.startswith(tuple(names)):
            continue
        match = _SAMPLE.fullmatch(line)
        if match is None or match[1] not in names or not math.isfinite(value := _number(match[3])):
            continue
        labels = {name: _ESCAPED.sub(_unescaped, text) for name, text in _LABEL.findall(match[2] or "")}
        found.append(Sample(match[1], labels, value, _is_counter(match[1], counters)))
    return found


def _is_counter(name: str, counters: Collection[str]) -> bool:
    bases = (name, *(name.removesuffix(end) for end in ("_total", "_sum", "_count", "_bucket") if name.endswith(end)))
    return any(base in counters for base in bases)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _unescaped(match: re.Match[str]) -> str:
    return _PLAIN.get(match[1], match[1])
