"""Answers of upstream servers, kept for as long as they may be.

Rule: pure; time is an argument (monotonic seconds). No answer is kept longer than 30 s, as CoreDNS keeps them, and no
more than a bounded number; the time to live that is told shrinks with the time that has passed.
"""

from typing import NamedTuple

import dns.rcode
import dns.rdatatype
from dns.message import Message

LONGEST = 30.0  # seconds
MOST = 10_000  # answers


class Asked(NamedTuple):
    """What tells answers apart: a name in small letters, a type, and whether signatures are wanted."""

    name: str
    kind: int
    signed: bool


class Cache:
    """The answers; the oldest go first when there are too many."""

    def __init__(self) -> None:
        self._answers: dict[Asked, tuple[float, float, Message]] = {}

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, asked: Asked, now: float) -> tuple[Message, int] | None:
        """The answer and how many seconds it has been here."""
        kept = self._answers.get(asked)
        if kept is None:
            return None
        since, until, answer = kept
        if until <= now:
            del self._answers[asked]
            return None
        return answer, int(now - since)

    def put(self, asked: Asked, answer: Message, now: float) -> None:
        """Keeps it, if it may be kept."""
        seconds = lifetime(answer)
        if seconds <= 0:
            return
        self._answers.pop(asked, None)
        self._answers[asked] = now, now + seconds, answer
        if len(self._answers) > MOST:
            del self._answers[next(iter(self._answers))]


def lifetime(answer: Message) -> float:
    """How many seconds an answer may be kept; a negative one as long as its SOA says (RFC 2308)."""
    if answer.rcode() not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
        return 0.0
    if answer.answer and answer.rcode() == dns.rcode.NOERROR:
        return min(LONGEST, float(min(rrset.ttl for rrset in answer.answer)))
    for rrset in answer.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            return min(LONGEST, float(min(rrset.ttl, rrset[0].minimum)))
    return 0.0
