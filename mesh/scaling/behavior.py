"""From the replicas that figures ask for to those there shall be: stabilisation, policies of speed, bounds (C16).

Rule: pure; what is remembered comes as a value and goes as a new one. Times are nanoseconds since the epoch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mesh.model.times import SECOND
from mesh.v1.policy_pb2 import (
    HorizontalPodAutoscaler,
    HorizontalPodAutoscalerBehavior,
    HPAScalingPolicy,
    HPAScalingRules,
)

LONGEST = 3600 * SECOND
DOWN_WINDOW = 300  # seconds


@dataclass(frozen=True, slots=True)
class Change:
    """So many replicas at a time: recommended, or added, or removed."""

    at: int
    replicas: int


@dataclass(frozen=True, slots=True)
class Memory:
    """What of the past counts."""

    recommended: tuple[Change, ...] = ()
    added: tuple[Change, ...] = ()
    removed: tuple[Change, ...] = ()

    def scaled(self, now: int, current: int, desired: int) -> "Memory":
        """With a change of size."""
        if desired > current:
            return replace(self, added=(*_since(self.added, now - LONGEST), Change(now, desired - current)))
        return replace(self, removed=(*_since(self.removed, now - LONGEST), Change(now, current - desired)))


@dataclass(frozen=True, slots=True)
class Steadied:
    """What shall be, and why: the conditions AbleToScale and ScalingLimited."""

    replicas: int
    memory: Memory
    able: tuple[str, str]
    limited: bool
    limit: tuple[str, str]


def completed(given: HorizontalPodAutoscalerBehavior) -> HorizontalPodAutoscalerBehavior:
    """The behaviour with Kubernetes' defaults where it says nothing."""
    found = HorizontalPodAutoscalerBehavior()
    found.CopyFrom(given)
    up, down = found.scale_up, found.scale_down
    if not up.HasField("stabilization_window_seconds"):
        up.stabilization_window_seconds = 0
    if not down.HasField("stabilization_window_seconds"):
        down.stabilization_window_seconds = DOWN_WINDOW
    if not up.policies:
        up.policies.add(type="Pods", value=4, period_seconds=15)
        up.policies.add(type="Percent", value=100, period_seconds=15)
    if not down.policies:
        down.policies.add(type="Percent", value=100, period_seconds=15)
    for rules in (up, down):
        if not rules.select_policy:
            rules.select_policy = "Max"
    return found


def steady(held: HorizontalPodAutoscaler, current: int, desired: int, memory: Memory, now: int) -> Steadied:
    """Holds `desired` to the past, to the speed that is allowed and to the bounds."""
    behavior = completed(held.spec.behavior)
    stable = _stabilized(behavior, current, desired, memory, now)
    able = ("ReadyForNewScale", "recommended size matches current size")
    if stable != desired:
        word, way, which = ("Up", "lower", "lowest") if stable < desired else ("Down", "higher", "highest")
        able = (
            f"Scale{word}Stabilized",
            f"recent recommendations were {way} than current one, applying the {which} recent recommendation",
        )
    kept = (*_since(memory.recommended, now - LONGEST), Change(now, desired))
    memory = replace(memory, recommended=kept)
    replicas, limit = _bounded(held, behavior, current, stable, memory, now)
    return Steadied(replicas, memory, able, replicas != stable, limit)


def _stabilized(behavior: HorizontalPodAutoscalerBehavior, current: int, desired: int, memory: Memory, now: int) -> int:
    """No higher than the lowest, and no lower than the highest, of what was recommended lately."""
    up, down = behavior.scale_up.stabilization_window_seconds, behavior.scale_down.stabilization_window_seconds
    lowest = min([desired, *(c.replicas for c in memory.recommended if c.at > now - up * SECOND)])
    highest = max([desired, *(c.replicas for c in memory.recommended if c.at > now - down * SECOND)])
    return min(max(current, lowest), highest)


def _bounded(
    held: HorizontalPodAutoscaler, behavior: HorizontalPodAutoscalerBehavior, current: int, desired: int,
    memory: Memory, now: int,
) -> tuple[int, tuple[str, str]]:  # fmt: skip
    if desired > current:
        most, fastest = held.spec.max_replicas, max(current, up_to(behavior.scale_up, current, memory, now))
        if desired > min(most, fastest):
            if fastest < most:
                return fastest, _fast("ScaleUpLimit", "increasing")
            return most, ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
    elif desired < current:
        least, slowest = held.spec.min_replicas, min(current, down_to(behavior.scale_down, current, memory, now))
        if desired < max(least, slowest):
            if slowest > least:
                return slowest, _fast("ScaleDownLimit", "decreasing")
            return least, ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
    return desired, ("DesiredWithinRange", "the desired count is within the acceptable range")


def _fast(reason: str, way: str) -> tuple[str, str]:
    return reason, f"the desired replica count is {way} faster than the maximum scale rate"


# ---- policies of speed --------------------------------------------------------------------------------------------


def up_to(rules: HPAScalingRules, current: int, memory: Memory, now: int) -> int:
    """The most replicas that there may be now."""

    def allowed(policy: HPAScalingPolicy, began: int) -> int:
        if policy.type == "Pods":
            return began + policy.value
        return math.ceil(began * (100 + policy.value) / 100)

    bounds = _bounds(rules, current, memory, now, allowed)
    return min(bounds) if rules.select_policy == "Min" else max(bounds)


def down_to(rules: HPAScalingRules, current: int, memory: Memory, now: int) -> int:
    """The fewest replicas that there may be now."""

    def allowed(policy: HPAScalingPolicy, began: int) -> int:
        if policy.type == "Pods":
            return began - policy.value
        return began * (100 - policy.value) // 100

    bounds = _bounds(rules, current, memory, now, allowed)
    return max(bounds) if rules.select_policy == "Min" else min(bounds)


def _bounds(
    rules: HPAScalingRules, current: int, memory: Memory, now: int, allowed: Callable[[HPAScalingPolicy, int], int]
) -> list[int]:
    """What each policy allows, by the size at the beginning of its period."""
    if rules.select_policy == "Disabled":
        return [current]
    bounds = []
    for policy in rules.policies:
        since = now - policy.period_seconds * SECOND
        began = current - _sum(memory.added, since) + _sum(memory.removed, since)
        bounds.append(allowed(policy, began))
    return bounds


def _sum(changes: Sequence[Change], since: int) -> int:
    return sum(c.replicas for c in changes if c.at > since)


def _since(changes: Sequence[Change], since: int) -> tuple[Change, ...]:
    return tuple(c for c in changes if c.at > since)
