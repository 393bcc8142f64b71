"""The arithmetic of a Deployment: how many pods each of its ReplicaSets should have next (C3, C4).

Rule: pure numbers; a Count is one ReplicaSet, the newest template's is `new`. Never more than replicas + surge pods are
asked for, never fewer than replicas - unavailable of the available ones given up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mesh.model.workloads import share
from mesh.v1.apps_pb2 import Deployment


@dataclass(frozen=True, slots=True)
class Count:
    """One ReplicaSet: what it is asked for, what of it is available and there, and its size limit when last scaled."""

    name: str
    wanted: int
    available: int = 0
    present: int = 0  # pods that are not asked to go yet, be they wanted or not
    limit: int = 0  # of the whole Deployment, replicas + surge, when this set was last scaled; 0: never

    def at(self, wanted: int) -> "Count":
        """The set asked for another number."""
        return replace(self, wanted=wanted)


def surge_of(deployment: Deployment) -> int:
    """How many pods there may be above the replicas; rounded up."""
    if deployment.spec.strategy.type == "Recreate" or not deployment.spec.replicas:
        return 0
    return share(deployment.spec.strategy.rolling_update.max_surge, deployment.spec.replicas, up=True)


def unavailable_of(deployment: Deployment) -> int:
    """How many of the replicas may be missing; rounded down, but 1 when nothing else could move."""
    replicas = deployment.spec.replicas
    if deployment.spec.strategy.type == "Recreate" or not replicas:
        return 0
    missing = share(deployment.spec.strategy.rolling_update.max_unavailable, replicas, up=False)
    if not missing and not surge_of(deployment):
        return 1
    return min(missing, replicas)


def grow(deployment: Deployment, new: Count, old: Sequence[Count]) -> int:
    """What the new set is asked for next: up to what replicas and surge leave room for; never above replicas."""
    replicas = deployment.spec.replicas
    if new.wanted >= replicas:
        return replicas
    if deployment.spec.strategy.type == "Recreate":
        return replicas
    room = replicas + surge_of(deployment) - sum(max(s.wanted, s.present) for s in (new, *old))
    return new.wanted + max(0, min(room, replicas - new.wanted))


def shrink(deployment: Deployment, new: Count, old: Sequence[Count]) -> dict[str, int]:
    """What old sets, oldest first, are asked for next: the broken go first, then what new ones stand in for."""
    least = deployment.spec.replicas - unavailable_of(deployment)
    total = new.wanted + sum(s.wanted for s in old)
    spare = total - least - (new.wanted - min(new.available, new.wanted))
    if spare <= 0:
        return {}
    kept = {s.name: s for s in old}
    for count in old:
        broken = min(spare, count.wanted - min(count.available, count.wanted))
        kept[count.name] = count.at(count.wanted - broken)
        spare -= broken
    healthy = sum(min(s.available, s.wanted) for s in (new, *kept.values())) - least
    for name, count in kept.items():
        given_up = max(0, min(spare, healthy, count.wanted))
        kept[name] = count.at(count.wanted - given_up)
        spare, healthy = spare - given_up, healthy - given_up
    return {s.name: kept[s.name].wanted for s in old if kept[s.name].wanted != s.wanted}


def proportional(deployment: Deployment, sets: Sequence[Count], before: int) -> dict[str, int]:
    """Spreads a change of the replicas over all sets that have pods, each by its share; sets are oldest first.

    `before`: replicas of the status, for sets that were never scaled.
    """
    active = [s for s in sets if s.wanted > 0]
    limit = deployment.spec.replicas + surge_of(deployment) if deployment.spec.replicas else 0
    change = limit - sum(s.wanted for s in active)
    if not change or not active:
        return {}
    younger = {s.name: i for i, s in enumerate(active)}
    order = sorted(active, key=lambda s: (-s.wanted, -younger[s.name] if change > 0 else younger[s.name]))
    added: dict[str, int] = {}
    for count in order:
        fraction = _fraction(count, limit, before) if limit else -count.wanted
        left = change - sum(added.values())
        added[count.name] = min(fraction, left) if change > 0 else max(fraction, left)
    first = order[0]
    added[first.name] += change - sum(added.values())
    return _applied(active, added)


def _applied(active: Sequence[Count], added: Mapping[str, int]) -> dict[str, int]:
    wanted = {s.name: max(0, s.wanted + added[s.name]) for s in active}
    return {s.name: wanted[s.name] for s in active if wanted[s.name] != s.wanted}


def _fraction(count: Count, limit: int, before: int) -> int:
    """What the set gains by its share of the new limit; a half counts as one."""
    whole = count.limit or before
    return (2 * count.wanted * limit + whole) // (2 * whole) - count.wanted if whole else 0
