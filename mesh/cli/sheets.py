"""Described objects as indented text: labels in a column, values beside them, deeper things below.

Rule: pure; a Sheet is filled in order and rendered once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

NONE = "<none>"
_INDENT = "  "
_MAX_LABEL = 23  # longer labels don't push the values of the others to the right


@dataclass(slots=True)
class Sheet:
    """Lines of one level: a label with a text, several lines, or a deeper sheet."""

    lines: list[tuple[str, "str | list[str] | Sheet"]] = field(default_factory=list)

    def add(self, label: str, value: object = NONE) -> Self:
        """A label and its value; an empty text reads <none>."""
        self.lines.append((label, str(value) if value not in (None, "") else NONE))
        return self

    def maybe(self, label: str, value: object) -> Self:
        """A label and its value, unless that is empty or nothing."""
        return self.add(label, value) if value else self

    def many(self, label: str, values: Sequence[str]) -> Self:
        """A label with one value per line; <none> without any."""
        self.lines.append((label, list(values) or [NONE]))
        return self

    def map(self, label: str, values: Mapping[str, str]) -> Self:
        """A label with key=value per line."""
        return self.many(label, [f"{k}={values[k]}" for k in sorted(values)])

    def below(self, label: str, sheet: "Sheet") -> Self:
        """A label with a deeper sheet below it; <none> when that is empty."""
        if not sheet.lines:
            return self.add(label)
        self.lines.append((label, sheet))
        return self

    def columns(self, label: str, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Self:
        """A label with a small table below it."""
        if not rows:
            return self.add(label)
        dashes = tuple("-" * len(t) for t in titles)
        lines = [titles, dashes, *rows]
        widths = [max(len(c) for c in column) for column in zip(*lines, strict=True)]
        inner = Sheet()
        for line in lines:
            text = "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
            inner.lines.append(("", text))
        self.lines.append((label, inner))
        return self

    def render(self, indent: str = "") -> list[str]:
        """The lines of text."""
        width = max((len(label) for label, value in self.lines if _beside(label, value)), default=0) + 1
        out: list[str] = []
        for label, value in self.lines:
            if isinstance(value, Sheet):
                out += [f"{indent}{label}:", *value.render(indent + _INDENT)]
            elif not label:
                out.append(indent + str(value))
            else:
                texts = value if isinstance(value, list) else value.splitlines() or [""]
                head = f"{indent}{label + ':':<{width}}  "
                out.append(head + texts[0])
                out += [" " * len(head) + text for text in texts[1:]]
        return out


def _beside(label: str, value: "str | list[str] | Sheet") -> bool:
    return not isinstance(value, Sheet) and len(label) <= _MAX_LABEL
