"""How much of an application may be taken away on purpose: the arithmetic of PodDisruptionBudgets (C18, N7).

Rule: pure questions of one budget and its pods. Where Kubernetes refuses a pod that two budgets speak for, here all of
them have to agree.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from mesh.model.pods import is_deleting, is_ready, is_terminal
from mesh.model.selectors import matches
from mesh.model.workloads import share
from mesh.v1.core_pb2 import Pod
from mesh.v1.policy_pb2 import PodDisruptionBudget


@dataclass(frozen=True, slots=True)
class Count:
    """What a budget amounts to: pods that count, those that are healthy, those that must be, how many may go."""

    expected: int
    healthy: int
    desired: int
    allowed: int


def selects(budget: PodDisruptionBudget, pod: Pod) -> bool:
    """Whether the budget speaks for the pod: an empty selector means all of the namespace, an absent one nobody."""
    if pod.metadata.namespace != budget.metadata.namespace or not budget.spec.HasField("selector"):
        return False
    return matches(budget.spec.selector, pod.metadata.labels)


def needs_scale(budget: PodDisruptionBudget) -> bool:
    """Whether it is a share of what the pods' owners should have: then each pod needs one."""
    spec = budget.spec
    if spec.HasField("max_unavailable"):
        return True
    return spec.min_available.WhichOneof("kind") == "string_value"


def count(budget: PodDisruptionBudget, pods: Iterable[Pod], scale: int) -> Count:
    """The budget over its pods; `scale`: how many their owners should have. Shares are rounded up."""
    counted = [p for p in pods if not is_terminal(p)]
    healthy = sum(is_ready(p) and not is_deleting(p) for p in counted)
    expected = scale if needs_scale(budget) else len(counted)
    if budget.spec.HasField("max_unavailable"):
        desired = max(0, expected - share(budget.spec.max_unavailable, expected, up=True))
    elif budget.spec.HasField("min_available"):
        desired = share(budget.spec.min_available, expected, up=True)
    else:
        return Count(0, healthy, 0, 0)  # who says nothing allows nothing
    allowed = max(0, healthy - desired) if expected > 0 else 0
    return Count(expected, healthy, desired, allowed)


def may_go_broken(budget: PodDisruptionBudget, pod: Pod) -> bool:
    """Whether the pod, which is not ready, may go without being counted (unhealthyPodEvictionPolicy)."""
    if is_ready(pod):
        return False
    if budget.spec.unhealthy_pod_eviction_policy == "AlwaysAllow":
        return True
    status = budget.status
    return status.desired_healthy > 0 and status.current_healthy >= status.desired_healthy


def why_not(budget: PodDisruptionBudget, pod: Pod) -> str:
    """Why the budget does not let the pod go now; "" when it does. To be asked of pods that it speaks for."""
    name = f'the disruption budget "{budget.metadata.name}"'
    if may_go_broken(budget, pod):
        return ""
    if budget.status.observed_generation < budget.metadata.generation:
        return f"{name} has changed and is still being counted"
    if budget.status.disruptions_allowed <= 0:
        need, have = budget.status.desired_healthy, budget.status.current_healthy
        return f"{name} needs {need} healthy pods and has {have}"
    return ""
