"""Files in which one container of a pod leaves variables for another (E5): lines of NAME='value'.

Rule: pure, and strict: what is not such a line, a comment or blank is an error, so that no shell's reading of it is
guessed at. A value is taken as it stands, over several lines too; it can't have a single quote in it.
"""

import re

_LINE = re.compile(
    r"[ \t]*(?:#[^\n]*|(?P<name>[^\s='#][^\s=']*)[ \t]*=[ \t]*'(?P<value>[^']*)'[ \t]*)?\r?(?:\n|\Z)"
)  # fmt: skip


def parse(text: str) -> dict[str, str]:
    """The variables, by name; of two of a name the later. Raises ValueError that says which line is none."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        line = _LINE.match(text, at)
        if line is None:
            number = text.count("\n", 0, at) + 1
            raise ValueError(f"line {number} is not of the form NAME='value'")
        if line["name"]:
            found[line["name"]] = line["value"]
        at = line.end()
    return found
