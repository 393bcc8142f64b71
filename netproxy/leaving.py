"""Who leaves: backends that serve no new connection any more and still have some, and when the last of them is over.

Rule: what is told is by pods' uids, and told once: when the last connection of a pod has ended (`news`).
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from netproxy.balance import Book, Counts
from netproxy.routes import Backend


class Letting(Protocol):
    """Lets go of idle connections to backends."""

    def leave(self, counts: Iterable[Counts]) -> None:
        """These serve no more."""
        ...


class Leaving:
    """Of one process."""

    def __init__(self, book: Book, news: Callable[[], None]) -> None:
        self._book = book
        self._news = news
        self._draining: dict[str, set[Counts]] = {}

    def note(self, name: str, serving: set[Backend], used: set[Backend], engine: Letting) -> None:
        """After a change of one Service: who serves it, and who is `used` by a route."""
        begun = self._book.settle(name, serving, used)
        for counts in begun:
            if counts.backend.uid:
                self._draining.setdefault(counts.backend.uid, set()).add(counts)
        engine.leave(begun)
        for uid in [u for u, all_of in self._draining.items() if not _still(all_of)]:
            del self._draining[uid]

    def drained(self, counts: Counts) -> None:
        """The last connection to a backend that leaves is over."""
        uid = counts.backend.uid
        if uid in self._draining and not _still(self._draining[uid]):
            del self._draining[uid]
            self._news()

    def told(self) -> dict[str, int]:
        """Open connections by pods' uids."""
        return {uid: sum(c.open for c in counts) for uid, counts in self._draining.items()}


def _still(counts: Iterable[Counts]) -> bool:
    return any(c.open and c.leaving for c in counts)
