"""PodDisruptionBudgets: how many of their pods may be taken away now (C18).

Rule: pure. What is told is an upper bound that only evictions spend (`admission.evict`, in the commit that evicts), so
that two of them at once are never more than it allows.
"""

from collections.abc import Iterable

from mesh.controllers.children import Step
from mesh.model import budgets
from mesh.model.conditions import set_condition
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.kinds import Object
from mesh.model.workloads import controller_of
from mesh.reconcile.plan import NOTHING, Plan
from mesh.store.port import Event
from mesh.v1.apps_pb2 import Deployment, ReplicaSet, ReplicationController, StatefulSet
from mesh.v1.core_pb2 import Pod
from mesh.v1.policy_pb2 import PodDisruptionBudget
from mesh.view import View

KIND = "PodDisruptionBudget"
_SCALED = ("Deployment", "ReplicaSet", "ReplicationController", "StatefulSet")


class Budgets:
    """A key of another kind than the budget's stands for all budgets of a namespace."""

    name = "budgets"

    def __init__(self) -> None:
        self._namespaces: dict[str, int] = {}  # with budgets, and how many

    def keys(self, event: Event) -> Iterable[Key]:
        """The budget itself; those of the namespace when a pod or what makes pods has changed."""
        key = event.key
        if key.kind == KIND:
            came = (event.object is not None) - (event.previous is not None)
            self._namespaces[key.namespace] = max(0, self._namespaces.get(key.namespace, 0) + came)
            return (key,) if event.object is not None else ()
        if key.kind in ("Pod", *_SCALED) and self._namespaces.get(key.namespace):
            return (Key("Namespace", key.namespace, ""),)
        return ()

    def reconcile(self, key: Key, view: View, now_ns: int) -> Plan:
        """The status of one budget, or of all in a namespace."""
        step = Step(view, now_ns)
        found: list[Object | None] = [view.get(key)] if key.kind == KIND else [*view.of_kind(KIND, key.namespace)]
        for held in found:
            if isinstance(held, PodDisruptionBudget):
                step.put(held, _counted(held, step))
        return Plan(step.writes) if step.writes else NOTHING


def _counted(held: PodDisruptionBudget, step: Step) -> PodDisruptionBudget:
    wanted = copy_of(held)
    pods = [p for p in step.view.of_kind("Pod", held.metadata.namespace) if isinstance(p, Pod)]
    mine = [p for p in pods if budgets.selects(held, p)]
    scale, trouble = _scale(mine, step.view) if budgets.needs_scale(held) else (0, "")
    found = budgets.count(held, mine, scale)
    status = wanted.status
    status.observed_generation = held.metadata.generation
    status.expected_pods, status.current_healthy = found.expected, found.healthy
    status.desired_healthy, status.disruptions_allowed = found.desired, 0 if trouble else found.allowed
    reason = "SyncFailed" if trouble else "SufficientPods" if found.allowed else "InsufficientPods"
    holds = "True" if reason == "SufficientPods" else "False"
    set_condition(status.conditions, "DisruptionAllowed", holds, now=step.now, reason=reason, message=trouble)
    for condition in status.conditions:
        condition.observed_generation = held.metadata.generation
    return wanted


def _scale(pods: list[Pod], view: View) -> tuple[int, str]:
    """How many pods their owners should have together; or why that can't be told."""
    owners: dict[str, int] = {}
    for pod in pods:
        owner = _scaled(pod, view)
        if owner is None:
            return 0, f"cannot count pod {pod.metadata.name}: it has no owner with a number of replicas"
        owners[owner.metadata.uid] = owner.spec.replicas
    return sum(owners.values()), ""


def _scaled(pod: Pod, view: View) -> Deployment | ReplicaSet | ReplicationController | StatefulSet | None:
    """What decides how many there are: the set of the pod, or that set's Deployment."""
    owner = _owner(pod, view)
    above = _owner(owner, view) if isinstance(owner, ReplicaSet) else None
    found = above if isinstance(above, Deployment) else owner
    return found if isinstance(found, Deployment | ReplicaSet | ReplicationController | StatefulSet) else None


def _owner(obj: Object, view: View) -> Object | None:
    ref = controller_of(obj.metadata)
    held = view.get(Key(ref.kind, obj.metadata.namespace, ref.name)) if ref is not None else None
    return held if ref is not None and held is not None and held.metadata.uid == ref.uid else None
