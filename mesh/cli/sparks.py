"""Lines of a few characters that show how something went: ▁▂▃▅▇.

Rule: pure. What is not known is a blank; the scale begins at 0, so that small changes of much look small.
"""

from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"


def spark(values: Sequence[float], top: float = 0.0) -> str:
    """One character for each value, the highest bar for `top`, or for the largest of them."""
    known = [v for v in values if v == v]  # noqa: PLR0124 - NaN
    most = max([top, *known])
    return "".join(_bar(v, most) for v in values)


def _bar(value: float, most: float) -> str:
    if value != value:  # noqa: PLR0124 - NaN
        return " "
    if most <= 0:
        return _BARS[0]
    return _BARS[min(int(value / most * len(_BARS)), len(_BARS) - 1)]
