"""Streaks, thresholds and verdicts."""

import pytest

from nodeagent.probes.state import Kind, Streak, Verdict, reached


def test_only_equal_results_in_a_row_count() -> None:  # P5
    streak = Streak()
    lengths = []
    for good in (True, True, False, False, True):
        streak = streak.after(good)
        lengths.append(streak.length)
    assert lengths == [1, 2, 1, 2, 1]
    assert Streak().after(False).length == 1


@pytest.mark.parametrize(
    ("good", "length", "decides"), [(True, 1, False), (True, 2, True), (False, 2, False), (False, 3, True)]
)
def test_thresholds(good: bool, length: int, decides: bool) -> None:  # P5
    assert reached(Streak(good, length), 2, 3) is decides


def test_a_new_container_is_neither_started_nor_ready_nor_condemned() -> None:  # P4
    assert Verdict("c") == Verdict("c", greeted=False, started=False, ready=False, failed="", changed_at=0)


def test_verdicts() -> None:
    fresh = Verdict("c")
    assert fresh.after(Kind.READINESS, good=True, now=5) == Verdict("c", ready=True, changed_at=5)
    assert fresh.after(Kind.READINESS, good=True, now=5).after(Kind.READINESS, good=True, now=9).changed_at == 5
    assert fresh.after(Kind.READINESS, good=True, now=5).after(Kind.READINESS, good=False, now=9).changed_at == 9
    assert fresh.after(Kind.STARTUP, good=True, now=5).started
    assert fresh.after(Kind.STARTUP, good=False, now=5).failed == "Startup"
    assert fresh.after(Kind.LIVENESS, good=True, now=5) == fresh
    condemned = fresh.after(Kind.LIVENESS, good=False, now=5)
    assert condemned.failed == "Liveness"
    assert condemned.after(Kind.LIVENESS, good=True, now=9) == condemned  # on hold until there is a new container (P7)
