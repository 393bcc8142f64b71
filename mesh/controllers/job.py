"""Jobs: pods that run to their end, so many of them, so many at a time (C11-C14).

Rule: pure. A pod's end is counted in the commit that takes its finalizer away, so none is lost and none counts twice,
whoever is killed in between. A Job that is decided (FailureTarget, SuccessCriteriaMet) ends when its pods have.
"""

from collections.abc import Iterable

from mesh.admission.admit import is_gone
from mesh.controllers import jobpods
from mesh.controllers.children import MOST, Step, claim, deletion, fresh_name, owners_named, pod_from
from mesh.controllers.victims import first_to_go
from mesh.model import indexes
from mesh.model.conditions import find, is_true, set_condition
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.kinds import key_of, revision_of
from mesh.model.pods import is_deleting, is_ready, is_terminal
from mesh.model.times import SECOND, from_timestamp, whole_seconds
from mesh.model.workloads import controller_of
from mesh.reconcile.plan import Plan
from mesh.store.port import Event, Write
from mesh.v1.batch_pb2 import Job, JobCondition
from mesh.v1.core_pb2 import Pod
from mesh.view import View


class Jobs:
    """See the module."""

    name = "jobs"

    def keys(self, event: Event) -> Iterable[Key]:
        """The Job of the event."""
        if event.key.kind == "Job":
            return (event.key,)
        if event.key.kind == "Pod":
            return [Key(kind, event.key.namespace, name) for kind, name in owners_named(event, ("Job",))]
        return ()

    def reconcile(self, key: Key, view: View, now_ns: int) -> Plan:
        """The next step of one Job."""
        held = view.get(key)
        if not isinstance(held, Job):
            return Plan([_counted(p) for p in _left_behind(key, view)])
        step = Step(view, now_ns)
        pods = claim(held, step, orphans=False)
        if step.writes:
            return Plan(step.writes)
        if finished(held) is not None:
            return _after(held, pods, step)
        work = _Work(held, pods, step)
        work.act()
        step.put(held, work.wanted)
        return Plan(step.writes, step.again)


def _left_behind(key: Key, view: View) -> list[Pod]:
    """Pods of a Job that is gone, which nobody will count any more."""
    pods = (p for p in view.of_kind("Pod", key.namespace) if isinstance(p, Pod) and not jobpods.is_counted(p))
    return [p for p in pods if (c := controller_of(p.metadata)) is not None and (c.kind, c.name) == ("Job", key.name)]


def finished(job: Job) -> JobCondition | None:
    """The condition by which the Job is over: Complete or Failed."""
    for type_ in ("Complete", "Failed"):
        if is_true(job.status.conditions, type_):
            return find(job.status.conditions, type_)
    return None


def _after(held: Job, pods: list[Pod], step: Step) -> Plan:
    """A Job that is over: its pods are let go of, and after its time to live it goes with them (C12)."""
    for pod in pods:
        if not jobpods.is_counted(pod):
            step.writes.append(_counted(pod))
    if step.writes or not held.spec.HasField("ttl_seconds_after_finished"):
        return Plan(step.writes)
    condition = finished(held)
    ended = from_timestamp(condition.last_transition_time) if condition is not None else step.now
    left = (ended - step.now) / SECOND + held.spec.ttl_seconds_after_finished
    if left > 0:
        return Plan((), left)
    return Plan(deletion(held, step.view, step.now))


def _counted(pod: Pod) -> Write:
    released = jobpods.without_tracking(pod)
    return Write(key_of(pod), None if is_gone(released) else released, revision_of(pod))


class _Work:
    """One look at one Job: counts what has ended, decides, then makes or removes pods."""

    def __init__(self, held: Job, pods: list[Pod], step: Step) -> None:
        self.held, self.pods, self.step = held, pods, step
        self.wanted = copy_of(held)
        self.status = self.wanted.status
        self.completed = indexes.parse(held.status.completed_indexes)
        self.failed = indexes.parse(held.status.failed_indexes)
        self.active = [p for p in pods if not is_terminal(p) and not is_deleting(p)]
        self.ending = [p for p in pods if not is_terminal(p) and is_deleting(p)]

    def act(self) -> None:
        """Plans the next step."""
        doomed = self.held.metadata.HasField("deletion_timestamp")
        if not self.held.spec.suspend and not self.status.HasField("start_time"):
            self.status.start_time.CopyFrom(whole_seconds(self.step.now))
        counted = self._count()
        self._decide()
        if self._is_decided():
            self._wind_up()
        elif self.held.spec.suspend or doomed:
            self._suspend()
        else:
            self._resume()
            if not counted:  # what was counted comes back first
                self._manage()
        self._describe()

    # ---- counting

    def _count(self) -> bool:
        """Counts pods that have ended and lets go of them; says whether there were any."""
        found = [p for p in self.pods if not jobpods.is_counted(p)]
        ended = [p for p in found if jobpods.has_succeeded(p) or jobpods.has_failed(p, self.held)][:MOST]
        for pod in ended:
            if jobpods.has_succeeded(pod):
                self._succeeded(pod)
            else:
                self._failed(pod)
            self.step.writes.append(_counted(pod))
        return bool(ended)

    def _succeeded(self, pod: Pod) -> None:
        index = jobpods.index_of(pod)
        if not jobpods.is_indexed(self.held):
            self.status.succeeded += 1
        elif index is not None and index < self.held.spec.completions:
            self.completed.add(index)
            self.status.succeeded = len(self.completed)

    def _failed(self, pod: Pod) -> None:
        said, index = jobpods.verdict(pod, self.held), jobpods.index_of(pod)
        if said.action == "Ignore":
            return
        self.status.failed += 1
        if said.action == "FailJob":
            self._fail("PodFailurePolicy", said.message)
        elif index is not None and self.held.spec.HasField("backoff_limit_per_index"):
            failures = jobpods.index_failures(self.pods, index)
            if said.action == "FailIndex" or failures > self.held.spec.backoff_limit_per_index:
                self.failed.add(index)

    # ---- deciding

    def _decide(self) -> None:
        spec, status = self.held.spec, self.status
        if self._is_decided():
            return
        if spec.HasField("success_policy") and jobpods.criteria_met(self.held, self.completed):
            self._say("SuccessCriteriaMet", "SuccessPolicy", "Matched rules at index 0")
        elif self._is_late():
            self._fail("DeadlineExceeded", "Job was active longer than specified deadline")
        elif status.failed > spec.backoff_limit or self._restarted_too_often():
            self._fail("BackoffLimitExceeded", "Job has reached the specified backoff limit")
        elif spec.HasField("max_failed_indexes") and len(self.failed) > spec.max_failed_indexes:
            self._fail("MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes")
        elif self._is_done():
            if self.failed:
                self._fail("FailedIndexes", "Job has failed indexes")
            else:
                self._say("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods")

    def _is_done(self) -> bool:
        spec, status = self.held.spec, self.status
        if jobpods.is_indexed(self.held):
            return len(self.completed | self.failed) >= spec.completions
        if spec.HasField("completions"):
            return status.succeeded >= spec.completions
        return status.succeeded > 0 and not self.active  # a work queue: one success says that it is empty

    def _is_late(self) -> bool:
        if not self.held.spec.HasField("active_deadline_seconds") or not self.status.HasField("start_time"):
            return False
        if self.held.spec.suspend:
            return False
        begun = from_timestamp(self.status.start_time)
        left = (begun - self.step.now) / SECOND + self.held.spec.active_deadline_seconds
        if left > 0:
            self.step.look_in(left)
        return left <= 0

    def _restarted_too_often(self) -> bool:
        if self.held.spec.template.spec.restart_policy != "OnFailure":
            return False
        count = jobpods.restarts(self.active)
        return count >= self.held.spec.backoff_limit if self.held.spec.backoff_limit else count > 0

    def _is_decided(self) -> bool:
        return any(is_true(self.status.conditions, t) for t in ("FailureTarget", "SuccessCriteriaMet"))

    def _fail(self, reason: str, message: str) -> None:
        if not self._is_decided():
            self._say("FailureTarget", reason, message)

    def _say(self, type_: str, reason: str, message: str) -> None:
        set_condition(self.status.conditions, type_, "True", now=self.step.now, reason=reason, message=message)

    # ---- the end

    def _wind_up(self) -> None:
        """What still runs is asked to go; the Job is over when nothing is left running."""
        for pod in self.active:
            self.step.remove(self.held, pod)
        if self.active or self.ending:
            return
        if (why := find(self.status.conditions, "FailureTarget")) is not None:
            self._say("Failed", why.reason, why.message)
            self.step.tell(self.held, why.reason, why.message, warning=True)
            return
        met = find(self.status.conditions, "SuccessCriteriaMet")
        self._say("Complete", met.reason if met is not None else "", met.message if met is not None else "")
        self.status.completion_time.CopyFrom(whole_seconds(self.step.now))
        self.step.tell(self.held, "Completed", "Job completed")

    def _suspend(self) -> None:
        for pod in self.active:
            self.step.remove(self.held, pod)
        if self.held.spec.suspend and not is_true(self.status.conditions, "Suspended"):
            self._say("Suspended", "JobSuspended", "Job suspended")
            self.step.tell(self.held, "Suspended", "Job suspended")
        if self.held.spec.suspend:
            self.status.ClearField("start_time")

    def _resume(self) -> None:
        if is_true(self.status.conditions, "Suspended"):
            set_condition(self.status.conditions, "Suspended", "False", now=self.step.now, reason="JobResumed",
                          message="Job resumed")  # fmt: skip
            self.status.start_time.CopyFrom(whole_seconds(self.step.now))
            self.step.tell(self.held, "Resumed", "Job resumed")

    # ---- pods

    def _manage(self) -> None:
        target = self._target()
        if len(self.active) > target:
            related = first_to_go(self.active, self.active, self.step.now)
            for pod in related[: len(self.active) - target]:
                self.step.remove(self.held, pod)
            return
        taken = len(self.active) + (len(self.ending) if self.held.spec.pod_replacement_policy == "Failed" else 0)
        missing = min(target - taken, MOST)
        if missing <= 0:
            return
        if jobpods.is_indexed(self.held):
            self._make_indexed(missing)
        elif self._may_begin([p for p in self.pods if jobpods.has_failed(p, self.held)]):
            for salt in range(missing):
                if not self._make(fresh_name(self.held, self.step.view, salt)):
                    return

    def _target(self) -> int:
        """How many pods there should be at this moment."""
        spec = self.held.spec
        if jobpods.is_indexed(self.held):
            return min(spec.parallelism, spec.completions - len(self.completed | self.failed))
        if spec.HasField("completions"):
            return min(spec.parallelism, spec.completions - self.status.succeeded)
        return len(self.active) if self.status.succeeded else spec.parallelism

    def _make_indexed(self, missing: int) -> None:
        busy = {jobpods.index_of(p) for p in self.active}
        if self.held.spec.pod_replacement_policy == "Failed":
            busy |= {jobpods.index_of(p) for p in self.ending}
        per_index = self.held.spec.HasField("backoff_limit_per_index")
        for index in range(self.held.spec.completions):
            if missing <= 0:
                return
            if index in busy or index in self.completed or index in self.failed:
                continue
            mine = [p for p in self.pods if jobpods.has_failed(p, self.held)
                    and (not per_index or jobpods.index_of(p) == index)]  # fmt: skip
            if self._may_begin(mine):
                if not self._make(f"{fresh_name(self.held, self.step.view, index)}", index):
                    return
                missing -= 1

    def _may_begin(self, failed: list[Pod]) -> bool:
        wait = jobpods.pause(failed, [p for p in self.pods if jobpods.has_succeeded(p)], self.step.now)
        if wait > 0:
            self.step.look_in(wait)
        return wait <= 0

    def _make(self, name: str, index: int | None = None) -> bool:
        pod = pod_from(self.held.spec.template, self.held, name)
        pod.metadata.finalizers.append(jobpods.TRACKING)
        if index is not None:
            head, _, tail = name.rpartition("-")
            pod.metadata.name = f"{head}-{index}-{tail}"
            jobpods.number(pod, self.held, index, jobpods.index_failures(self.pods, index))
        if self.step.make(self.held, pod):
            return True
        self.step.look_in(10.0)
        return False

    def _describe(self) -> None:
        made = [w.object for w in self.step.writes if isinstance(w.object, Pod) and w.expect == 0]
        removed = {w.key for w in self.step.writes if w.key.kind == "Pod" and w.expect != 0}
        going = [p for p in self.active if key_of(p) in removed]
        self.status.active = len(self.active) - len(going) + len(made)
        self.status.ready = sum(is_ready(p) for p in self.active if key_of(p) not in removed)
        self.status.terminating = len(self.ending) + len(going)
        if jobpods.is_indexed(self.held):
            self.status.completed_indexes = indexes.format_indexes(self.completed)
            if self.held.spec.HasField("backoff_limit_per_index"):
                self.status.failed_indexes = indexes.format_indexes(self.failed)
