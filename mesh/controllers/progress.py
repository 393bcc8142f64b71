"""What a Deployment says of itself: counts, whether it is available, whether its rollout moves on (C6, C7).

Rule: pure; changes the status of the copy it is given. A rollout that has not moved for progressDeadlineSeconds is
said to have failed, and stays as it is: nothing healthy is given up for it, nothing is rolled back.
"""

from dataclasses import dataclass

from mesh.controllers.children import Step
from mesh.controllers.rollout import unavailable_of
from mesh.model.conditions import find, set_condition
from mesh.model.pods import is_deleting, is_ready, is_terminal
from mesh.model.times import SECOND, from_timestamp, whole_seconds
from mesh.model.workloads import is_active, is_available
from mesh.v1.apps_pb2 import Deployment, DeploymentStatus, ReplicaSet
from mesh.v1.core_pb2 import Pod

COMPLETE = "NewReplicaSetAvailable"
LATE = "ProgressDeadlineExceeded"
_NO_DEADLINE = 2**31 - 1


@dataclass(frozen=True, slots=True)
class _Teller:
    """Sets conditions of one status at one time."""

    status: DeploymentStatus
    now: int

    def say(self, type_: str, value: str, reason: str, message: str, *, fresh: bool = False) -> None:
        """Sets a condition; its lastUpdateTime moves when anything of it does, or when it is `fresh`."""
        changed = set_condition(
            self.status.conditions, type_, value, now=self.now, reason=reason, message=message
        )  # fmt: skip
        held = find(self.status.conditions, type_)
        if held is not None and (changed or fresh):
            held.last_update_time.CopyFrom(whole_seconds(self.now))


def describe(wanted: Deployment, new: ReplicaSet | None, old: list[ReplicaSet], pods: dict[str, list[Pod]],
             step: Step) -> None:  # fmt: skip
    """Fills the status; looks again when the deadline may pass by time alone."""
    before = DeploymentStatus()
    before.CopyFrom(wanted.status)
    _count(wanted, new, pods, step.now)
    tell = _Teller(wanted.status, step.now)
    status, replicas = wanted.status, wanted.spec.replicas
    if status.available_replicas >= replicas - unavailable_of(wanted):
        tell.say("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        text = "Deployment does not have minimum availability."
        tell.say("Available", "False", "MinimumReplicasUnavailable", text)
    _failure(tell, new, old)
    if wanted.spec.progress_deadline_seconds != _NO_DEADLINE:
        _progress(wanted, before, new, tell)
        _check_deadline(wanted, new, step, tell)


def is_complete(held: Deployment) -> bool:
    """Whether every pod is of the newest template and available, and no other is left."""
    status, replicas = held.status, held.spec.replicas
    counts = (status.updated_replicas, status.replicas, status.available_replicas)
    return counts == (replicas,) * 3 and status.observed_generation >= held.metadata.generation


def _count(wanted: Deployment, new: ReplicaSet | None, pods: dict[str, list[Pod]], now: int) -> None:
    status = wanted.status
    every = [p for group in pods.values() for p in group]
    active = [p for p in every if is_active(p)]
    status.observed_generation = wanted.metadata.generation
    status.replicas = len(active)
    status.updated_replicas = sum(is_active(p) for p in pods[new.metadata.name]) if new is not None else 0
    status.ready_replicas = sum(is_ready(p) for p in active)
    status.available_replicas = sum(is_available(p, wanted.spec.min_ready_seconds, now) for p in active)
    status.unavailable_replicas = max(0, len(active) - status.available_replicas)
    status.terminating_replicas = sum(is_deleting(p) and not is_terminal(p) for p in every)


def _failure(tell: _Teller, new: ReplicaSet | None, old: list[ReplicaSet]) -> None:
    """A ReplicaSet that cannot make pods says so for its Deployment."""
    for held in [*([new] if new is not None else []), *old]:
        failed = find(held.status.conditions, "ReplicaFailure")
        if failed is not None and failed.status == "True":
            tell.say("ReplicaFailure", "True", failed.reason, failed.message)
            return
    gone = find(tell.status.conditions, "ReplicaFailure")
    if gone is not None:
        tell.status.conditions.remove(gone)


def _progress(wanted: Deployment, before: DeploymentStatus, new: ReplicaSet | None, tell: _Teller) -> None:
    status, name = wanted.status, _name(wanted, new)
    held = find(status.conditions, "Progressing")
    if wanted.spec.paused:
        if held is None or held.reason != LATE:
            tell.say("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")
        return
    if held is not None and held.reason == "DeploymentPaused":
        tell.say("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed")
    if new is None:
        if held is None:
            tell.say("Progressing", "True", "ReplicaSetUpdated", f"{name} is progressing.")
    elif is_complete(wanted):
        tell.say("Progressing", "True", COMPLETE, f"{name} has successfully progressed.")
    elif held is None or (held.reason == COMPLETE and not held.message.startswith(name)):
        tell.say("Progressing", "True", "NewReplicaSetCreated", f"Created new {name}.", fresh=True)
    elif held.reason != COMPLETE and _has_moved(before, status):
        tell.say("Progressing", "True", "ReplicaSetUpdated", f"{name} is progressing.", fresh=True)


def _name(wanted: Deployment, new: ReplicaSet | None) -> str:
    return f'ReplicaSet "{new.metadata.name}"' if new is not None else f'Deployment "{wanted.metadata.name}"'


def _check_deadline(wanted: Deployment, new: ReplicaSet | None, step: Step, tell: _Teller) -> None:
    condition = find(wanted.status.conditions, "Progressing")
    if condition is None or condition.reason in (COMPLETE, LATE) or is_complete(wanted):
        return
    deadline = from_timestamp(condition.last_update_time) + wanted.spec.progress_deadline_seconds * SECOND
    if step.now > deadline:
        tell.say("Progressing", "False", LATE, f"{_name(wanted, new)} has timed out progressing.")
    else:
        step.look_in((deadline - step.now) / SECOND + 1)


def _has_moved(before: DeploymentStatus, now: DeploymentStatus) -> bool:
    left, left_before = now.replicas - now.updated_replicas, before.replicas - before.updated_replicas
    return (
        now.updated_replicas > before.updated_replicas
        or left < left_before
        or now.ready_replicas > before.ready_replicas
        or now.available_replicas > before.available_replicas
    )
