"""What a row of the failure matrix must not cost is found, and the table keeps what was not played."""

from dataclasses import replace

import pytest

from tests.machines import ha
from tests.machines.lab import SUITE
from tests.machines.matrix import ROWS, on_suite
from tests.matrix.row import Row, Seen, merged, wrong

ROW: Row[None] = Row("a fall", "nothing", lambda _: None)
WELL = Seen(asked=100, failed=0, slowest=0.1, restarts=0, replaced=0, flips=0, seconds=3.2, load=4.0)


def test_a_row_that_costs_nothing_holds() -> None:
    assert wrong(ROW, WELL) == []


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"failed": 1, "why": "OSError"}, "1 requests failed, at most 0 may (OSError)"),
        ({"restarts": 2}, "2 containers restarted, at most 0 may"),
        ({"replaced": 1}, "1 pods replaced, at most 0 may"),
        ({"flips": 1}, "1 readiness flips, at most 0 may"),
        ({"lost": ("ConfigMap default/settings",)}, "ConfigMap default/settings is lost"),
        ({"twice": ("db-0",)}, "db-0 ran twice at a time"),
        ({"asked": 0}, "nobody asked"),
    ],
)
def test_what_must_not_be_is_told(more: dict[str, object], told: str) -> None:
    assert wrong(ROW, replace(WELL, **more)) == [told]  # type: ignore[arg-type]  # of Seen's fields


def test_what_a_row_allows_is_not_told() -> None:
    allowing = replace(ROW, failed=4, restarts=1, replaced=2, flips=None)
    assert wrong(allowing, replace(WELL, failed=4, restarts=1, replaced=2, flips=9)) == []


def test_a_played_row_takes_the_place_of_its_line() -> None:
    old = ["| a | 1 |", "| b | 2 |"]
    assert merged(old, ["b", "c"], ["| b | 3 |", "| c | 4 |"]) == ["| a | 1 |", "| b | 3 |", "| c | 4 |"]
    assert merged(old, ["a"], [WELL.line(replace(ROW, name="a"))])[0] == (
        "| a | nothing | 100 | 0 | 0.10 s | 0 | 0 | 0 | 3.2 s | 4 |"
    )


def test_rows_of_another_distribution_have_lines_of_their_own() -> None:
    rows = (*ROWS, *ha.ROWS)
    assert [on_suite(row, SUITE) for row in rows] == list(rows)
    assert not {row.name for row in rows} & {on_suite(row, "trixie").name for row in rows}
