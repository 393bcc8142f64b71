"""Crash-loop back-off and restart policies as pure functions (L1 to L3)."""

import pytest

from mesh.model.times import SECOND
from nodeagent.pods.record import Death, Record, Streak
from nodeagent.pods.restart import grown, next_start, over, should_restart
from nodeagent.pods.standing import standings
from nodeagent.runtime.seen import Role, SeenContainer, SeenPod, State
from tests.harness.agents import a_container, a_pod

HASHES = {"main": "h", "init": "h"}


def death(attempt: int = 0, code: int = 1, at: int = 1000, **fields: object) -> Death:
    return Death(attempt, code, "Error", finished_at=at * SECOND, spec_hash="h", **fields)  # type: ignore[arg-type]


def test_the_first_restart_is_immediate() -> None:
    assert next_start(None, death(), "h") == 1000 * SECOND


@pytest.mark.parametrize(("restarts", "seconds"), [(1, 10), (2, 20), (3, 40), (4, 80), (5, 160), (6, 300), (9, 300)])
def test_it_doubles_to_300_and_counts_from_when_it_ended(restarts: int, seconds: int) -> None:
    streak = None
    for number in range(restarts):
        streak = grown(streak, death(number, at=1000 + number), "h", (1000 + number) * SECOND)
    end = death(restarts, at=1400)
    assert next_start(streak, end, "h") == (1400 + seconds) * SECOND


def test_exactly_600_seconds_do_not_reset_it_and_more_do() -> None:
    streak = Streak(40 * SECOND, 1000 * SECOND, 3, "h")
    assert next_start(streak, death(3, at=1600), "h") == 1640 * SECOND
    assert next_start(streak, death(3, at=1601), "h") == 1601 * SECOND
    assert grown(streak, death(3, at=1601), "h", 1601 * SECOND).delay == 10 * SECOND


def test_another_spec_begins_anew() -> None:
    streak = Streak(300 * SECOND, 1000 * SECOND, 3, "h")
    assert next_start(streak, death(3), "other") == 1000 * SECOND


def test_a_restart_let_through_is_let_through_once() -> None:
    streak = grown(None, death(0), "h", 1000 * SECOND)
    assert next_start(streak, death(0), "h") == 1000 * SECOND
    assert grown(streak, death(0), "h", 2000 * SECOND) == streak


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [("Always", 0, True), ("Always", 1, True), ("OnFailure", 0, False), ("OnFailure", 1, True), ("Never", 1, False)],
)
def test_policies(policy: str, code: int, again: bool) -> None:
    pod = a_pod("p", restart_policy=policy)
    record = Record().with_death("main", death(code=code))
    _, (main,) = standings(pod, None, record, HASHES)
    assert should_restart(pod, main, record) is again


def test_a_changed_definition_restarts_what_it_stopped_and_nothing_else() -> None:
    pod = a_pod("p", restart_policy="Never")
    record = Record().with_death("main", death(code=0, container_id="c1"))
    stopped = record.with_stop("c1", 5)
    for held, expected in ((record, False), (stopped, True)):
        _, (main,) = standings(pod, None, held, {"main": "new"})
        assert should_restart(pod, main, held) is expected


def test_a_pod_is_over_when_nothing_runs_and_nothing_will() -> None:
    pod = a_pod("p", containers=(a_container("main"), a_container("init")), restart_policy="OnFailure")
    record = Record().with_death("main", death(code=0))
    assert not over(pod, None, record, HASHES)
    record = record.with_death("init", death(code=1))
    assert not over(pod, None, record, HASHES)
    record = record.with_death("init", death(1, code=0))
    assert over(pod, None, record, HASHES)
    running = SeenContainer("c", "uid-p", "init", 2, Role.APP, State.RUNNING, "h", "i", "i")
    assert not over(pod, SeenPod("uid-p", "default", "p", None, (running,)), record, HASHES)


def test_a_failed_init_container_ends_a_pod_that_never_restarts() -> None:
    pod = a_pod("p", init=(a_container("init"),), restart_policy="Never")
    assert over(pod, None, Record().with_death("init", death()), HASHES)
    assert not over(pod, None, Record(), HASHES)
