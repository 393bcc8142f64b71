"""Admission of workloads: what Kubernetes fills in, what must hold, what may change (C1-C15).

Rule: pure; a pod template is held to all that a pod is held to, by its own path.
"""

import re
from collections.abc import Iterator

from mesh.admission import frozen, pods, storage
from mesh.errors import Violation
from mesh.model import cron, indexes, podchecks, poddefaults, restarts, selectors, support
from mesh.model.fields import part
from mesh.model.kinds import Object
from mesh.model.workloads import WORKLOADS, Workload, claimed_volumes, controller_of, template_of
from mesh.v1.apps_pb2 import DaemonSet, Deployment, ReplicaSet, ReplicationController, StatefulSet
from mesh.v1.batch_pb2 import CronJob, Job, JobSpec
from mesh.v1.core_pb2 import PodTemplateSpec
from mesh.v1.meta_pb2 import IntOrString

Anyone = Workload | CronJob
KINDS = (*WORKLOADS, CronJob)
UID_LABELS = ("batch.kubernetes.io/controller-uid", "controller-uid")
NAME_LABELS = ("batch.kubernetes.io/job-name", "job-name")

_PERCENT = re.compile(r"[0-9]{1,9}%")
_NO_LIMIT = 2**31 - 1


def path_of(obj: Anyone) -> str:
    """The path of the template in a manifest."""
    return "spec.jobTemplate.spec.template" if isinstance(obj, CronJob) else "spec.template"


def written(obj: Anyone) -> tuple[list[Violation], list[str]]:
    """What this release does not honour of the template as the user wrote it, and warnings; before defaults."""
    return support.check(template_of(obj).spec, f"{path_of(obj)}.spec")


def warnings(obj: Anyone) -> list[str]:
    """What is allowed and most likely not meant, of a completed workload."""
    return podchecks.warnings(template_of(obj).spec, f"{path_of(obj)}.spec")


# ---- defaults -----------------------------------------------------------------------------------------------------


def fill(obj: Anyone) -> None:
    """Completes a workload in place."""
    if obj.HasField("spec"):
        poddefaults.fill(template_of(obj).spec)
    if isinstance(obj, ReplicationController):
        _fill_rc(obj)
    elif isinstance(obj, Job):
        _fill_job(obj.spec)
    elif isinstance(obj, CronJob):
        _set(obj.spec, concurrency_policy="Allow", suspend=False)
        _set(obj.spec, successful_jobs_history_limit=3, failed_jobs_history_limit=1)
    elif isinstance(obj, DaemonSet):
        _fill_daemon_set(obj)
    else:
        _set(obj.spec, replicas=1)
        if isinstance(obj, Deployment):
            _fill_deployment(obj)
        elif isinstance(obj, StatefulSet):
            _fill_stateful_set(obj)


def identify(obj: Object) -> None:
    """What follows from a new object's uid: a Job selects by it (C11)."""
    if not isinstance(obj, Job) or obj.spec.manual_selector:
        return
    labels = obj.spec.template.metadata.labels
    for label in UID_LABELS:
        labels[label] = obj.metadata.uid
    for label in NAME_LABELS:
        labels[label] = obj.metadata.name
    obj.spec.selector.match_labels[UID_LABELS[0]] = obj.metadata.uid


def _fill_rc(obj: ReplicationController) -> None:
    _set(obj.spec, replicas=1)
    labels = obj.spec.template.metadata.labels
    for held in (obj.spec.selector, obj.metadata.labels):
        if not held:
            held.update(labels)


def _fill_deployment(obj: Deployment) -> None:
    _set(obj.spec, revision_history_limit=10, progress_deadline_seconds=600)
    _set(obj.spec.strategy, type="RollingUpdate")
    if obj.spec.strategy.type == "RollingUpdate":
        rolling = obj.spec.strategy.rolling_update
        for field in (rolling.max_unavailable, rolling.max_surge):
            if not field.WhichOneof("kind"):
                field.string_value = "25%"


def _fill_daemon_set(obj: DaemonSet) -> None:
    _set(obj.spec, revision_history_limit=10)
    _set(obj.spec.update_strategy, type="RollingUpdate")
    if obj.spec.update_strategy.type == "RollingUpdate":
        rolling = obj.spec.update_strategy.rolling_update
        if not rolling.max_unavailable.WhichOneof("kind"):
            rolling.max_unavailable.int_value = 0 if _positive(rolling.max_surge) else 1
        if not rolling.max_surge.WhichOneof("kind"):
            rolling.max_surge.int_value = 0


def _fill_stateful_set(obj: StatefulSet) -> None:
    _set(obj.spec, pod_management_policy="OrderedReady", revision_history_limit=10)
    _set(obj.spec.update_strategy, type="RollingUpdate")
    if obj.spec.update_strategy.type == "RollingUpdate":
        _set(obj.spec.update_strategy.rolling_update, partition=0)
    for template in obj.spec.volume_claim_templates:
        storage.fill_claim(template.spec)
    _set(obj.spec.persistent_volume_claim_retention_policy, when_deleted="Retain", when_scaled="Retain")


def _fill_job(spec: JobSpec) -> None:
    if not spec.HasField("completions") and not spec.HasField("parallelism"):
        spec.completions = 1
    _set(spec, parallelism=1, completion_mode="NonIndexed", suspend=False)
    _set(spec, backoff_limit=_NO_LIMIT if spec.HasField("backoff_limit_per_index") else 6)
    _set(spec, pod_replacement_policy="Failed" if spec.HasField("pod_failure_policy") else "TerminatingOrFailed")


# ---- checks -------------------------------------------------------------------------------------------------------


def check(obj: Anyone) -> list[Violation]:
    """What is wrong with a completed workload."""
    found = [*_check_template(obj)]
    if isinstance(obj, Job):
        found += _check_job(obj.spec, "spec")
    elif isinstance(obj, CronJob):
        found += [*_check_cron_job(obj), *_check_job(obj.spec.job_template.spec, "spec.jobTemplate.spec")]
    elif isinstance(obj, Deployment):
        found += _check_deployment(obj)
    elif isinstance(obj, DaemonSet):
        found += _check_daemon_set(obj)
    elif isinstance(obj, StatefulSet):
        found += _check_stateful_set(obj)
    return found


def check_change(new: Anyone, old: Anyone) -> Iterator[Violation]:
    """What may not change: a selector, a Job's template, all but a few fields of a StatefulSet."""
    return frozen.check_change(new, old)


def _check_template(obj: Anyone) -> Iterator[Violation]:
    template, path = template_of(obj), path_of(obj)
    yield from podchecks.check(template.spec, f"{path}.spec", claimed_volumes(obj))
    rolled = isinstance(obj, Deployment | StatefulSet | DaemonSet) or controller_of(obj.metadata) is not None
    yield from pods.check_reaction(template.metadata, f"{path}.metadata", owned=rolled)
    yield from restarts.check_annotations(template.metadata.annotations, f"{path}.metadata")
    policy = template.spec.restart_policy
    if isinstance(obj, Job | CronJob):
        if policy not in ("OnFailure", "Never"):
            yield Violation(f"{path}.spec.restartPolicy", 'must be "OnFailure" or "Never" in a Job; it has no default')
        return
    if policy != "Always":
        yield Violation(f"{path}.spec.restartPolicy", 'must be "Always": the workload keeps its pods running')
    if template.spec.HasField("active_deadline_seconds"):
        yield Violation(f"{path}.spec.activeDeadlineSeconds", "is for pods that end; a Job has one")
    yield from _check_selector(obj, template, path)


def _check_selector(obj: Anyone, template: PodTemplateSpec, path: str) -> Iterator[Violation]:
    if isinstance(obj, ReplicationController):
        labels = template.metadata.labels
        matched = bool(obj.spec.selector) and all(labels.get(k) == v for k, v in obj.spec.selector.items())
    elif isinstance(obj, ReplicaSet | Deployment | DaemonSet | StatefulSet):
        selector = obj.spec.selector
        yield from selectors.check(selector, "spec.selector")
        if not selector.match_labels and not selector.match_expressions:
            yield Violation("spec.selector", "is required and may not be empty: it would select every pod")
            return
        matched = selectors.matches(selector, template.metadata.labels)
    else:
        return
    if not matched:
        yield Violation(f"{path}.metadata.labels", "must satisfy spec.selector, or the workload would not see its pods")


def _check_deployment(obj: Deployment) -> Iterator[Violation]:
    strategy, path = obj.spec.strategy, "spec.strategy.rollingUpdate"
    if strategy.type == "Recreate":
        if strategy.HasField("rolling_update"):
            yield Violation(path, 'must be absent with type "Recreate"')
    else:
        yield from _check_shares(part(strategy, "rolling_update"), path)
        rolling = strategy.rolling_update
        if not _positive(rolling.max_surge) and not _positive(rolling.max_unavailable):
            yield Violation(f"{path}.maxUnavailable", "may not be 0 when maxSurge is 0: nothing could ever be replaced")
    if obj.spec.progress_deadline_seconds <= obj.spec.min_ready_seconds:
        yield Violation("spec.progressDeadlineSeconds", "must be greater than minReadySeconds")


def _check_daemon_set(obj: DaemonSet) -> Iterator[Violation]:
    strategy, path = obj.spec.update_strategy, "spec.updateStrategy.rollingUpdate"
    if strategy.type != "RollingUpdate":
        return
    yield from _check_shares(part(strategy, "rolling_update"), path)
    rolling = strategy.rolling_update
    if _positive(rolling.max_surge) is _positive(rolling.max_unavailable):
        yield Violation(f"{path}.maxUnavailable", "exactly one of maxUnavailable and maxSurge must not be 0")


def _check_stateful_set(obj: StatefulSet) -> Iterator[Violation]:
    names = [template.metadata.name for template in obj.spec.volume_claim_templates]
    for index, template in enumerate(obj.spec.volume_claim_templates):
        if names[index] in names[:index]:
            yield Violation(f"spec.volumeClaimTemplates[{index}].metadata.name", f'"{names[index]}" is there twice')
        for found in storage.check(template):
            yield Violation(f"spec.volumeClaimTemplates[{index}].{found.field}", found.reason)
    strategy, path = obj.spec.update_strategy, "spec.updateStrategy.rollingUpdate"
    if strategy.type == "OnDelete" and strategy.HasField("rolling_update"):
        yield Violation(path, 'must be absent with type "OnDelete"')
    if strategy.rolling_update.HasField("max_unavailable"):
        yield from _check_shares(part(strategy, "rolling_update"), path)
        if not _positive(strategy.rolling_update.max_unavailable):
            yield Violation(f"{path}.maxUnavailable", "may not be 0")


def _check_shares(rolling: object, path: str) -> Iterator[Violation]:
    for name, json_name in (("max_unavailable", "maxUnavailable"), ("max_surge", "maxSurge")):
        value = getattr(rolling, name, IntOrString())
        if value.WhichOneof("kind") == "string_value" and not _PERCENT.fullmatch(value.string_value):
            reason = f'must be a number or per cent as in "25%", not "{value.string_value}"'
            yield Violation(f"{path}.{json_name}", reason)
        elif value.int_value < 0:
            yield Violation(f"{path}.{json_name}", "must be at least 0")
        elif json_name == "maxUnavailable" and value.string_value and int(value.string_value[:-1]) > 100:
            yield Violation(f"{path}.{json_name}", "must be no more than 100%")


def _check_job(spec: JobSpec, path: str) -> Iterator[Violation]:
    indexed, never = spec.completion_mode == "Indexed", spec.template.spec.restart_policy == "Never"
    if indexed and not spec.HasField("completions"):
        yield Violation(f"{path}.completions", 'is required with completionMode "Indexed"')
    if indexed and (spec.parallelism > 100_000 or spec.completions > 2**31 - 1):
        yield Violation(f"{path}.parallelism", 'must be no more than 100000 with completionMode "Indexed"')
    if spec.HasField("backoff_limit_per_index") and not (indexed and never):
        yield Violation(f"{path}.backoffLimitPerIndex", 'needs completionMode "Indexed" and restartPolicy "Never"')
    if spec.HasField("max_failed_indexes") and not spec.HasField("backoff_limit_per_index"):
        yield Violation(f"{path}.maxFailedIndexes", "needs backoffLimitPerIndex")
    if spec.HasField("success_policy"):
        if not indexed:
            yield Violation(f"{path}.successPolicy", 'needs completionMode "Indexed"')
        yield from _check_success_policy(spec, f"{path}.successPolicy.rules")
    if spec.HasField("managed_by") and spec.managed_by != "kubernetes.io/job-controller":
        yield Violation(f"{path}.managedBy", "only the mesh's own Job controller is there; leave it out")
    if spec.HasField("pod_failure_policy"):
        if not never:
            yield Violation(f"{path}.podFailurePolicy", 'needs restartPolicy "Never"')
        if spec.pod_replacement_policy != "Failed":
            yield Violation(f"{path}.podReplacementPolicy", 'must be "Failed" with a podFailurePolicy')
        yield from _check_failure_policy(spec, f"{path}.podFailurePolicy.rules")


def _check_failure_policy(spec: JobSpec, path: str) -> Iterator[Violation]:
    rules = spec.pod_failure_policy.rules
    if len(rules) > 20:
        yield Violation(path, f"must be no more than 20 rules, has {len(rules)}")
    for index, rule in enumerate(rules):
        where = f"{path}[{index}]"
        if rule.HasField("on_exit_codes") is bool(rule.on_pod_conditions):
            yield Violation(where, "must have exactly one of onExitCodes and onPodConditions")
        if rule.action == "FailIndex" and not spec.HasField("backoff_limit_per_index"):
            yield Violation(f"{where}.action", '"FailIndex" needs backoffLimitPerIndex')
        if rule.on_exit_codes.operator == "In" and 0 in rule.on_exit_codes.values:
            yield Violation(f"{where}.onExitCodes.values", 'may not have 0 with operator "In": that is no failure')


def _check_success_policy(spec: JobSpec, path: str) -> Iterator[Violation]:
    rules = spec.success_policy.rules
    if len(rules) > 20:
        yield Violation(path, f"must be no more than 20 rules, has {len(rules)}")
    for number, rule in enumerate(rules):
        where, there = f"{path}[{number}]", spec.completions
        if not rule.HasField("succeeded_indexes") and not rule.HasField("succeeded_count"):
            yield Violation(where, "must have succeededIndexes or succeededCount")
        if rule.HasField("succeeded_indexes"):
            try:
                found = indexes.ranges(rule.succeeded_indexes)
            except ValueError as error:
                yield Violation(f"{where}.succeededIndexes", str(error))
                continue
            if not found:
                yield Violation(f"{where}.succeededIndexes", "may not be empty")
            elif found[-1].stop > spec.completions:
                yield Violation(f"{where}.succeededIndexes", f"must be below completions, which is {spec.completions}")
            there = sum(len(part) for part in found)
        if rule.succeeded_count > there:
            yield Violation(f"{where}.succeededCount", f"must be no more than {there}: there are no more indexes")


def _check_cron_job(obj: CronJob) -> Iterator[Violation]:
    if reason := cron.why_not(obj.spec.schedule):
        yield Violation("spec.schedule", reason)
    if obj.spec.HasField("time_zone") and (reason := cron.zone_why_not(obj.spec.time_zone)):
        yield Violation("spec.timeZone", reason)


def _positive(value: IntOrString) -> bool:
    if value.WhichOneof("kind") == "string_value":
        return value.string_value.rstrip("%").strip("0") != ""
    return value.int_value > 0


def _set(message: object, **values: object) -> None:
    for name, value in values.items():
        if not message.HasField(name):  # type: ignore[attr-defined] # every message has it
            setattr(message, name, value)
