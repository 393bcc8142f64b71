"""The arithmetic of a rolling update, in numbers (C3)."""

import pytest

from mesh.controllers.rollout import Count, grow, proportional, shrink, surge_of, unavailable_of
from mesh.v1.apps_pb2 import Deployment
from mesh.v1.meta_pb2 import IntOrString


def deployment(replicas: int, surge: str | int = "25%", unavailable: str | int = "25%") -> Deployment:
    made = Deployment()
    made.spec.replicas = replicas
    made.spec.strategy.type = "RollingUpdate"
    made.spec.strategy.rolling_update.max_surge.CopyFrom(_value(surge))
    made.spec.strategy.rolling_update.max_unavailable.CopyFrom(_value(unavailable))
    return made


def _value(value: str | int) -> IntOrString:
    return IntOrString(string_value=value) if isinstance(value, str) else IntOrString(int_value=value)


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [(4, "25%", "25%", (1, 1)), (10, "25%", "25%", (3, 2)), (3, "25%", "25%", (1, 0)), (5, 0, "10%", (0, 1)),
     (2, 3, 5, (3, 2)), (0, "25%", "25%", (0, 0)), (3, "34%", "34%", (2, 1))],
)  # fmt: skip
def test_surge_rounds_up_and_unavailable_down_and_one_of_them_is_not_0(
    replicas: int, surge: str | int, unavailable: str | int, expected: tuple[int, int]
) -> None:
    made = deployment(replicas, surge, unavailable)
    assert (surge_of(made), unavailable_of(made)) == expected


def test_the_new_set_grows_into_what_the_old_ones_leave_free() -> None:
    assert grow(deployment(10), Count("new", 0), [Count("old", 10, 10)]) == 3
    assert grow(deployment(10), Count("new", 3), [Count("old", 8, 8)]) == 5
    assert grow(deployment(10), Count("new", 3), [Count("old", 10, 10)]) == 3
    assert grow(deployment(10), Count("new", 9), [Count("old", 0)]) == 10
    assert grow(deployment(4), Count("new", 6), []) == 4
    assert grow(deployment(10), Count("new", 3), [Count("old", 8, 8, present=10)]) == 3  # they are not gone yet


def test_old_sets_shrink_by_what_stays_available() -> None:
    assert shrink(deployment(10), Count("new", 3, 0), [Count("old", 10, 10)]) == {"old": 8}
    assert shrink(deployment(10), Count("new", 3, 0), [Count("old", 8, 8)]) == {}
    assert shrink(deployment(10), Count("new", 5, 3), [Count("old", 8, 8)]) == {"old": 5}
    assert shrink(deployment(10), Count("new", 10, 10), [Count("old", 2, 2)]) == {"old": 0}


def test_broken_old_pods_go_first_and_count_for_nothing() -> None:
    old = [Count("older", 4, 0), Count("old", 6, 6)]
    assert shrink(deployment(10, 3, 2), Count("new", 3, 0), old) == {"older": 2}
    assert shrink(deployment(10, 0, 4), Count("new", 0, 0), [Count("a", 5, 5), Count("b", 5, 1)]) == {"b": 1}


def test_a_change_of_replicas_is_spread_by_size() -> None:
    sets = [Count("old", 5, 5, limit=13), Count("new", 8, 8, limit=13)]
    wanted = proportional(deployment(20), sets, 10)
    assert sum(wanted.values()) == 25
    assert wanted == {"old": 10, "new": 15}
    down = proportional(deployment(5), sets, 10)
    assert sum(down.values()) == 7
    assert proportional(deployment(0), sets, 10) == {"old": 0, "new": 0}


@pytest.mark.parametrize(
    ("replicas", "sets", "wanted"),
    [
        (5, [Count("old", 1, 1, limit=2), Count("new", 1, 1, limit=2)], {"old": 2, "new": 3}),
        (10, [Count("old", 5, 5, limit=20), Count("new", 15, 15, limit=20)], {"old": 3, "new": 7}),
        (10, [Count("old", 9, 9, limit=20), Count("new", 11, 11, limit=20)], {"old": 5, "new": 5}),
    ],
)
def test_half_a_pod_of_a_share_counts_as_a_whole_one(replicas: int, sets: list[Count], wanted: dict[str, int]) -> None:
    assert proportional(deployment(replicas, 0), sets, 0) == wanted
