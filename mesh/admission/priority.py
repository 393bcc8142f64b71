"""Priorities of pods: what a class is worth, and which classes there may be (C18, K5).

Rule: a pod's priority follows from its class when it is made, and never changes after.
"""

from collections.abc import Iterator

from mesh.errors import Violation
from mesh.model.keys import Key
from mesh.v1.core_pb2 import Pod
from mesh.v1.policy_pb2 import PriorityClass
from mesh.view import View

SYSTEM = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
MOST = 1_000_000_000  # of a class that a user makes


def resolve(pod: Pod, view: View) -> Iterator[Violation]:
    """Gives the pod what its class, or the default class, is worth; in place."""
    name = pod.spec.priority_class_name
    found = view.get(Key("PriorityClass", "", name)) if name else default_class(view)
    value, policy = 0, "PreemptLowerPriority"
    if name in SYSTEM:
        value = SYSTEM[name]
    elif isinstance(found, PriorityClass):
        value, policy = found.value, found.preemption_policy or policy
        pod.spec.priority_class_name = found.metadata.name
    elif name:
        yield Violation("spec.priorityClassName", f'there is no PriorityClass "{name}"')
        return
    if pod.spec.HasField("priority") and pod.spec.priority != value:
        yield Violation("spec.priority", f"follows from the priority class, which is worth {value}; leave it out")
    if pod.spec.HasField("preemption_policy") and pod.spec.preemption_policy != policy:
        yield Violation(
            "spec.preemptionPolicy", f'follows from the priority class, which says "{policy}"; leave it out'
        )
    pod.spec.priority, pod.spec.preemption_policy = value, policy


def default_class(view: View) -> PriorityClass | None:
    """The class of pods that name none: of several the one that is worth least."""
    found = [c for c in view.of_kind("PriorityClass") if isinstance(c, PriorityClass) and c.global_default]
    return min(found, key=lambda c: c.value, default=None)


def check(held: PriorityClass, view: View | None = None) -> Iterator[Violation]:
    """What is wrong with a class; with a view, beside the others."""
    name = held.metadata.name
    if name.startswith("system-"):
        yield Violation("metadata.name", 'may not begin with "system-": those classes are there already')
    if held.value > MOST:
        yield Violation("value", f"must be no more than {MOST}")
    other = default_class(view) if view is not None and held.global_default else None
    if other is not None and other.metadata.name != name:
        yield Violation("globalDefault", f'PriorityClass "{other.metadata.name}" is the default already')


def check_change(new: PriorityClass, old: PriorityClass) -> Iterator[Violation]:
    """What pods were given by may not change."""
    if new.value != old.value:
        yield Violation("value", "may not change; delete the class and create it anew")
    if (new.preemption_policy or "PreemptLowerPriority") != (old.preemption_policy or "PreemptLowerPriority"):
        yield Violation("preemptionPolicy", "may not change; delete the class and create it anew")
