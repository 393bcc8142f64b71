"""What rollouts amount to: how far one is, which revisions there were, what its pods wait for.

Rule: pure; judgements are of objects alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mesh.errors import Invalid, NotFound
from mesh.model.conditions import find
from mesh.model.kinds import Object
from mesh.model.pods import is_deleting, is_ready, is_terminal
from mesh.model.workloads import CHANGE_CAUSE, REVISION, is_controlled_by
from mesh.sdk.words import FATAL_WAITING, last_failure, summary, why_waiting
from mesh.v1.apps_pb2 import ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet
from mesh.v1.core_pb2 import Pod, PodTemplateSpec

KINDS = ("Deployment", "DaemonSet", "StatefulSet")


@dataclass(frozen=True, slots=True)
class Progress:
    """How a rollout is, in words."""

    text: str
    done: bool = False
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Revision:
    """One template of a workload's past or present."""

    number: int
    template: PodTemplateSpec
    cause: str = ""

    @property
    def images(self) -> list[str]:
        """Of its containers."""
        return [c.image for c in self.template.spec.containers]


def progress_of(held: Object) -> Progress:
    """kubectl's words for how far a rollout is."""
    if isinstance(held, Deployment):
        return _deployment(held)
    if isinstance(held, DaemonSet):
        return _daemon_set(held)
    if isinstance(held, StatefulSet):
        return _stateful_set(held)
    raise Invalid(f"a {held.DESCRIPTOR.name} has no rollouts; {', '.join(KINDS)} have")


def _deployment(held: Deployment) -> Progress:
    name, status, replicas = held.metadata.name, held.status, held.spec.replicas
    if status.observed_generation < held.metadata.generation:
        return Progress("Waiting for deployment spec update to be observed...")
    condition = find(status.conditions, "Progressing")
    if condition is not None and condition.reason == "ProgressDeadlineExceeded":
        return Progress(f'error: deployment "{name}" exceeded its progress deadline', failed=True)
    begun = f'Waiting for deployment "{name}" rollout to finish: '
    if status.updated_replicas < replicas:
        more = f"{status.updated_replicas} out of {replicas} new replicas have been updated..."
        return Progress(begun + more)
    if status.replicas > status.updated_replicas:
        return Progress(f"{begun}{status.replicas - status.updated_replicas} old replicas are pending termination...")
    if status.available_replicas < status.updated_replicas:
        more = f"{status.available_replicas} of {status.updated_replicas} updated replicas are available..."
        return Progress(begun + more)
    return Progress(f'deployment "{name}" successfully rolled out', done=True)


def _daemon_set(held: DaemonSet) -> Progress:
    name, status = held.metadata.name, held.status
    if held.spec.update_strategy.type != "RollingUpdate":
        raise Invalid(f"rollout status of {name} says nothing: its updateStrategy is {held.spec.update_strategy.type}")
    if status.observed_generation < held.metadata.generation:
        return Progress("Waiting for daemon set spec update to be observed...")
    wanted, begun = status.desired_number_scheduled, f'Waiting for daemon set "{name}" rollout to finish: '
    if status.updated_number_scheduled < wanted:
        return Progress(f"{begun}{status.updated_number_scheduled} out of {wanted} new pods have been updated...")
    if status.number_available < wanted:
        return Progress(f"{begun}{status.number_available} of {wanted} updated pods are available...")
    return Progress(f'daemon set "{name}" successfully rolled out', done=True)


def _stateful_set(held: StatefulSet) -> Progress:
    name, status, replicas = held.metadata.name, held.status, held.spec.replicas
    if held.spec.update_strategy.type != "RollingUpdate":
        raise Invalid(f"rollout status of {name} says nothing: its updateStrategy is {held.spec.update_strategy.type}")
    if status.observed_generation < held.metadata.generation:
        return Progress("Waiting for statefulset spec update to be observed...")
    if status.ready_replicas < replicas:
        return Progress(f"Waiting for {replicas - status.ready_replicas} pods to be ready...")
    partition = held.spec.update_strategy.rolling_update.partition
    if partition:
        wanted = max(0, replicas - partition)
        if status.updated_replicas < wanted:
            return Progress(f"Waiting for partitioned roll out to finish: {status.updated_replicas} out of {wanted} "
                            "new pods have been updated...")  # fmt: skip
        return Progress(f"partitioned roll out complete: {status.updated_replicas} new pods have been updated...", True)
    if status.update_revision != status.current_revision:
        return Progress(f"waiting for statefulset rolling update to complete {status.updated_replicas} pods at "
                        f"revision {status.update_revision}...")  # fmt: skip
    return Progress(f"statefulset rolling update complete {status.current_replicas} pods at revision "
                    f"{status.current_revision}...", True)  # fmt: skip


def troubles(pods: Iterable[Pod]) -> list[str]:
    """Of each pod that is not ready, why, in one line."""
    return [trouble(pod) for pod in pods if not _is_well(pod)]


def _is_well(pod: Pod) -> bool:
    return is_ready(pod) or pod.status.phase == "Succeeded" or is_deleting(pod)


def trouble(pod: Pod) -> str:
    """Why a pod is not ready, in one line."""
    container, reason, message = why_waiting(pod)
    ended = last_failure(pod, container) if container else ""
    why = ": ".join(filter(None, (reason, message or ended or _unplaced(pod))))
    over = pod.status.message if is_terminal(pod) else ""
    return f"pod/{pod.metadata.name}: {why or over or summary(pod).status}"


def held_up(pod: Pod) -> str:
    """The reason for which a pod does not get on and which does not mend itself soon; "" while there is none."""
    if _is_well(pod):
        return ""
    reason = why_waiting(pod)[1]
    if reason in FATAL_WAITING:
        return reason
    return "Unschedulable" if _unplaced(pod) else ""


def _unplaced(pod: Pod) -> str:
    said = find(pod.status.conditions, "PodScheduled")
    return said.message if said is not None and said.status == "False" else ""


def of_deployment(held: Object, sets: Iterable[ReplicaSet]) -> list[Revision]:
    """What a Deployment was and is, oldest first, of the ReplicaSets of its namespace."""
    mine = [s for s in sets if is_controlled_by(s, held)]
    texts = [(s, s.metadata.annotations.get(REVISION, "")) for s in mine]
    return _sorted(_revision(int(t), s.spec.template, s.metadata.annotations) for s, t in texts if t.isdigit())


def of_others(held: Object, kept: Iterable[ControllerRevision]) -> list[Revision]:
    """What a DaemonSet or StatefulSet was and is, oldest first."""
    mine = [k for k in kept if is_controlled_by(k, held)]
    return _sorted(_revision(k.revision, k.data.spec.template, k.metadata.annotations) for k in mine)


def _revision(number: int, template: PodTemplateSpec, annotations: Mapping[str, str]) -> Revision:
    return Revision(number, template, annotations.get(CHANGE_CAUSE, ""))


def _sorted(found: Iterable[Revision]) -> list[Revision]:
    return sorted(found, key=lambda r: r.number)


def before(held: Object, known: Sequence[Revision], number: int) -> Revision:
    """The revision to go back to: the one of this number, or the last but one; raises NotFound or Invalid."""
    if isinstance(held, Deployment) and held.spec.paused:
        raise Invalid(
            f"cannot roll back a paused deployment; resume it first: mesh rollout resume {held.metadata.name}"
        )
    if number:
        found = next((r for r in known if r.number == number), None)
        if found is None:
            raise NotFound(f"{held.metadata.name} has no revision {number}; `mesh rollout history` lists them")
        return found
    if len(known) < 2:
        raise NotFound(f"{held.metadata.name} has no earlier revision")
    return known[-2]
