"""How many replicas figures ask for: Kubernetes' arithmetic, number by number (C16)."""

from collections.abc import Mapping
from fractions import Fraction

import pytest

from mesh.model.conditions import set_condition
from mesh.model.times import SECOND, to_timestamp
from mesh.scaling.count import Groups, Tolerance, averaged, by_share, by_value, groups
from mesh.v1.core_pb2 import Pod
from tests.harness import objects

NOW = 1_800_000_000 * SECOND
EXACT = Tolerance()


def told(**values: int) -> Mapping[str, int]:
    return values


def sorted_as(ready: int, unready: str = "", missing: str = "", ignored: str = "") -> Groups:
    return Groups(ready, frozenset(unready), frozenset(missing), frozenset(ignored))


def count(current: int, values: Mapping[str, int], pods: Groups, target: int = 100, assumed: int | None = None) -> int:
    """By plain figures against a target for each; a missing pod is assumed to be at the target."""

    def ratio(chosen: Mapping[str, int]) -> Fraction:
        return Fraction(sum(chosen.values()), len(chosen) * target)

    return averaged(current, values, pods, ratio, lambda _: target if assumed is None else assumed, EXACT)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (told(a=200), 2),
        (told(a=110), 1),  # 10 % is tolerated
        (told(a=111), 2),
        (told(a=90, b=90), 2),
        (told(a=89, b=89), 2),  # ceil(1.78)
        (told(a=49, b=50), 1),
        (told(a=150, b=150, c=150), 5),  # ceil(4.5)
        (told(a=0, b=0), 0),  # the bounds are the caller's
    ],
)
def test_ceiling_of_current_times_ratio(values: Mapping[str, int], expected: int) -> None:
    assert count(len(values), values, sorted_as(len(values))) == expected


def test_missing_pods_hold_a_change_back() -> None:
    # up: as if they used nothing; 300/3 is the target, so nothing changes
    assert count(3, told(a=150, b=150), sorted_as(2, missing="c")) == 3
    # still up, but by all three: ceil(400/300 x 3)
    assert count(3, told(a=200, b=200), sorted_as(2, missing="c")) == 4
    # down: as if they used the target; (20+20+100)/300 x 3 = 1.4
    assert count(3, told(a=20, b=20), sorted_as(2, missing="c")) == 2
    # down would become up: left alone
    assert count(3, told(a=80, b=80), sorted_as(2, missing="c"), assumed=1000) == 3


def test_unready_pods_count_as_idle_when_scaling_up_and_not_at_all_when_down() -> None:
    assert count(3, told(a=300, b=10, c=10), sorted_as(1, unready="bc")) == 3  # 300/300
    assert count(3, told(a=400, b=10, c=10), sorted_as(1, unready="bc")) == 4  # ceil(400/300 x 3)
    assert count(3, told(a=40, b=9, c=9), sorted_as(1, unready="bc")) == 1


def test_pods_that_end_count_for_nothing() -> None:
    assert count(2, told(a=200, b=200), sorted_as(1, ignored="b")) == 2


def test_without_a_figure_of_a_ready_pod_there_is_no_answer() -> None:
    with pytest.raises(LookupError):
        count(2, told(a=50), sorted_as(0, unready="a"))
    with pytest.raises(LookupError):
        count(2, {}, sorted_as(0, missing="ab"))


def test_tolerance_of_each_direction() -> None:
    wide = Tolerance(up=Fraction(1, 2), down=Fraction(1, 100))
    assert wide.holds(Fraction(3, 2))
    assert not wide.holds(Fraction(151, 100))
    assert not wide.holds(Fraction(98, 100))


def test_one_figure_of_the_whole() -> None:
    assert by_value(3, 200, 100, ready=3, tolerance=EXACT) == 6
    assert by_value(3, 105, 100, ready=3, tolerance=EXACT) == 3
    assert by_value(4, 200, 100, ready=3, tolerance=EXACT) == 6  # of those that are ready
    assert by_value(0, 250, 100, ready=0, tolerance=EXACT) == 3
    assert by_share(4, 401, 100, EXACT) == 4
    assert by_share(4, 450, 100, EXACT) == 5
    assert by_share(4, 90, 100, EXACT) == 1


# ---- who counts ---------------------------------------------------------------------------------------------------


def pod(name: str, *, began: float, turned: float, ready: bool = True, phase: str = "Running") -> Pod:
    """A pod that began, and whose readiness turned, so many seconds ago."""
    made = objects.pod(name)
    made.status.phase = phase
    made.status.start_time.CopyFrom(to_timestamp(NOW - round(began * SECOND)))
    at = NOW - round(turned * SECOND)
    set_condition(made.status.conditions, "Ready", "True" if ready else "False", now=at)
    return made


def group_of(one: Pod, *, cpu: bool = True, measured: bool = True) -> str:
    found = groups([one], {one.metadata.name: 1} if measured else {}, NOW, cpu=cpu)
    names = {"unready": found.unready, "missing": found.missing, "ignored": found.ignored}
    return next((word for word, members in names.items() if members), "ready" if found.ready == 1 else "")


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (pod("a", began=400, turned=390), "ready"),
        (pod("a", began=20, turned=16), "ready"),
        (pod("a", began=20, turned=14), "unready"),  # its figure reaches back before it was ready
        (pod("a", began=299, turned=100, ready=False), "unready"),  # in its first five minutes
        (pod("a", began=301, turned=100, ready=False), "ready"),  # it was ready once: its load is real
        (pod("a", began=301, turned=290, ready=False), "unready"),  # it has never been
        (pod("a", began=10, turned=10, phase="Pending"), "unready"),
        (pod("a", began=10, turned=10, phase="Failed"), "ignored"),
    ],
)
def test_which_cpu_figures_count(one: Pod, expected: str) -> None:
    assert group_of(one) == expected


def test_other_figures_count_from_the_first() -> None:
    young = pod("a", began=1, turned=1)
    assert group_of(young, cpu=False) == "ready"
    assert group_of(young, cpu=False, measured=False) == "missing"
    young.metadata.deletion_timestamp.seconds = 1
    assert group_of(young, cpu=False) == "ignored"
