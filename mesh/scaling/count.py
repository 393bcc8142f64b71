"""From what pods use to how many pods there should be: Kubernetes' arithmetic, its rules for missing figures included.

Rule: pure and exact. Ratios are fractions, amounts integers (10⁻⁹ of the unit); a pod is named by its name.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from mesh.model import conditions
from mesh.model.pods import is_deleting
from mesh.model.times import SECOND, from_timestamp
from mesh.v1.core_pb2 import Pod

STARTING = 300 * SECOND  # cpu of a pod this young counts only while it is ready
FIRST_READY = 30 * SECOND  # of an older one that is not ready: whether it ever was is told by this
WINDOW = 15 * SECOND  # what a cpu figure is the average of; one that reaches back before Ready is of the start
_TENTH = Fraction(1, 10)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a ratio may be from 1 without a change."""

    up: Fraction = _TENTH
    down: Fraction = _TENTH

    def holds(self, ratio: Fraction) -> bool:
        """Whether the ratio calls for nothing."""
        return 1 - self.down <= ratio <= 1 + self.up


@dataclass(frozen=True, slots=True)
class Groups:
    """Pods by how their figures count: as they are, as 0 when scaling up, as assumed, not at all."""

    ready: int
    unready: frozenset[str]
    missing: frozenset[str]
    ignored: frozenset[str]


def groups(pods: Iterable[Pod], measured: Mapping[str, int], now: int, *, cpu: bool) -> Groups:
    """Sorts pods; with `cpu`, figures of pods that are just starting are those of unready ones."""
    ready = 0
    unready, missing, ignored = set(), set(), set()
    for pod in pods:
        name = pod.metadata.name
        if is_deleting(pod) or pod.status.phase == "Failed":
            ignored.add(name)
        elif pod.status.phase == "Pending":
            unready.add(name)
        elif name not in measured:
            missing.add(name)
        elif cpu and _is_starting(pod, now):
            unready.add(name)
        else:
            ready += 1
    return Groups(ready, frozenset(unready), frozenset(missing), frozenset(ignored))


def _is_starting(pod: Pod, now: int) -> bool:
    ready = conditions.find(pod.status.conditions, "Ready")
    began = from_timestamp(pod.status.start_time)
    if ready is None or not began:
        return True
    turned = from_timestamp(ready.last_transition_time)
    if began + STARTING > now:
        return ready.status == "False" or now < turned + WINDOW
    return ready.status == "False" and began + FIRST_READY > turned  # it has never been ready


def averaged(
    current: int, measured: Mapping[str, int], pods: Groups, ratio: Callable[[Mapping[str, int]], Fraction],
    assumed: Callable[[str], int], tolerance: Tolerance,
) -> int:  # fmt: skip
    """Replicas by figures of pods. `ratio`: of figures to the target; `assumed`: of a missing pod, when scaling down.

    What is missing or not ready is counted so that it holds a change back, and never turns it round.
    """
    counted = {name: value for name, value in measured.items() if name not in pods.unready | pods.ignored}
    if not counted:
        raise LookupError("no figures of pods that are ready")
    first = ratio(counted)
    with_unready = bool(pods.unready) and first > 1
    if not with_unready and not pods.missing:
        return current if tolerance.holds(first) else math.ceil(first * pods.ready)
    filled = dict(counted)
    for name in pods.missing:
        if first != 1:
            filled[name] = assumed(name) if first < 1 else 0
    if with_unready:
        filled |= dict.fromkeys(pods.unready, 0)
    second = ratio(filled)
    if tolerance.holds(second) or (second < 1) is not (first < 1):
        return current
    wanted = math.ceil(second * len(filled))
    if (second < 1 and wanted > current) or (second > 1 and wanted < current):
        return current
    return wanted


def by_value(current: int, value: int, target: int, ready: int, tolerance: Tolerance) -> int:
    """Replicas by one figure that is the whole's (Object, External), against a target value."""
    ratio = Fraction(value, target)
    if not current:
        return math.ceil(ratio)
    return current if tolerance.holds(ratio) else math.ceil(ratio * ready)


def by_share(replicas: int, value: int, target: int, tolerance: Tolerance) -> int:
    """Replicas by one figure that the pods share, against a target for each."""
    if replicas and tolerance.holds(Fraction(value, target * replicas)):
        return replicas
    return math.ceil(Fraction(value, target))
