"""Writes the fields' part of docs/compatibility.md from mesh/model/support.py; --check fails when that is stale."""

import argparse
import sys
from pathlib import Path

from mesh.model.fields import Many, fields_of
from mesh.model.support import TABLE, Support, Values
from mesh.v1.core_pb2 import PodSpec

TARGET = Path(__file__).resolve().parent.parent / "docs" / "compatibility.md"
BEGIN = "<!-- fields: made by `python tools/compatibility.py` from mesh/model/support.py -->"
END = "<!-- end of fields -->"


def render() -> str:
    """The section, markers included."""
    lines = [BEGIN, "", "| Field | How |", "|---|---|"]
    honoured: list[str] = []
    for name in _reached():
        for field, support in TABLE[name].items():
            if support.state == "honoured":
                honoured.append(f"{name}.{field}")
            else:
                lines.append(f"| `{name}.{field}` | {_words(support)} |")
    lines += ["", "Everything else of a pod that is in this list is honoured, and what is in neither is refused:", ""]
    by_message: dict[str, list[str]] = {}
    for path in honoured:
        message, _, field = path.partition(".")
        by_message.setdefault(message, []).append(f"`{field}`")
    lines += [f"- {message}: {', '.join(fields)}" for message, fields in by_message.items()]
    return "\n".join([*lines, "", END])


def _words(support: Support) -> str:
    fine = support.accepts
    but = ""
    if isinstance(fine, Values):
        words = ["absent" if v == "" else f"`{str(v).lower() if isinstance(v, bool) else v}`" for v in fine.values]
        but = f"; {' and '.join(words)} {'are' if len(words) > 1 else 'is'} fine"
    elif fine is not None:
        but = "; fine with `hostNetwork`"
    return f"{support.state}: {support.why}{but}".replace("|", "\\|")


def _reached() -> list[str]:
    """Messages of the table, in the order in which a pod's spec leads to them."""
    found, todo = [], [PodSpec.DESCRIPTOR]
    while todo:
        descriptor = todo.pop(0)
        if descriptor.name in found or descriptor.name not in TABLE:
            continue
        found.append(descriptor.name)
        todo += [f.type for f in fields_of(descriptor).values() if f.type is not None and f.many is not Many.MAP]
    return found


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when the page is not current")
    check = parser.parse_args().check
    text = TARGET.read_text()
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        sys.stderr.write("docs/compatibility.md has lost the marks between which the fields are written\n")
        return 1
    current = head + render() + tail
    if not check:
        TARGET.write_text(current)
    elif current != text:
        sys.stderr.write("docs/compatibility.md is not current: run `python tools/compatibility.py`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
