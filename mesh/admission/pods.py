"""Admission of pods: what this release honours, what must hold, and what may change in a pod that exists (A6).

Rule: pure questions of one pod, or of a new and an old one.
"""

from collections.abc import Iterator
from typing import Any

from mesh.errors import Violation
from mesh.model import podchecks, support
from mesh.model.fields import copy_of, transfer
from mesh.model.rules import join
from mesh.model.writing import to_dict
from mesh.v1.core_pb2 import Pod

_MAY_CHANGE = "only image, activeDeadlineSeconds (to be less) and tolerations (to be more) may change in a pod"


def written(pod: Pod) -> tuple[list[Violation], list[str]]:
    """What this release does not honour of a pod as the user wrote it, and warnings; before defaults."""
    return support.check(pod.spec, "spec")


def check(pod: Pod) -> list[Violation]:
    """What is wrong with a completed pod."""
    return podchecks.check(pod.spec, "spec")


def warnings(pod: Pod) -> list[str]:
    """What is allowed and most likely not meant, of a completed pod."""
    return podchecks.warnings(pod.spec, "spec")


def check_change(new: Pod, old: Pod) -> Iterator[Violation]:
    """Row A6: most of a pod's spec never changes."""
    fixed = copy_of(new)
    for name in ("containers", "init_containers"):
        for mine, theirs in zip(getattr(fixed.spec, name), getattr(old.spec, name), strict=False):
            if mine.name == theirs.name:
                mine.image = theirs.image
    fixed.spec.ClearField("tolerations")
    fixed.spec.tolerations.extend(old.spec.tolerations)
    transfer(old.spec, fixed.spec, "active_deadline_seconds")
    if fixed.spec != old.spec:
        for path in _differences(to_dict(fixed.spec), to_dict(old.spec), "spec"):
            yield Violation(path, f"may not change: {_MAY_CHANGE}; delete the pod and create it anew")
    yield from _check_deadline(new, old)
    if any(t not in new.spec.tolerations for t in old.spec.tolerations):
        yield Violation("spec.tolerations", "may only be added to")


def _check_deadline(new: Pod, old: Pod) -> Iterator[Violation]:
    if not old.spec.HasField("active_deadline_seconds"):
        return
    before = old.spec.active_deadline_seconds
    if not new.spec.HasField("active_deadline_seconds") or new.spec.active_deadline_seconds > before:
        yield Violation("spec.activeDeadlineSeconds", f"may only become less than {before}")


def _differences(new: Any, old: Any, path: str) -> Iterator[str]:
    """The paths, as deep as they can be told, at which two values differ."""
    if isinstance(new, dict) and isinstance(old, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            if new.get(key) != old.get(key):
                yield from _differences(new.get(key), old.get(key), join(path, key))
    elif isinstance(new, list) and isinstance(old, list) and len(new) == len(old):
        for index, (mine, theirs) in enumerate(zip(new, old, strict=True)):
            if mine != theirs:
                yield from _differences(mine, theirs, f"{path}[{index}]")
    else:
        yield path
