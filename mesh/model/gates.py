"""Readiness gates (P22): conditions that others than the host write, all of which a Ready pod needs.

Rule: pure. The host judges its containers; whether the pod is Ready is judged here, where both are known, and the
time of the condition moves only with its status (S2).
"""

from collections.abc import Iterator

from mesh.model.conditions import find, is_true, set_condition
from mesh.model.fields import copy_of, transfer
from mesh.v1.core_pb2 import Pod, PodCondition

# What the mesh itself says, which nobody else may.
_OURS = frozenset((
    "Ready", "ContainersReady", "Initialized", "PodScheduled", "PodReadyToStartContainers", "DisruptionTarget",
    "PodResizePending", "PodResizeInProgress",
))  # fmt: skip


def types_of(pod: Pod) -> frozenset[str]:
    """The conditions that others may write in this pod's status."""
    return frozenset(gate.condition_type for gate in pod.spec.readiness_gates) - _OURS


def judge(pod: Pod, before: PodCondition | None, now: int) -> None:
    """Sets Ready of a pod with gates, in place; `before` is what it was, `now` nanoseconds since the epoch."""
    ready = find(pod.status.conditions, "Ready")
    if not pod.spec.readiness_gates or ready is None:
        return
    said = copy_of(ready)
    if before is not None:
        ready.CopyFrom(before)
        transfer(said, ready, "observed_generation")
    status, reason, message = _verdict(pod)
    set_condition(pod.status.conditions, "Ready", status, now=now, reason=reason, message=message)


def _verdict(pod: Pod) -> tuple[str, str, str]:
    containers = find(pod.status.conditions, "ContainersReady")
    if containers is None or not is_true(pod.status.conditions, "ContainersReady"):
        return ("False", containers.reason, containers.message) if containers else ("False", "ContainersNotReady", "")
    lacking = ", ".join(_lacking(pod))
    return ("False", "ReadinessGatesNotReady", lacking) if lacking else ("True", "", "")


def _lacking(pod: Pod) -> Iterator[str]:
    for gate in pod.spec.readiness_gates:
        found = find(pod.status.conditions, gate.condition_type)
        if found is None:
            yield f'corresponding condition of pod readiness gate "{gate.condition_type}" does not exist.'
        elif found.status != "True":
            yield f'the status of pod readiness gate "{gate.condition_type}" is not "True", but {found.status}'
