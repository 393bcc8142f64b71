"""ReplicaSets and ReplicationControllers: so many pods of one template, no more and no less (C1, C2).

Rule: pure; counts what is there at one revision, makes or removes what is missing or too many. A commit is all or
nothing and costs no API call for each pod, so creation needs no slow start: at most 500 pods in one step.
"""

from collections.abc import Iterable

from mesh.controllers.children import (
    MOST,
    Step,
    claim,
    fresh_name,
    may_be_orphaned,
    owners_named,
    pod_from,
    pods_of,
)
from mesh.controllers.rollout import unavailable_of
from mesh.controllers.victims import first_to_go
from mesh.model.conditions import find, set_condition
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.pods import is_deleting, is_ready, is_terminal
from mesh.model.workloads import available_in, controller_of, is_active, is_available
from mesh.reconcile.plan import NOTHING, Plan
from mesh.store.port import Event
from mesh.v1.apps_pb2 import Deployment, ReplicaSet, ReplicationController
from mesh.v1.core_pb2 import Pod
from mesh.view import View

KINDS = ("ReplicaSet", "ReplicationController")
Replicas = ReplicaSet | ReplicationController


class ReplicaSets:
    """Both kinds; a key without a name stands for the pods of a namespace that nobody controls."""

    name = "replicasets"

    def keys(self, event: Event) -> Iterable[Key]:
        """The set itself, or those that an event about a pod concerns."""
        key = event.key
        if key.kind in KINDS:
            return (key,) if event.object is not None else ()
        if key.kind != "Pod":
            return ()
        found = [Key(kind, key.namespace, name) for kind, name in owners_named(event, KINDS)]
        return [*found, Key("Pod", key.namespace, "")] if may_be_orphaned(event) else found

    def reconcile(self, key: Key, view: View, now_ns: int) -> Plan:
        """The next step of one set, or the adoption of orphans."""
        if key.kind == "Pod":
            return _adopt(key.namespace, view, now_ns)
        held = view.get(key)
        if not isinstance(held, ReplicaSet | ReplicationController):
            return NOTHING
        step = Step(view, now_ns)
        pods = claim(held, step, orphans=held.status.observed_generation != held.metadata.generation)
        if step.writes:
            return Plan(step.writes)  # whose pods they are is settled first
        active = [p for p in pods if is_active(p)]
        if not held.metadata.HasField("deletion_timestamp"):
            _manage(held, active, step)
        wanted = _status(held, pods, active, step)
        step.put(held, wanted)
        step.look_in(available_in(active, held.spec.min_ready_seconds, now_ns))
        return Plan(step.writes, step.again)


def _adopt(namespace: str, view: View, now: int) -> Plan:
    """Every orphan goes to the first set that selects it, whose own step it then is."""
    step = Step(view, now)
    for kind in KINDS:
        for held in view.of_kind(kind, namespace):
            if isinstance(held, ReplicaSet | ReplicationController):
                claim(held, step, orphans=True)
    first = {write.key: write for write in reversed(step.writes)}
    return Plan(list(first.values()))


def _manage(held: Replicas, active: list[Pod], step: Step) -> None:
    missing = held.spec.replicas - len(active)
    if missing > 0:
        for index in range(min(missing, MOST)):
            pod = pod_from(held.spec.template, held, fresh_name(held, step.view, index))
            if not step.make(held, pod):
                step.look_in(10.0)
                break
    elif missing < 0:
        related = _related(held, active, step.view)
        spare = _spare(held, related, step)
        for pod in first_to_go(active, related, step.now)[: min(-missing, MOST)]:
            if is_available(pod, held.spec.min_ready_seconds, step.now):
                spare -= 1
                if spare < 0:
                    step.look_in(1.0)  # pods of other sets decide when it may go
                    return
            step.remove(held, pod)


def _spare(held: Replicas, related: list[Pod], step: Step) -> int:
    """How many available pods may go: between its word and this step others may have failed, and the promise stands."""
    owner = controller_of(held.metadata)
    deployment = step.view.get(Key("Deployment", held.metadata.namespace, owner.name)) if owner is not None else None
    if not isinstance(deployment, Deployment) or deployment.spec.strategy.type == "Recreate":
        return len(related)
    available = sum(is_available(p, deployment.spec.min_ready_seconds, step.now) for p in related)
    return available - (deployment.spec.replicas - unavailable_of(deployment))


def _related(held: Replicas, active: list[Pod], view: View) -> list[Pod]:
    """The pods of all sets of the same Deployment: those that share a node with many of them go first."""
    owner = controller_of(held.metadata)
    if owner is None:
        return active
    sets = [s for s in view.children(owner.uid) if isinstance(s, ReplicaSet)]
    return [p for s in sets for p in pods_of(s, view) if is_active(p)]


def _status(held: Replicas, pods: list[Pod], active: list[Pod], step: Step) -> Replicas:
    wanted = copy_of(held)
    status, labels = wanted.status, held.spec.template.metadata.labels.items()
    status.replicas = len(active)
    status.fully_labeled_replicas = sum(all(p.metadata.labels.get(k) == v for k, v in labels) for p in active)
    status.ready_replicas = sum(is_ready(p) for p in active)
    status.available_replicas = sum(is_available(p, held.spec.min_ready_seconds, step.now) for p in active)
    status.observed_generation = held.metadata.generation
    if isinstance(wanted, ReplicaSet):
        wanted.status.terminating_replicas = sum(is_deleting(p) and not is_terminal(p) for p in pods)
    if step.failure:
        set_condition(
            status.conditions, "ReplicaFailure", "True", now=step.now, reason="FailedCreate", message=step.failure
        )
    elif (failed := find(status.conditions, "ReplicaFailure")) is not None:
        status.conditions.remove(failed)
    return wanted
