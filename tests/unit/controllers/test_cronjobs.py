"""CronJobs in a world that does as the test says: their schedules, and what starts by them (C15)."""

from datetime import UTC, datetime

import pytest

from mesh.model import cron
from mesh.model.times import SECOND
from mesh.v1.batch_pb2 import CronJob
from tests.harness.workshop import START, World


def cron_job(schedule: str = "*/5 * * * *", **spec: object) -> str:
    fields = "".join(f"  {k}: {v}\n" for k, v in spec.items())
    return (
        f"apiVersion: batch/v1\nkind: CronJob\nmetadata: {{name: tick}}\nspec:\n  schedule: '{schedule}'\n{fields}"
        "  jobTemplate:\n    spec:\n      template:\n"
        "        spec: {restartPolicy: Never, containers: [{name: c, image: 'example:1'}]}\n"
    )


def jobs(world: World) -> list[str]:
    return [j.metadata.name for j in world.view.of_kind("Job")]


def minutes(world: World, count: int, *, finish: bool = True) -> None:
    for _ in range(count):
        world.pass_time(60)
        world.obey()
        for pod in world.pods() if finish else []:
            world.ends(pod)
        world.obey()


def test_a_job_a_minute_named_by_its_minute() -> None:
    world = World()
    world.apply(cron_job("*/1 * * * *"))
    started = set()
    for _ in range(10):
        minutes(world, 1)
        started |= set(jobs(world))
    first = START // SECOND // 60
    assert started == {f"tick-{first + i}" for i in range(1, 11)}
    held = world.get("CronJob", "tick")
    assert isinstance(held, CronJob)
    assert held.status.last_schedule_time.seconds == (first + 10) * 60
    assert len(jobs(world)) == 3  # of the history


def test_what_was_missed_starts_once_and_not_at_all_when_it_is_too_old() -> None:
    world = World()
    world.apply(cron_job("*/5 * * * *"))
    world.settle()
    world.pass_time(1800)
    world.settle()
    assert len(jobs(world)) == 1
    late = World()
    late.apply(cron_job("*/5 * * * *", startingDeadlineSeconds=30))
    late.settle()
    late.pass_time(5 * 60 + 40)
    late.settle()
    assert jobs(late) == []


@pytest.mark.parametrize(("policy", "running"), [("Allow", 3), ("Forbid", 1), ("Replace", 1)])
def test_concurrency(policy: str, running: int) -> None:
    world = World()
    world.apply(cron_job("*/1 * * * *", concurrencyPolicy=policy))
    world.settle()
    minutes(world, 3, finish=False)
    assert len(jobs(world)) == running
    latest = f"tick-{START // SECOND // 60 + (1 if policy == 'Forbid' else 3)}"
    assert latest in jobs(world)


def test_suspended_ones_start_nothing() -> None:
    world = World()
    world.apply(cron_job("*/1 * * * *", suspend="true"))
    minutes(world, 3)
    assert jobs(world) == []


def test_time_zones() -> None:
    noon = int(datetime(2026, 7, 1, 0, 0, tzinfo=UTC).timestamp()) * SECOND
    assert cron.next_after("30 6 * * *", "", noon) - noon == 6.5 * 3600 * SECOND
    assert cron.next_after("30 6 * * *", "Europe/Berlin", noon) - noon == 4.5 * 3600 * SECOND
    assert cron.due("@hourly", "", noon, noon + 3 * 3600 * SECOND) == (noon + 3 * 3600 * SECOND, 3)
    assert cron.due("* * * * *", "", noon, noon + 10_000 * 60 * SECOND) == (noon + 10_000 * 60 * SECOND, 101)
    assert cron.due("* * * * *", "", noon, noon + 59 * SECOND) == (None, 0)


@pytest.mark.parametrize(
    "schedule", ["* * * *", "60 * * * *", "@often", "TZ=UTC * * * * *", "* * * * * *", "* * L * *", "", "0 0 31 2 *"]
)
def test_what_is_no_schedule(schedule: str) -> None:
    assert cron.why_not(schedule)


@pytest.mark.parametrize("schedule", ["*/1 * * * *", "@daily", "0 9-17/2 * jan-mar mon,tue", "0 0 ? * *", "5 4 * * 7"])
def test_what_is_one(schedule: str) -> None:
    assert cron.why_not(schedule) == ""


def test_zones_that_are_none() -> None:
    assert cron.zone_why_not("Europe/Berlin") == ""
    for zone in ("Nowhere/Town", "Local", "../etc/passwd"):
        assert cron.zone_why_not(zone)


def _at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("30 2 * * *", "2026-10-24T12:00+02:00", "2026-10-25T02:30+02:00"),  # the first of two
        ("30 2 * * *", "2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"),
        ("30 2 * * *", "2026-10-25T02:10+01:00", "2026-10-26T02:30+01:00"),  # clocks say 02:10 for the second time
        ("*/20 2 * * *", "2026-10-25T02:40+02:00", "2026-10-25T02:00+01:00"),  # one of every so many minutes
        ("30 2 * * *", "2026-03-28T12:00+01:00", "2026-03-29T03:00+02:00"),  # there is no 02:30
        ("0,30 2 * * *", "2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"),
    ],
)
def test_when_clocks_change_a_time_of_day_comes_once(schedule: str, after: str, expected: str) -> None:
    assert cron.next_after(schedule, "Europe/Berlin", _at(after)) == _at(expected)


@pytest.mark.parametrize(
    ("schedule", "after", "until", "expected"),
    [
        ("30 2 * * *", "2026-10-25T02:10+01:00", "2026-10-25T12:00+01:00", (None, 0)),
        ("30 2 * * *", "2026-10-24T12:00+02:00", "2026-10-25T02:10+01:00", ("2026-10-25T02:30+02:00", 1)),
        ("30 2 * * *", "2026-01-01T00:00+01:00", "2026-10-25T02:10+01:00", ("2026-10-25T02:30+02:00", 101)),
        ("*/5 * * * *", "2026-10-01T00:00+02:00", "2026-10-25T02:12+01:00", ("2026-10-25T02:10+01:00", 101)),
    ],
)
def test_what_was_due_while_clocks_changed(
    schedule: str, after: str, until: str, expected: tuple[str | None, int]
) -> None:
    last, count = expected
    found = cron.due(schedule, "Europe/Berlin", _at(after), _at(until))
    assert found == (_at(last) if last else None, count)


def test_a_step_of_days_is_one_of_two_sorts_of_days() -> None:
    after, days = _at("2026-06-01T12:00+00:00"), []
    for _ in range(5):
        after = cron.next_after("0 0 */10 * 1", "", after)
        days.append(datetime.fromtimestamp(after // SECOND, UTC).day)
    assert days == [8, 11, 15, 21, 22]  # Mondays, and 1, 11, 21, 31
    assert cron.next_after("0 0 */1 * 1", "", _at("2026-06-01T12:00+00:00")) == _at("2026-06-08T00:00+00:00")
