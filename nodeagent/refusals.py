"""What came to this host as meshd's and was refused: for meshd's audit log, as an Event of the host, and counted.

Rule: whoever makes it come again and again can neither fill the board nor keep meshd busy with it: the audit log has
each once, there is one Event a minute and method, and the rest is a number.
"""

from collections import Counter
from collections.abc import Callable

from mesh.model.times import SECOND
from mesh.v1.node_pb2 import Refusal
from nodeagent.board import Board
from nodeagent.events import Events

EVERY = 60 * SECOND  # between two Events of one method


class Refusals:
    """Of one agent; `clock` gives nanoseconds since the epoch, `counts` are by method."""

    def __init__(self, board: Board, events: Events, clock: Callable[[], int], counts: Counter[str]) -> None:
        self._board = board
        self._events = events
        self._clock = clock
        self._counts = counts
        self._told: dict[str, int] = {}

    def take(self, refusal: Refusal) -> None:
        """One more; its words are few and never the sender's."""
        method, now = refusal.method, self._clock()
        self._counts[method] += 1
        self._board.refuse(refusal)
        if now - self._told.get(method, now - EVERY) >= EVERY:
            self._told[method] = now
            self._events.host_warning("CallRefused", f"{method} was refused: {refusal.why}")
