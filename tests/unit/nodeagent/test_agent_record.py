"""What is remembered of a pod: it only grows, and survives as text."""

import json

import pytest

from nodeagent.pods.record import Record, Streak, from_json, remember, to_json
from nodeagent.probes.state import Verdict
from nodeagent.runtime.seen import Role, SeenContainer, SeenPod, State


def seen(*containers: SeenContainer) -> SeenPod:
    return SeenPod("u", "default", "p", None, containers)


def container(attempt: int = 0, state: State = State.EXITED, **fields: object) -> SeenContainer:
    return SeenContainer(f"c{attempt}", "u", "main", attempt, Role.APP, state, "h", "i", "i", **fields)  # type: ignore[arg-type]


def test_ends_are_remembered_with_the_one_before() -> None:
    record = remember(Record(), seen(container(0, exit_code=1, finished_at=5)), 10)
    record = remember(record, seen(container(1, exit_code=0, finished_at=8)), 10)
    assert (record.deaths["main"].attempt, record.deaths["main"].reason) == (1, "Completed")
    assert (record.previous["main"].attempt, record.previous["main"].reason) == (0, "Error")
    assert remember(record, seen(container(0, exit_code=1, finished_at=5)), 20) == record


def test_what_was_only_created_never_ran() -> None:
    record = remember(Record(), seen(container(0, State.CREATED)), 10)
    assert record == Record()


def test_what_ran_and_is_gone_ended_unseen() -> None:
    record = remember(Record(), seen(container(0, State.RUNNING)), 10)
    record = remember(record, None, 20)
    death = record.deaths["main"]
    assert (death.attempt, death.exit_code, death.reason) == (0, 137, "ContainerStatusUnknown")
    assert death.finished_at == 20


def test_an_end_without_a_time_is_now() -> None:
    assert remember(Record(), seen(container(0, State.LOST)), 30).deaths["main"].finished_at == 30


def test_out_of_memory() -> None:
    record = remember(Record(), seen(container(0, exit_code=137, oom_killed=True)), 10)
    assert record.deaths["main"].reason == "OOMKilled"


def test_stops_only_come_nearer() -> None:
    record = Record().with_stop("c", 50).with_stop("c", 20).with_stop("c", 70)
    assert record.stops == {"c": 20}


def test_it_survives_as_text() -> None:
    record = remember(Record(started_at=3), seen(container(0, exit_code=1, finished_at=5)), 10)
    record = record.with_stop("c0", 9).with_streak("main", Streak(10, 11, 1, "h"))
    assert from_json(to_json(record)) == record
    for broken in ("", "[]", "{}", '{"started_at": 1}'):
        with pytest.raises(ValueError, match=r"."):
            from_json(broken)


def test_stops_of_containers_long_gone_are_forgotten() -> None:
    record = Record().with_stop("c0", 1).with_leaving("c0").with_stop("c1", 2)
    record = remember(record, seen(container(0, exit_code=1), container(1, State.RUNNING)), 10)
    assert record.stops == {"c0": 1, "c1": 2}
    record = remember(record, seen(container(1, exit_code=1), container(2, State.RUNNING)), 10)
    record = remember(record, seen(container(2, State.RUNNING)), 10)
    assert (record.stops, record.leaving) == ({"c1": 2}, ())  # how c1 came to end still matters (L5)


def test_verdicts_and_hooks_survive_as_text() -> None:  # P21, L8
    record = Record(started_at=3).with_stop("c0", 9).with_leaving("c0").with_leaving("c0")
    record = record.with_verdict("main", Verdict("c0", greeted=True, started=True, ready=True, changed_at=5))
    assert record.leaving == ("c0",)
    assert from_json(to_json(record)) == record


def test_term_after_a_hook_has_its_minimum() -> None:  # L9
    record = Record().with_stop("c0", 9).with_leaving("c0")
    assert record.with_term("c0", 11).stops == {"c0": 11}
    assert record.with_term("c0", 5).stops == {"c0": 9}
    assert record.with_term("c0", 5).leaving == ()


def test_a_record_of_the_first_release_is_read() -> None:
    plain = json.loads(to_json(Record(started_at=3)))
    del plain["verdicts"], plain["leaving"]
    assert from_json(json.dumps(plain)) == Record(started_at=3)
