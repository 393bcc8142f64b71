"""How long to wait between attempts at something that fails: ever longer, and short again once it went well.

Rule: pure; whoever tries does the waiting. One piece for all that try again without end.
"""


class Pauses:
    """Seconds: `first`, then twice as much each time, up to `longest`."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._next = first

    def next(self) -> float:
        """The pause after one more failure."""
        pause, self._next = self._next, min(self._next * 2, self._longest)
        return pause

    def reset(self) -> None:
        """It went well: the next pause is the first again."""
        self._next = self._first
