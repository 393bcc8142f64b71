"""The table of docs/reliability.md: a line for each row that was played, the newest in the place of the one before."""

from tests.harness.pythonpod import REPOSITORY
from tests.matrix.row import HEAD, merged

PAGE = REPOSITORY / "docs" / "reliability.md"
BEGIN, END = "<!-- matrix -->\n", "<!-- end of matrix -->\n"


def written(name: str, line: str) -> None:
    """Row `name` is `line` from now on."""
    before, rest = PAGE.read_text().split(BEGIN)
    table, after = rest.split(END)
    head = f"| {' | '.join(HEAD)} |\n{'|---' * len(HEAD)}|\n"
    lines = merged(table.removeprefix(head).splitlines(), [name], [line])
    PAGE.write_text(before + BEGIN + head + "".join(f"{line}\n" for line in lines) + END + after)
