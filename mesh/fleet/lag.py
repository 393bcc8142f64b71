"""How long a change of the table of Services takes until the last proxy serves it (X16).

Rule: pure; times are arguments. A change counts from the first commit in it; who is lost meanwhile is not waited for.
"""

from collections import deque

MOST = 1024  # tables that are waited for; more mean that nobody follows


class Lag:
    """Tables on their way; `changed` in the order of their numbers."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, float]] = deque(maxlen=MOST)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def changed(self, number: int, since: float) -> None:
        """There is a new table, whose first change was committed at `since`."""
        self._waiting.append((number, since))

    def followed(self, number: int, now: float) -> list[float]:
        """Every proxy holds at least the table of this number: the seconds that the tables up to it took."""
        took = []
        while self._waiting and self._waiting[0][0] <= number:
            took.append(now - self._waiting.popleft()[1])
        return took
