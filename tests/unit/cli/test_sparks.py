"""Lines of a few characters."""

import pytest

from mesh.cli.sparks import spark

NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "line"),
    [((0, 1, 2, 4), "▁▃▅█"), ((5, 5), "██"), ((0, 0), "▁▁"), ((NAN, 1, NAN), " █ "), ((), ""), ((NAN,), " ")],
)
def test_the_highest_bar_is_the_largest_value(values: tuple[float, ...], line: str) -> None:
    assert spark(values) == line


def test_a_common_top_makes_lines_comparable() -> None:
    assert spark((1,), top=8) == "▂"
