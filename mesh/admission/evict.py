"""An eviction: a pod is asked to go, if every disruption budget that speaks for it lets it (N7).

Rule: pure. The pod's end and what it spends of the budgets are writes of one commit: who comes second reads the rest.
"""

from mesh.admission.admit import Stamp, delete
from mesh.admission.draft import subject_of
from mesh.errors import Conflict
from mesh.model import budgets
from mesh.model.conditions import set_condition
from mesh.model.fields import copy_of
from mesh.model.kinds import key_of, revision_of
from mesh.model.pods import is_deleting, is_mirror, is_terminal
from mesh.store.port import Write
from mesh.v1.core_pb2 import Pod
from mesh.v1.policy_pb2 import PodDisruptionBudget
from mesh.view import View


def evict(pod: Pod, grace: int | None, view: View, stamp: Stamp) -> list[Write]:
    """The writes of an eviction, none when the pod is going already. `grace` in seconds; None is the pod's own.

    Raises Conflict, naming the budget, when the pod must stay for now; Invalid.
    """
    if is_deleting(pod):
        return []
    spent = [] if _is_free(pod) else [_spend(b, pod) for b in speaking_for(pod, view)]
    told = copy_of(pod)
    set_condition(told.status.conditions, "DisruptionTarget", "True", now=stamp.now, reason="EvictionByEvictionAPI",
                  message="Eviction API: evicting")  # fmt: skip
    wanted = delete(told, grace, view, stamp).object
    return [Write(key_of(pod), wanted, revision_of(pod)), *(w for w in spent if w is not None)]


def speaking_for(pod: Pod, view: View) -> list[PodDisruptionBudget]:
    """The budgets that the pod counts for."""
    found = view.of_kind("PodDisruptionBudget", pod.metadata.namespace)
    return [b for b in found if isinstance(b, PodDisruptionBudget) and budgets.selects(b, pod)]


def _is_free(pod: Pod) -> bool:
    """Whether no budget counts the pod: it serves nobody, or its object only shows a static pod."""
    return is_terminal(pod) or pod.status.phase == "Pending" or is_mirror(pod)


def _spend(budget: PodDisruptionBudget, pod: Pod) -> Write | None:
    if why := budgets.why_not(budget, pod):
        raise Conflict(f"cannot evict {subject_of(pod)}: {why}")
    if budgets.may_go_broken(budget, pod):
        return None
    left = copy_of(budget)
    left.status.disruptions_allowed -= 1
    return Write(key_of(budget), left, revision_of(budget))
