"""What `mesh describe` tells of workloads: who owns whom, how far a rollout is, and the template of the pods.

Rule: pure; kubectl's words where kubectl has them.
"""

from collections.abc import Callable, Iterable
from typing import Any

from mesh.cli.poddetails import describe_template, moment
from mesh.cli.rollouts import KINDS, progress_of
from mesh.cli.sheets import Sheet
from mesh.errors import Invalid
from mesh.model.selectors import format_labels
from mesh.model.workloads import REVISION, controller_of, selector_of, template_of


def describe_workload(sheet: Sheet, obj: Any) -> None:
    """Adds all of a workload but its identity and events."""
    kind = obj.DESCRIPTOR.name
    if (owner := controller_of(obj.metadata)) is not None:
        sheet.add("Controlled By", f"{owner.kind}/{owner.name}")
    sheet.add("CreationTimestamp", moment(obj.metadata.creation_timestamp))
    if kind != "CronJob":
        sheet.add("Selector", format_labels(selector_of(obj)))
    _KINDS[kind](sheet, obj)
    template = template_of(obj)
    below = Sheet().map("Labels", template.metadata.labels)
    if template.metadata.annotations:
        below.map("Annotations", template.metadata.annotations)
    describe_template(below, template.spec)
    sheet.below("Pod Template", below)
    _conditions(sheet, getattr(obj.status, "conditions", ()))
    if kind in KINDS:
        try:
            sheet.add("Rollout", progress_of(obj).text)
        except Invalid as error:
            sheet.add("Rollout", error.message)


def _replicas(sheet: Sheet, obj: Any) -> None:
    status = obj.status
    sheet.add("Replicas", f"{status.replicas} current / {obj.spec.replicas} desired")
    sheet.add("Pods Status", f"{status.ready_replicas} ready, {status.available_replicas} available")


def _deployment(sheet: Sheet, obj: Any) -> None:
    status, spec = obj.status, obj.spec
    sheet.add("Revision", obj.metadata.annotations.get(REVISION, ""))
    sheet.add(
        "Replicas",
        f"{spec.replicas} desired | {status.updated_replicas} updated | {status.replicas} total | "
        f"{status.available_replicas} available | {status.unavailable_replicas} unavailable",
    )
    sheet.add("StrategyType", spec.strategy.type).add("MinReadySeconds", str(spec.min_ready_seconds))
    if spec.strategy.type == "RollingUpdate":
        rolling = spec.strategy.rolling_update
        text = f"{_share(rolling.max_unavailable)} max unavailable, {_share(rolling.max_surge)} max surge"
        sheet.add("RollingUpdateStrategy", text)
    if spec.paused:
        sheet.add("Paused", "true")


def _daemon_set(sheet: Sheet, obj: Any) -> None:
    status = obj.status
    sheet.add("Desired Number of Nodes Scheduled", str(status.desired_number_scheduled))
    sheet.add("Current Number of Nodes Scheduled", str(status.current_number_scheduled))
    sheet.add("Number of Nodes Scheduled with Up-to-date Pods", str(status.updated_number_scheduled))
    sheet.add("Number of Nodes Scheduled with Available Pods", str(status.number_available))
    sheet.add("Number of Nodes Misscheduled", str(status.number_misscheduled))
    sheet.add("Update Strategy", obj.spec.update_strategy.type)


def _stateful_set(sheet: Sheet, obj: Any) -> None:
    _replicas(sheet, obj)
    sheet.add("Update Strategy", obj.spec.update_strategy.type)
    if obj.spec.update_strategy.type == "RollingUpdate":
        sheet.add("  Partition", str(obj.spec.update_strategy.rolling_update.partition))
    sheet.add("Current Revision", obj.status.current_revision).add("Update Revision", obj.status.update_revision)
    claims = obj.spec.volume_claim_templates
    names = [f"{t.metadata.name} ({t.spec.resources.requests.get('storage', '')})" for t in claims]
    sheet.many("Volume Claims", names)


def _job(sheet: Sheet, obj: Any) -> None:
    spec, status = obj.spec, obj.status
    sheet.add("Parallelism", str(spec.parallelism))
    sheet.add("Completions", str(spec.completions) if spec.HasField("completions") else "<unset>")
    sheet.add("Completion Mode", spec.completion_mode).add("Suspend", str(spec.suspend).lower())
    sheet.add("Backoff Limit", str(spec.backoff_limit))
    sheet.add("Start Time", moment(status.start_time))
    if status.HasField("completion_time"):
        sheet.add("Completed At", moment(status.completion_time))
    if spec.HasField("active_deadline_seconds"):
        sheet.add("Active Deadline Seconds", f"{spec.active_deadline_seconds}s")
    sheet.add("Pods Statuses", f"{status.active} Active ({status.ready} Ready) / {status.succeeded} Succeeded / "
                               f"{status.failed} Failed")  # fmt: skip
    if spec.completion_mode == "Indexed":
        sheet.add("Completed Indexes", status.completed_indexes)
        sheet.maybe("Failed Indexes", status.failed_indexes)


def _cron_job(sheet: Sheet, obj: Any) -> None:
    spec, status = obj.spec, obj.status
    sheet.add("Schedule", spec.schedule).maybe("Time Zone", spec.time_zone)
    sheet.add("Concurrency Policy", spec.concurrency_policy).add("Suspend", str(spec.suspend).lower())
    kept = f"{spec.successful_jobs_history_limit} successful, {spec.failed_jobs_history_limit} failed"
    sheet.add("Job History Limit", kept)
    if spec.HasField("starting_deadline_seconds"):
        sheet.add("Starting Deadline Seconds", f"{spec.starting_deadline_seconds}s")
    sheet.add("Last Schedule Time", moment(status.last_schedule_time))
    sheet.add("Last Successful Time", moment(status.last_successful_time))
    sheet.add("Active Jobs", ", ".join(a.name for a in status.active))


def _conditions(sheet: Sheet, conditions: Iterable[Any]) -> None:
    rows = [(c.type, c.status, c.reason, c.message) for c in conditions]
    if rows:
        sheet.columns("Conditions", ("Type", "Status", "Reason", "Message"), rows)


def _share(value: Any) -> str:
    return value.string_value or str(value.int_value)


_KINDS: dict[str, Callable[[Sheet, Any], None]] = {
    "ReplicationController": _replicas,
    "ReplicaSet": _replicas,
    "Deployment": _deployment,
    "DaemonSet": _daemon_set,
    "StatefulSet": _stateful_set,
    "Job": _job,
    "CronJob": _cron_job,
}
WORKLOADS = tuple(_KINDS)
