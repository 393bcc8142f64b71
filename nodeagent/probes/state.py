"""What checks amount to: streaks of equal results, and the verdicts that they flip (P4, P5, P6, P7, P18).

Rule: pure. A verdict belongs to one container instance, by its id; a streak is this process's alone, while a verdict is
kept on disk, so that an agent that begins anew says of a container what was said before (P21).
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class Kind(StrEnum):
    """Which probe, in the words of events."""

    STARTUP = "Startup"
    LIVENESS = "Liveness"
    READINESS = "Readiness"


class Result(StrEnum):
    """How one check went.

    WARNING is a success that people should hear of (P13). ERROR: it could not be checked (P18). STARVED: this host was
    too busy to check in time, which says nothing of the application.
    """

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"
    ERROR = "error"
    STARVED = "starved"


COUNTS = {Result.SUCCESS: True, Result.WARNING: True, Result.FAILURE: False}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One check: what it said, and seconds that it took from being sent."""

    result: Result
    output: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Streak:
    """Equal results in a row."""

    good: bool = False
    length: int = 0

    def after(self, good: bool) -> "Streak":
        """With one more."""
        return Streak(good, self.length + 1 if good == self.good else 1)


POST_START = "PostStart"  # what condemned a container whose hook has failed (L7)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What probes and hooks have decided of one container instance; a new one is neither started nor ready (P4).

    `failed` says what condemned it ("Liveness", "Startup", "PostStart"): it is killed, and probing is on hold until
    there is a new container. `changed_at`, in nanoseconds since the epoch, is of `ready`.
    """

    container_id: str
    greeted: bool = False  # its postStart hook has succeeded (L7)
    started: bool = False
    ready: bool = False
    failed: str = ""
    changed_at: int = 0

    def after(self, kind: Kind, good: bool, now: int) -> "Verdict":
        """Once a threshold is reached."""
        if kind is Kind.READINESS:
            return self if self.ready is good else replace(self, ready=good, changed_at=now)
        if kind is Kind.STARTUP and good:
            return replace(self, started=True)
        return self if good or self.failed else replace(self, failed=str(kind))


def reached(streak: Streak, success_threshold: int, failure_threshold: int) -> bool:
    """Whether so many equal results in a row decide (P5)."""
    return streak.length >= (success_threshold if streak.good else failure_threshold)
