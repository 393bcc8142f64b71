"""CronJobs: a Job at its time, once (C15).

Rule: pure. A Job's name says for which minute it is, so one time never starts two; of several missed times only the
last one starts.
"""

from collections.abc import Iterable

from mesh.controllers.children import Step, age, deletion, owners_named
from mesh.controllers.job import finished
from mesh.model import cron
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.times import SECOND, format_rfc3339, from_timestamp, whole_seconds
from mesh.model.workloads import is_controlled_by, owner_reference
from mesh.reconcile.plan import NOTHING, Plan
from mesh.store.port import Event
from mesh.v1.batch_pb2 import CronJob, Job
from mesh.v1.meta_pb2 import ObjectReference
from mesh.view import View

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_MANY = 100


class CronJobs:
    """See the module."""

    name = "cronjobs"

    def keys(self, event: Event) -> Iterable[Key]:
        """The CronJob of the event: itself, or that of one of its Jobs."""
        if event.key.kind == "CronJob":
            return (event.key,) if event.object is not None else ()
        if event.key.kind == "Job":
            return [Key(kind, event.key.namespace, name) for kind, name in owners_named(event, ("CronJob",))]
        return ()

    def reconcile(self, key: Key, view: View, now_ns: int) -> Plan:
        """The next step of one CronJob: history, then the start that is due."""
        held = view.get(key)
        if not isinstance(held, CronJob):
            return NOTHING
        step = Step(view, now_ns)
        jobs = sorted(
            (j for j in view.children(held.metadata.uid) if isinstance(j, Job) and is_controlled_by(j, held)), key=age
        )
        wanted = copy_of(held)
        _tell(wanted, jobs)
        _forget(held, jobs, step)
        if not held.metadata.HasField("deletion_timestamp") and not held.spec.suspend:
            _start(held, wanted, [j for j in jobs if finished(j) is None], step)
            step.look_in((cron.next_after(held.spec.schedule, held.spec.time_zone, now_ns) - now_ns) / SECOND)
        step.put(held, wanted)
        return Plan(step.writes, step.again)


def _start(held: CronJob, wanted: CronJob, running: list[Job], step: Step) -> None:
    since = from_timestamp(held.status.last_schedule_time) or from_timestamp(held.metadata.creation_timestamp)
    if held.spec.HasField("starting_deadline_seconds"):
        since = max(since, step.now - held.spec.starting_deadline_seconds * SECOND)
    due, missed = cron.due(held.spec.schedule, held.spec.time_zone, since, step.now)
    if due is None:
        return
    if missed > _MANY:
        message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        step.tell(held, "TooManyMissedTimes", message, warning=True)
    if running and held.spec.concurrency_policy == "Forbid":
        step.tell(held, "JobAlreadyActive", "Not starting job because prior execution is running and policy is Forbid")
        wanted.status.last_schedule_time.CopyFrom(whole_seconds(due))
        return
    if running and held.spec.concurrency_policy == "Replace":
        for job in running:
            step.remove(held, job, "job")
    job = _job(held, f"{held.metadata.name}-{due // SECOND // 60}")
    job.metadata.annotations[SCHEDULED] = format_rfc3339(whole_seconds(due))
    if step.view.get(Key("Job", held.metadata.namespace, job.metadata.name)) is not None or step.make(held, job, "job"):
        wanted.status.last_schedule_time.CopyFrom(whole_seconds(due))


def _job(held: CronJob, name: str) -> Job:
    template = held.spec.job_template
    job = Job(spec=template.spec)
    job.metadata.labels.update(template.metadata.labels)
    job.metadata.annotations.update(template.metadata.annotations)
    job.metadata.name, job.metadata.namespace = name, held.metadata.namespace
    job.metadata.owner_references.append(owner_reference(held))
    return job


def _tell(wanted: CronJob, jobs: list[Job]) -> None:
    active = [
        ObjectReference(api_version="batch/v1", kind="Job", namespace=j.metadata.namespace, name=j.metadata.name,
                        uid=j.metadata.uid) for j in jobs if finished(j) is None
    ]  # fmt: skip
    del wanted.status.active[:]
    wanted.status.active.extend(active)
    ends = [from_timestamp(j.status.completion_time) for j in jobs if j.status.HasField("completion_time")]
    if ends and max(ends) > from_timestamp(wanted.status.last_successful_time):
        wanted.status.last_successful_time.CopyFrom(whole_seconds(max(ends)))


def _forget(held: CronJob, jobs: list[Job], step: Step) -> None:
    """Keeps the last so many Jobs of each outcome; their pods go with them."""
    for type_, limit in (
        ("Complete", held.spec.successful_jobs_history_limit),
        ("Failed", held.spec.failed_jobs_history_limit),
    ):
        ended = [j for j in jobs if (c := finished(j)) is not None and c.type == type_]
        for old in ended[: max(0, len(ended) - limit)]:
            step.writes += deletion(old, step.view, step.now)
