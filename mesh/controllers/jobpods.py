"""What the pods of a Job amount to: which ended how, what its failure policy says, who waits how long (C11-C14).

Rule: pure questions of one Job and its pods. A pod counts once: it carries a finalizer until the commit that counts it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from mesh.model import indexes
from mesh.model.annotations import counted
from mesh.model.conditions import find
from mesh.model.fields import copy_of
from mesh.model.pods import is_deleting, is_terminal
from mesh.model.times import SECOND, from_timestamp
from mesh.v1.batch_pb2 import Job, PodFailurePolicyRule
from mesh.v1.core_pb2 import ContainerStatus, EnvVar, Pod

TRACKING = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
INDEX_FAILURES = "batch.kubernetes.io/job-index-failure-count"
FIRST_PAUSE, LONGEST_PAUSE = 10, 600  # seconds (C11)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the failure policy says of a failed pod: Count, Ignore, FailIndex or FailJob, and for that one why."""

    action: str
    message: str = ""


def is_indexed(job: Job) -> bool:
    """Whether each completion has a number of its own."""
    return job.spec.completion_mode == "Indexed"


def index_of(pod: Pod) -> int | None:
    """The completion index that the pod works on."""
    return counted(pod.metadata.annotations.get(INDEX))


def is_counted(pod: Pod) -> bool:
    """Whether the pod's end is in the Job's counts already."""
    return TRACKING not in pod.metadata.finalizers


def has_succeeded(pod: Pod) -> bool:
    """Whether the pod ended well."""
    return pod.status.phase == "Succeeded"


def has_failed(pod: Pod, job: Job) -> bool:
    """Whether the pod counts as failed: it has, or it is going and is replaced without waiting for its end."""
    if pod.status.phase == "Failed":
        return True
    replaced = job.spec.pod_replacement_policy != "Failed"
    return replaced and is_deleting(pod) and not has_succeeded(pod)


def ended_at(pod: Pod) -> int:
    """When the pod's last container ended, in nanoseconds; when it was asked to go, or made, for want of better."""
    ends = [from_timestamp(s.state.terminated.finished_at) for s in pod.status.container_statuses]
    meta = pod.metadata
    asked = from_timestamp(meta.deletion_timestamp) - meta.deletion_grace_period_seconds * SECOND
    return max(ends, default=0) or max(asked, 0) or from_timestamp(pod.metadata.creation_timestamp)


def pause(failed: Iterable[Pod], succeeded: Iterable[Pod], now: int) -> float:
    """Seconds until a pod may be made again: 10 s, doubling with each failure since the last success, to 10 min."""
    last_success = max((ended_at(p) for p in succeeded), default=0)
    ends = [t for t in map(ended_at, failed) if t > last_success]
    if not ends:
        return 0.0
    seconds = min(FIRST_PAUSE << min(len(ends) - 1, 10), LONGEST_PAUSE)
    return max(0.0, (max(ends) - now) / SECOND + seconds)


def restarts(pods: Iterable[Pod]) -> int:
    """How often containers of running pods were started again."""
    running = [p for p in pods if p.status.phase in ("Running", "Pending")]
    return sum(
        s.restart_count for p in running for s in (*p.status.init_container_statuses, *p.status.container_statuses)
    )


def verdict(pod: Pod, job: Job) -> Verdict:
    """The first rule that matches decides; Count without one (C14)."""
    if not is_terminal(pod):
        return Verdict("Count")
    for number, rule in enumerate(job.spec.pod_failure_policy.rules):
        if (why := _matches(rule, pod)) is not None:
            name = f"{pod.metadata.namespace}/{pod.metadata.name}"
            return Verdict(rule.action, f"{why.format(name=name)} matching {rule.action} rule at index {number}")
    return Verdict("Count")


def without_tracking(pod: Pod) -> Pod:
    """The pod once it is counted."""
    counted = copy_of(pod)
    counted.metadata.finalizers.remove(TRACKING)
    return counted


def number(pod: Pod, job: Job, index: int, failures: int) -> None:
    """Makes the pod the one of a completion index (C13)."""
    pod.metadata.labels[INDEX] = pod.metadata.annotations[INDEX] = str(index)
    if job.spec.HasField("backoff_limit_per_index"):
        pod.metadata.annotations[INDEX_FAILURES] = str(failures)
    pod.spec.hostname = f"{job.metadata.name}-{index}"
    for container in (*pod.spec.init_containers, *pod.spec.containers):
        if not any(e.name == "JOB_COMPLETION_INDEX" for e in container.env):
            env = EnvVar(name="JOB_COMPLETION_INDEX")
            env.value_from.field_ref.field_path = f"metadata.labels['{INDEX}']"
            container.env.append(env)


def index_failures(pods: Iterable[Pod], index: int) -> int:
    """How often the index has failed, as its last failed pod and its predecessors say."""
    counts = [
        (counted(p.metadata.annotations.get(INDEX_FAILURES)) or 0) + 1
        for p in pods
        if index_of(p) == index and (p.status.phase == "Failed" or is_deleting(p))
    ]
    return max(counts, default=0)


def criteria_met(job: Job, completed: set[int]) -> bool:
    """Whether a rule of the success policy is satisfied (C13)."""
    for rule in job.spec.success_policy.rules:
        of = indexes.ranges(rule.succeeded_indexes) if rule.HasField("succeeded_indexes") else None
        done = len(completed) if of is None else sum(any(n in part for part in of) for n in completed)
        needed = rule.succeeded_count if rule.HasField("succeeded_count") else sum(len(part) for part in of or ())
        if done >= needed:
            return True
    return False


def _matches(rule: PodFailurePolicyRule, pod: Pod) -> str | None:
    if rule.HasField("on_exit_codes"):
        wanted = rule.on_exit_codes
        for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
            code = _exit_code(status)
            if not code or wanted.container_name not in ("", status.name):
                continue
            if (code in wanted.values) is (wanted.operator == "In"):
                return f"Container {status.name} for pod {{name}} failed with exit code {code}"
        return None
    for pattern in rule.on_pod_conditions:
        held = find(pod.status.conditions, pattern.type)
        if held is not None and held.status == (pattern.status or "True"):
            return f"Pod {{name}} has condition {pattern.type}"
    return None


def _exit_code(status: ContainerStatus) -> int:
    return status.state.terminated.exit_code if status.state.HasField("terminated") else 0
