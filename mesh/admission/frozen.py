"""What of a workload may not change once it is there: an old pod would no longer be its own (C8, C11).

Rule: pure questions of a new and an old workload of one kind.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from mesh.errors import Violation
from mesh.model.writing import to_dict
from mesh.v1.apps_pb2 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from mesh.v1.batch_pb2 import Job

_STATEFUL = ("replicas", "template", "updateStrategy", "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
             "ordinals", "revisionHistoryLimit")  # fmt: skip
_JOB = ("selector", "manualSelector", "template", "completionMode", "podFailurePolicy", "successPolicy",
        "backoffLimitPerIndex", "podReplacementPolicy")  # fmt: skip


def check_change(new: object, old: object) -> Iterator[Violation]:
    """Every field that differs and may not."""
    if isinstance(new, ReplicaSet | Deployment | DaemonSet) and isinstance(old, type(new)):
        yield from _same(_spec(new), _spec(old), ("selector",))
    elif isinstance(new, StatefulSet) and isinstance(old, StatefulSet):
        mine, theirs = _spec(new), _spec(old)
        frozen = [name for name in {**mine, **theirs} if name not in _STATEFUL]
        yield from _same(mine, theirs, frozen)
    elif isinstance(new, Job) and isinstance(old, Job):
        mine, theirs = _spec(new), _spec(old)
        started = old.status.HasField("start_time") or not old.spec.suspend
        yield from _same(mine, theirs, [n for n in _JOB if n != "template" or started])
        elastic = new.spec.completion_mode == "Indexed" and new.spec.completions == new.spec.parallelism
        if new.spec.completions != old.spec.completions and not elastic:
            yield Violation("spec.completions", "may not change, but together with parallelism of an Indexed Job")


def _spec(obj: Any) -> dict[str, Any]:
    spec: dict[str, Any] = to_dict(obj).get("spec", {})
    return spec


def _same(new: dict[str, Any], old: dict[str, Any], names: Iterable[str]) -> Iterator[Violation]:
    for name in names:
        if new.get(name) != old.get(name):
            yield Violation(f"spec.{name}", "may not change; delete the object and create it anew")
