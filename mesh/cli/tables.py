"""Tables on the screen: rich ones on a terminal, plain aligned text anywhere else.

Rule: names are never cut off; on a narrow terminal only sentences wrap, everything else runs over as with kubectl.
"""

from collections.abc import Sequence

import click

from mesh.cli.printers import Table, tone

_GAP = 3
_STYLES = {"good": "green", "busy": "yellow", "bad": "red"}
_SENTENCES = ("MESSAGE", "WHY NOT")  # titles of columns that may wrap
_NARROWEST = 24  # columns of a sentence below which wrapping helps nobody


def widths_of(table: Table, at_least: Sequence[int] = ()) -> list[int]:
    """How wide each column is."""
    lines = [table.titles, *table.rows]
    found = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [max(pair) for pair in zip(found, at_least, strict=True)] if at_least else found


def lines_of(table: Table, widths: Sequence[int], *, titles: bool = True, color: bool = False) -> list[str]:
    """The table as aligned lines without spaces at their ends."""
    lines = ["".join(_padded(c, w) for c, w in zip(table.titles, widths, strict=True)).rstrip()] if titles else []
    for row in table.rows:
        cells = zip(table.titles, row, widths, strict=True)
        lines.append("".join(_toned(title, cell, width, color) for title, cell, width in cells).rstrip())
    return lines


def show(table: Table, *, titles: bool = True, color: bool = False) -> None:
    """Prints the table; `color` says that standard output is a terminal that likes colours."""
    if color:
        _show_rich(table, titles)
        return
    click.echo("\n".join(lines_of(table, widths_of(table), titles=titles)))


def _padded(cell: str, width: int) -> str:
    return cell.ljust(width + _GAP)


def _toned(title: str, cell: str, width: int, color: bool) -> str:
    style = _STYLES.get(tone(title, cell)) if color else None
    return click.style(cell, fg=style) + " " * (width + _GAP - len(cell)) if style else _padded(cell, width)


def _show_rich(table: Table, titles: bool) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=False)
    widths = widths_of(table)
    fixed = sum(w + _GAP for w, title in zip(widths, table.titles, strict=True) if title not in _SENTENCES)
    wraps = any(title in _SENTENCES for title in table.titles) and console.width - fixed >= _NARROWEST
    needed = fixed if wraps else sum(w + _GAP for w in widths)
    grid = RichTable(box=None, show_header=titles, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for title, width in zip(table.titles, widths, strict=True):
        sentence = wraps and title in _SENTENCES
        grid.add_column(title, no_wrap=not sentence, min_width=None if sentence else width)
    for row in table.rows:
        cells = zip(table.titles, row, strict=True)
        grid.add_row(*(Text(cell, style=_STYLES.get(tone(title, cell), "")) for title, cell in cells))
    console.width = max(console.width, needed)
    console.print(grid, crop=False, overflow="ignore")
