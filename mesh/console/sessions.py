"""Who is signed in: one-time tickets, and the sessions that they are turned into.

Rule: pure; time is an argument (seconds since the epoch), chance is given. A ticket is good once and for a minute; a
session ends with the certificate that it came by, and is asked of revocation with every request by who serves it.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from mesh.access.who import Who
from mesh.errors import Unavailable
from mesh.pki import Identity

TICKET, SESSION, IDLE = 60, 12 * 3600, 3600  # seconds
MOST = 200  # of each


@dataclass(slots=True)
class Session:
    """One browser's."""

    who: Who
    identity: Identity | None
    until: float
    seen: float


@dataclass(slots=True)
class Sessions:
    """All of them, by the digest of what the browser holds: nobody who reads memory signs in by it. `chance` makes
    words that nobody guesses."""

    chance: Callable[[], str]
    _tickets: dict[str, Session] = field(default_factory=dict)
    _sessions: dict[str, Session] = field(default_factory=dict)

    def ticket(self, who: Who, identity: Identity | None, now: float) -> str:
        """A new one; raises Unavailable when there are too many."""
        self._forget(now)
        if len(self._tickets) >= MOST or len(self._sessions) >= MOST:
            raise Unavailable("too many are signed in to the console: try again in a minute")
        word = self.chance()
        self._tickets[_digest(word)] = Session(who, identity, now + TICKET, now)
        return word

    def redeem(self, ticket: str, now: float) -> str:
        """The session's word for a ticket, which is used up by it; "" for none that counts."""
        self._forget(now)
        found = self._tickets.pop(_digest(ticket), None)
        if found is None:
            return ""
        word = self.chance()
        self._sessions[_digest(word)] = Session(found.who, found.identity, now + SESSION, now)
        return word

    def of(self, word: str, now: float) -> Session | None:
        """The session of this word."""
        self._forget(now)
        found = self._sessions.get(_digest(word))
        if found is not None:
            found.seen = now
        return found

    def empty(self, now: float) -> bool:
        """Whether nobody is or could get signed in."""
        self._forget(now)
        return not self._tickets and not self._sessions

    def _forget(self, now: float) -> None:
        for held in (self._tickets, self._sessions):
            for word in [w for w, s in held.items() if s.until <= now or s.seen + IDLE <= now]:
                del held[word]


def _digest(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()
