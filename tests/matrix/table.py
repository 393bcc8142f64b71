"""The table of docs/reliability.md: a line for each row that was played, the newest in the place of the one before."""

import sys
from typing import Any

from tests.harness.pythonpod import REPOSITORY
from tests.matrix.row import HEAD, Row, Seen, merged, wrong

PAGE = REPOSITORY / "docs" / "reliability.md"
BEGIN, END = "<!-- matrix -->\n", "<!-- end of matrix -->\n"


def told(row: Row[Any], seen: Seen, *, write: bool) -> int:
    """What the row came to is said, and written when it holds and `write` is true. The exit code: 1 if it does not."""
    print(seen.line(row), flush=True)
    if found := wrong(row, seen):
        print(f"FAILED: {row.name}: {'; '.join(found)}", file=sys.stderr, flush=True)
        return 1
    if write:
        written(row.name, seen.line(row))
    return 0


def written(name: str, line: str) -> None:
    """Row `name` is `line` from now on."""
    before, rest = PAGE.read_text().split(BEGIN)
    table, after = rest.split(END)
    head = f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|\n"
    lines = merged(table.removeprefix(head).splitlines(), [name], [line])
    PAGE.write_text(before + BEGIN + head + "".join(f"{line}\n" for line in lines) + END + after)
