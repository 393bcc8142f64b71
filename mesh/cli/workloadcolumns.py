"""The columns of workloads, as kubectl has them.

Rule: pure; `now` is seconds since the epoch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mesh.cli.columns import AGE, NAME, NONE, Column, pairs
from mesh.model.kinds import Object
from mesh.model.selectors import format_labels
from mesh.model.workloads import controller_of, selector_of, template_of
from mesh.sdk.words import age, duration, seconds_of
from mesh.v1.batch_pb2 import CronJob, Job


def _containers(title: str, field: str) -> Column:
    return Column(
        title, lambda o, _: ",".join(getattr(c, field) for c in template_of(o).spec.containers) or NONE, wide=True
    )


def _selector(obj: Any, _now: float) -> str:
    return format_labels(selector_of(obj))


def _job_status(job: Job, _now: float) -> str:
    kinds = [c.type for c in job.status.conditions if c.status == "True"]
    for kind in ("Complete", "Failed", "Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if kind in kinds:
            return kind
    return "Terminating" if job.metadata.HasField("deletion_timestamp") else "Running"


def _completions(job: Job, _now: float) -> str:
    if job.spec.HasField("completions"):
        return f"{job.status.succeeded}/{job.spec.completions}"
    return f"{job.status.succeeded}/1 of {job.spec.parallelism}" if job.spec.parallelism > 1 else "0/1"


def _job_duration(job: Job, now: float) -> str:
    if not job.status.HasField("start_time"):
        return ""
    end = seconds_of(job.status.completion_time) or now
    return duration(end - seconds_of(job.status.start_time))


def _last_schedule(cron: CronJob, now: float) -> str:
    return age(cron.status.last_schedule_time, now) if cron.status.HasField("last_schedule_time") else NONE


def _owner(obj: Object, _now: float) -> str:
    ref = controller_of(obj.metadata)
    return f"{ref.kind.lower()}.{ref.api_version.partition('/')[0]}/{ref.name}" if ref is not None else NONE


_WIDE = (_containers("CONTAINERS", "name"), _containers("IMAGES", "image"), Column("SELECTOR", _selector, wide=True))

_COPIES = (
    NAME,
    Column("DESIRED", lambda o, _: str(o.spec.replicas)),
    Column("CURRENT", lambda o, _: str(o.status.replicas)),
    Column("READY", lambda o, _: str(o.status.ready_replicas)),
    AGE,
    *_WIDE,
)

WORKLOADS: Mapping[str, Sequence[Column]] = {
    "ReplicationController": _COPIES,
    "ReplicaSet": _COPIES,
    "Deployment": (
        NAME,
        Column("READY", lambda o, _: f"{o.status.ready_replicas}/{o.spec.replicas}"),
        Column("UP-TO-DATE", lambda o, _: str(o.status.updated_replicas)),
        Column("AVAILABLE", lambda o, _: str(o.status.available_replicas)),
        AGE,
        *_WIDE,
    ),
    "DaemonSet": (
        NAME,
        Column("DESIRED", lambda o, _: str(o.status.desired_number_scheduled)),
        Column("CURRENT", lambda o, _: str(o.status.current_number_scheduled)),
        Column("READY", lambda o, _: str(o.status.number_ready)),
        Column("UP-TO-DATE", lambda o, _: str(o.status.updated_number_scheduled)),
        Column("AVAILABLE", lambda o, _: str(o.status.number_available)),
        Column("NODE SELECTOR", lambda o, _: pairs(o.spec.template.spec.node_selector)),
        AGE,
        *_WIDE,
    ),
    "StatefulSet": (
        NAME,
        Column("READY", lambda o, _: f"{o.status.ready_replicas}/{o.spec.replicas}"),
        AGE,
        *_WIDE[:2],
    ),
    "ControllerRevision": (
        NAME,
        Column("CONTROLLER", _owner),
        Column("REVISION", lambda o, _: str(o.revision)),
        AGE,
    ),
    "Job": (
        NAME,
        Column("STATUS", _job_status),
        Column("COMPLETIONS", _completions),
        Column("DURATION", _job_duration),
        AGE,
        *_WIDE,
    ),
    "CronJob": (
        NAME,
        Column("SCHEDULE", lambda o, _: o.spec.schedule),
        Column("TIMEZONE", lambda o, _: o.spec.time_zone or NONE),
        Column("SUSPEND", lambda o, _: str(o.spec.suspend)),
        Column("ACTIVE", lambda o, _: str(len(o.status.active))),
        Column("LAST SCHEDULE", _last_schedule),
        AGE,
        *_WIDE[:2],
    ),
}
