"""Figures that a pod's application tells, made ours: labelled with the pod, and bounded.

Rule: pure. Labels that the application uses itself become exported_*, as Prometheus does it; names that are the host's
own are dropped, so that no pod speaks for a host; lines that are no samples are dropped.
"""

import re
from dataclasses import dataclass, field

from mesh.exposition.text import Page, labels

MOST_SAMPLES = 5_000  # of one pod
_OURS = ("container_", "kubelet_", "machine_", "mesh_", "prober_", "kube_")
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*,?')
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|Inf|NaN)")
_PARTS = ("_bucket", "_sum", "_count", "_total", "_created")
_TYPES = frozenset(("counter", "gauge", "histogram", "summary", "untyped"))


@dataclass(slots=True)
class Foreign:
    """What was read of one pod; `cut`: there was more than is taken."""

    families: dict[str, tuple[str, list[str]]] = field(default_factory=dict)  # head, lines; by family
    samples: int = 0
    dropped: int = 0
    cut: bool = False

    def show(self, page: Page) -> None:
        """Adds them."""
        for name, (head, lines) in self.families.items():
            page.raw(name, head, lines)


def read(text: str, namespace: str, pod: str, most: int = MOST_SAMPLES) -> Foreign:
    """An application's text."""
    found, types, helps = Foreign(), dict[str, str](), dict[str, str]()
    ours = labels({"namespace": namespace, "pod": pod})
    for line in text.split("\n"):
        if line.startswith("#"):
            words = line.split(None, 3)
            if len(words) == 4 and words[1] == "TYPE":
                types[words[2]] = words[3].strip()
            elif len(words) == 4 and words[1] == "HELP":
                helps[words[2]] = words[3]
            continue
        if not line.strip():
            continue
        sample = _sample(line, ours)
        if sample is None:
            found.dropped += 1
            continue
        if found.samples >= most:
            found.cut = True
            break
        name, written = sample
        family = _family(name, types)
        if family not in found.families:
            kind = types.get(family, "untyped")
            head = f"# TYPE {family} {kind if kind in _TYPES else 'untyped'}\n"
            if family in helps:
                head = f"# HELP {family} {helps[family]}\n" + head
            found.families[family] = (head, [])
        found.families[family][1].append(written)
        found.samples += 1
    return found


def _sample(line: str, ours: str) -> tuple[str, str] | None:
    """The sample's name, and the line that we write for it."""
    match = _SAMPLE.fullmatch(line)
    if match is None or _NUMBER.fullmatch(match[3]) is None or match[1].startswith(_OURS):
        return None
    own = _labels(match[2] or "")
    if own is None:
        return None
    return match[1], f"{match[1]}{{{ours}{own}}} {match[3]}\n"


def _labels(text: str) -> str | None:
    """The application's labels as they follow ours; None for what are none."""
    parts: list[str] = []
    at = 0
    while at < len(text):
        match = _LABEL.match(text, at)
        if match is None:
            return None if text[at:].strip() else "".join(parts)
        name = f"exported_{match[1]}" if match[1] in ("namespace", "pod") else match[1]
        parts.append(f',{name}="{match[2]}"')
        at = match.end()
    return "".join(parts)


def _family(name: str, types: dict[str, str]) -> str:
    """The family that a sample belongs to: of a histogram the name without _bucket."""
    if name in types:
        return name
    return next((name.removesuffix(p) for p in _PARTS if name.endswith(p) and name.removesuffix(p) in types), name)
