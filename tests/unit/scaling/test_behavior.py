"""How fast an autoscaler may go, and how long it waits (C16)."""

import pytest

from mesh.model.manifest import load
from mesh.model.times import SECOND
from mesh.scaling.behavior import Change, Memory, steady
from mesh.v1.policy_pb2 import HorizontalPodAutoscaler

NOW = 1_800_000_000 * SECOND


def ago(seconds: float, replicas: int) -> Change:
    return Change(NOW - round(seconds * SECOND), replicas)


def autoscaler(behavior: str = "", least: int = 1, most: int = 100) -> HorizontalPodAutoscaler:
    text = (
        "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: a}, spec: {scaleTargetRef: "
        f"{{kind: Deployment, name: a}}, minReplicas: {least}, maxReplicas: {most}, behavior: {{{behavior}}}}}}}"
    )
    (held,) = load(text, "test").objects
    assert isinstance(held, HorizontalPodAutoscaler)
    return held


@pytest.mark.parametrize(
    ("current", "desired", "expected", "reason"),
    [
        (1, 3, 3, "DesiredWithinRange"),
        (1, 9, 5, "ScaleUpLimit"),  # 4 pods more
        (5, 9, 9, "DesiredWithinRange"),
        (6, 50, 12, "ScaleUpLimit"),  # or twice as many
        (60, 150, 100, "TooManyReplicas"),
        (10, 1, 1, "DesiredWithinRange"),
        (10, 0, 1, "TooFewReplicas"),
    ],
)
def test_defaults(current: int, desired: int, expected: int, reason: str) -> None:
    found = steady(autoscaler(), current, desired, Memory(), NOW)
    assert (found.replicas, found.limit[0], found.limited) == (expected, reason, reason != "DesiredWithinRange")


def test_five_minutes_pass_before_there_are_fewer() -> None:
    held = autoscaler()
    lately = Memory(recommended=(ago(299, 8),))
    found = steady(held, 8, 2, lately, NOW)
    assert (found.replicas, found.able[0]) == (8, "ScaleDownStabilized")
    assert steady(held, 8, 2, Memory(recommended=(ago(299, 5),)), NOW).replicas == 5
    assert steady(held, 8, 2, Memory(recommended=(ago(300, 8),)), NOW).replicas == 2


def test_a_window_for_more_takes_the_lowest_that_was_recommended() -> None:
    held = autoscaler("scaleUp: {stabilizationWindowSeconds: 60}")
    found = steady(held, 4, 8, Memory(recommended=(ago(59, 5), ago(30, 7))), NOW)
    assert (found.replicas, found.able[0]) == (5, "ScaleUpStabilized")
    assert steady(held, 4, 8, Memory(recommended=(ago(59, 2),)), NOW).replicas == 4  # and never fewer for it
    assert steady(held, 4, 8, Memory(recommended=(ago(61, 5),)), NOW).replicas == 8


def test_what_was_added_in_the_period_counts() -> None:
    held = autoscaler("scaleUp: {policies: [{type: Pods, value: 4, periodSeconds: 60}]}")
    assert steady(held, 7, 20, Memory(added=(ago(59, 3),)), NOW).replicas == 8  # 4 + 4
    assert steady(held, 7, 20, Memory(added=(ago(61, 3),)), NOW).replicas == 11
    assert steady(held, 7, 20, Memory(added=(ago(5, 4),), removed=(ago(5, 1),)), NOW).replicas == 8
    assert steady(held, 9, 20, Memory(added=(ago(59, 9),)), NOW).replicas == 9  # never fewer for it


def test_what_was_removed_in_the_period_counts() -> None:
    now = "scaleDown: {stabilizationWindowSeconds: 0, policies: [{type: Percent, value: 10, periodSeconds: 60}]}"
    held = autoscaler(now)
    assert steady(held, 80, 1, Memory(), NOW).replicas == 72
    assert steady(held, 72, 1, Memory(removed=(ago(30, 8),)), NOW).replicas == 72
    assert steady(held, 72, 1, Memory(removed=(ago(61, 8),)), NOW).replicas == 64  # 64.8, cut
    pods = autoscaler(now.replace("Percent, value: 10", "Pods, value: 3"))
    assert steady(pods, 80, 1, Memory(), NOW).replicas == 77
    assert steady(pods, 78, 1, Memory(removed=(ago(30, 2),)), NOW).limit[0] == "ScaleDownLimit"


@pytest.mark.parametrize(("select", "more", "fewer"), [("Max", 20, 5), ("Min", 12, 8), ("Disabled", 10, 10)])
def test_which_policy_counts(select: str, more: int, fewer: int) -> None:
    policies = f"selectPolicy: {select}, policies: [{{type: Pods, value: 2, periodSeconds: 15}}, " \
               "{type: Percent, value: NUMBER, periodSeconds: 15}]"  # fmt: skip
    up, down = policies.replace("NUMBER", "100"), policies.replace("NUMBER", "50")
    held = autoscaler(f"scaleUp: {{{up}}}, scaleDown: {{stabilizationWindowSeconds: 0, {down}}}")
    assert steady(held, 10, 90, Memory(), NOW).replicas == more
    assert steady(held, 10, 1, Memory(), NOW).replicas == fewer


def test_what_is_older_than_an_hour_is_forgotten() -> None:
    kept = steady(autoscaler(), 2, 2, Memory(recommended=(ago(3601, 9), ago(10, 2))), NOW).memory
    assert [c.replicas for c in kept.recommended] == [2, 2]
    scaled = Memory(added=(ago(3601, 9),), removed=(ago(1, 1),)).scaled(NOW, 2, 5)
    assert (scaled.added, scaled.removed) == ((Change(NOW, 3),), (ago(1, 1),))
