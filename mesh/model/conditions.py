"""Conditions of a status: find one, set one.

Rule: lastTransitionTime moves only when the status of the condition does (S2).
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeVar

from mesh.model.times import whole_seconds
from mesh.v1.apps_pb2 import DeploymentCondition
from mesh.v1.batch_pb2 import JobCondition
from mesh.v1.core_pb2 import NodeCondition, PodCondition
from mesh.v1.meta_pb2 import Condition

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

C = TypeVar("C", PodCondition, NodeCondition, Condition, DeploymentCondition, JobCondition)


def find(conditions: Iterable[C], type_: str) -> C | None:
    """The condition of this type, or None."""
    return next((c for c in conditions if c.type == type_), None)


def is_true(conditions: Iterable[C], type_: str) -> bool:
    """Whether there is such a condition and its status is "True"."""
    return any(c.type == type_ and c.status == "True" for c in conditions)


def status_of(conditions: Iterable[C], type_: str) -> str:
    """ "True", "False" or "Unknown"; empty when there is no such condition."""
    return next((c.status for c in conditions if c.type == type_), "")


def set_condition(
    conditions: "RepeatedCompositeFieldContainer[C]",
    type_: str,
    status: str,
    *,
    now: int,
    reason: str = "",
    message: str = "",
) -> bool:
    """Sets the condition of this type in place, adding it when absent; `now` in nanoseconds since the epoch.

    Returns whether anything but times changed.
    """
    found = find(conditions, type_)
    if found is None:
        found = conditions.add(type=type_)
    changed = (found.status, found.reason, found.message) != (status, reason, message)
    if found.status != status:
        found.status = status
        found.last_transition_time.CopyFrom(whole_seconds(now))
    for name, value in (("reason", reason), ("message", message)):
        if value:
            setattr(found, name, value)
        else:
            found.ClearField(name)  # type: ignore[arg-type] # both are fields of every condition
    return changed
