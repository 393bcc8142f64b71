"""Which pods go first when there are too many (C2).

Rule: pure; a total order over pods, so that the same view gives the same victims.
"""

import math
from collections import Counter
from collections.abc import Iterable
from functools import cmp_to_key

from mesh.model.pods import is_ready
from mesh.model.times import SECOND, from_timestamp
from mesh.model.workloads import ready_since
from mesh.v1.core_pb2 import Pod

COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def first_to_go(pods: Iterable[Pod], related: Iterable[Pod], now: int) -> list[Pod]:
    """The pods in the order in which they are given up; `related`: pods of the same application on their nodes."""
    crowd = Counter(p.spec.node_name for p in related)

    def compare(one: Pod, other: Pod) -> int:
        mine, theirs = _standing(one, crowd), _standing(other, crowd)
        if mine != theirs:
            return -1 if mine < theirs else 1
        if is_ready(one) and is_ready(other) and (less := _younger(ready_since(one), ready_since(other), now)):
            return less or _by_uid(one, other)
        if (restarts := _restarts(other) - _restarts(one)) != 0:
            return restarts
        return _younger(_born(one), _born(other), now) or _by_uid(one, other)

    return sorted(pods, key=cmp_to_key(compare))


def cost_of(pod: Pod) -> int:
    """What losing the pod costs, by its annotation; 0 when it says nothing readable."""
    try:
        return int(pod.metadata.annotations.get(COST, "0"))
    except ValueError:
        return 0


def _standing(pod: Pod, crowd: Counter[str]) -> tuple[int, ...]:
    return (
        bool(pod.spec.node_name),
        _PHASES.get(pod.status.phase, 2),
        is_ready(pod),
        cost_of(pod),
        -crowd[pod.spec.node_name],
    )


def _younger(one: int, other: int, now: int) -> int:
    """Negative when the first is younger by a power of two; ages of one bucket are equal."""
    return _bucket(one, now) - _bucket(other, now)


def _bucket(since: int, now: int) -> int:
    seconds = max(0, now - since) / SECOND
    return -1 if seconds < 1 else int(math.log2(seconds))


def _by_uid(one: Pod, other: Pod) -> int:
    return -1 if one.metadata.uid < other.metadata.uid else 1


def _restarts(pod: Pod) -> int:
    return max((s.restart_count for s in pod.status.container_statuses), default=0)


def _born(pod: Pod) -> int:
    return from_timestamp(pod.metadata.creation_timestamp)
