"""Admission of pods: what this release honours, what must hold, and what may change in a pod that exists (A6).

Rule: pure questions of one pod, or of a new and an old one.
"""

from collections.abc import Iterator
from typing import Any

from mesh.errors import Violation
from mesh.model import leases, podchecks, restarts, secretchange, support
from mesh.model.annotations import counted
from mesh.model.fields import copy_of, transfer
from mesh.model.pods import DRAIN, LONGEST_DRAIN, is_sidecar, qos_class
from mesh.model.rules import join
from mesh.model.workloads import controller_of
from mesh.model.writing import to_dict
from mesh.v1.core_pb2 import Pod, ResourceRequirements
from mesh.v1.meta_pb2 import ObjectMeta

_MAY_CHANGE = (
    "only image, cpu and memory (in place), activeDeadlineSeconds (to be less), tolerations (to be more) and "
    "schedulingGates (to be fewer) may change in a pod"
)


def written(pod: Pod) -> tuple[list[Violation], list[str]]:
    """What this release does not honour of a pod as the user wrote it, and warnings; before defaults."""
    return support.check(pod.spec, "spec")


def check(pod: Pod) -> list[Violation]:
    """What is wrong with a completed pod."""
    reaction = check_reaction(pod.metadata, "metadata", owned=controller_of(pod.metadata) is not None)
    backoff = restarts.check_annotations(pod.metadata.annotations, "metadata")
    return [*podchecks.check(pod.spec, "spec"), *_check_drain(pod), *_check_lease(pod), *backoff, *reaction]


def check_reaction(meta: ObjectMeta, path: str, *, owned: bool) -> Iterator[Violation]:
    """What a pod or template wants done when a Secret has changed; `owned`: somebody can replace its pods."""
    wanted = meta.annotations.get(secretchange.ANNOTATION, "")
    why = secretchange.refused(wanted) if wanted else ""
    if secretchange.rolls(meta.annotations) and not owned:
        why = "nobody rolls it: only pods of a Deployment, StatefulSet or DaemonSet are; use signal or exec"
    if why:
        yield Violation(f'{path}.annotations["{secretchange.ANNOTATION}"]', why)


def _check_drain(pod: Pod) -> Iterator[Violation]:
    text = pod.metadata.annotations.get(DRAIN, "0")
    asked = counted(text)
    if asked is None or asked > LONGEST_DRAIN:
        where = f'metadata.annotations["{DRAIN}"]'
        yield Violation(where, f'must be a whole number of seconds, 0 to {LONGEST_DRAIN}, is "{text}"')


def _check_lease(pod: Pod) -> Iterator[Violation]:
    if why := leases.refused(pod.metadata.annotations):
        yield Violation(f'metadata.annotations["{leases.SECONDS}"]', why)


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
                if name == "containers" or is_sidecar(mine):
                    _undo_resize(mine.resources, theirs.resources)
    fixed.spec.ClearField("tolerations")
    fixed.spec.tolerations.extend(old.spec.tolerations)
    fixed.spec.ClearField("scheduling_gates")
    fixed.spec.scheduling_gates.extend(old.spec.scheduling_gates)
    transfer(old.spec, fixed.spec, "active_deadline_seconds")
    if fixed.spec != old.spec:
        for path in _differences(to_dict(fixed.spec), to_dict(old.spec), "spec"):
            yield Violation(path, f"may not change: {_MAY_CHANGE}; delete the pod and create it anew")
    yield from _check_deadline(new, old)
    yield from _check_resize(new, old)
    if any(g not in old.spec.scheduling_gates for g in new.spec.scheduling_gates):
        yield Violation("spec.schedulingGates", "may only be taken away")
    if any(t not in new.spec.tolerations for t in old.spec.tolerations):
        yield Violation("spec.tolerations", "may only be added to")


def _undo_resize(mine: ResourceRequirements, theirs: ResourceRequirements) -> None:
    for after, before in ((mine.limits, theirs.limits), (mine.requests, theirs.requests)):
        for name in ("cpu", "memory"):
            after.pop(name, None)
            if name in before:
                after[name] = before[name]


def _check_resize(new: Pod, old: Pod) -> Iterator[Violation]:
    """Row L20: resources may be added and changed, not taken away, and the pod's class stays."""
    for group, mine, theirs in (
        ("containers", new.spec.containers, old.spec.containers),
        ("initContainers", new.spec.init_containers, old.spec.init_containers),
    ):
        for index, (after, before) in enumerate(zip(mine, theirs, strict=False)):
            for kind in ("limits", "requests"):
                gone = set(getattr(before.resources, kind)) - set(getattr(after.resources, kind))
                for name in sorted(gone & {"cpu", "memory"}):
                    yield Violation(
                        f"spec.{group}[{index}].resources.{kind}.{name}", "may be changed, not removed, in a pod"
                    )
    if qos_class(new.spec) != qos_class(old.spec):
        why = f"would make the pod {qos_class(new.spec)}; it is {qos_class(old.spec)}, and its class never changes"
        yield Violation("spec.containers[0].resources", why)


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
