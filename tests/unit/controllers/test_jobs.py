"""Jobs in a world that does as the test says, row by row (C11-C14)."""

import pytest

from mesh.controllers.jobpods import INDEX_FAILURES, TRACKING
from mesh.errors import Invalid
from mesh.model import indexes
from mesh.model.conditions import find, is_true
from mesh.model.fields import copy_of
from mesh.v1.batch_pb2 import Job
from mesh.v1.core_pb2 import Pod
from tests.harness.workshop import World


def job(name: str = "work", policy: str = "Never", **spec: object) -> str:
    fields = "".join(f"  {k}: {v}\n" for k, v in spec.items())
    return (
        f"apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n{fields}  template:\n"
        f"    spec: {{restartPolicy: {policy}, containers: [{{name: c, image: 'example:1'}}]}}\n"
    )


def the_job(world: World, name: str = "work") -> Job:
    held = world.get("Job", name)
    assert isinstance(held, Job)
    return held


def why(world: World, type_: str) -> str:
    condition = find(the_job(world).status.conditions, type_)
    return condition.reason if condition is not None and condition.status == "True" else ""


def work(world: World, *codes: int) -> None:
    """The oldest running pods end, each with its code."""
    for code in codes:
        world.obey()
        world.ends(world.pods()[0], code)
        world.obey()


# ---- C11


def test_completions_five_parallelism_two() -> None:
    world = World()
    world.apply(job(completions=5, parallelism=2))
    most = 0

    def look(_view: object) -> None:
        nonlocal most
        most = max(most, len(world.pods()))

    world.watch = look
    work(world, 0, 0, 0, 0, 0)
    held = the_job(world)
    assert (held.status.succeeded, held.status.active, most) == (5, 0, 2)
    assert is_true(held.status.conditions, "Complete")
    assert held.status.HasField("completion_time")
    assert all(TRACKING not in p.metadata.finalizers for p in world.view.pods())


def test_a_failed_pod_is_replaced_after_a_pause_until_the_limit() -> None:
    world = World()
    world.apply(job(backoffLimit=2))
    pauses = []
    for _ in range(2):
        work(world, 1)
        waited = 0
        while not world.pods():
            world.pass_time(1)
            world.obey()
            waited += 1
        pauses.append(waited)
    assert pauses == [10, 20]
    work(world, 1)
    assert why(world, "Failed") == "BackoffLimitExceeded"
    assert the_job(world).status.failed == 3


def test_a_work_queue_is_done_when_one_has_succeeded_and_none_runs() -> None:
    world = World()
    world.apply(job(parallelism=3))
    world.obey()
    assert len(world.pods()) == 3
    work(world, 0)
    assert len(world.pods()) == 2
    assert not is_true(the_job(world).status.conditions, "Complete")
    work(world, 0, 0)
    assert is_true(the_job(world).status.conditions, "Complete")


def test_restarts_count_where_pods_are_restarted() -> None:
    world = World()
    world.apply(job(policy="OnFailure", backoffLimit=3))
    world.obey()
    pod = Pod()
    pod.CopyFrom(world.pods()[0])
    pod.status.container_statuses.add(name="c", restart_count=3)
    world.put(pod)
    world.obey()
    assert why(world, "Failed") == "BackoffLimitExceeded"
    assert world.pods() == []


def test_a_pod_counts_once_whoever_deletes_it() -> None:
    world = World()
    world.apply(job(completions=2, parallelism=2))
    world.obey()
    first = world.pods()[0]
    world.ends(first)
    ended = world.view.pod("default", first.metadata.name)
    assert ended is not None
    world.delete(ended, grace=0)
    world.obey()
    assert the_job(world).status.succeeded == 1
    assert world.view.pod("default", first.metadata.name) is None


def test_suspended_jobs_have_no_pods() -> None:
    world = World()
    world.apply(job(suspend="true"))
    world.obey()
    assert world.pods() == []
    assert why(world, "Suspended") == "JobSuspended"
    world.apply(job(suspend="false"))
    world.obey()
    assert len(world.pods()) == 1
    world.apply(job(suspend="true"))
    world.obey()
    assert world.pods() == []
    assert not the_job(world).status.HasField("start_time")


def test_a_job_deleted_lets_its_pods_go() -> None:
    world = World()
    world.apply(job(completions=2, parallelism=2))
    world.obey()
    world.delete(world.get("Job", "work"))
    world.obey()
    assert world.view.count("Job") == 0
    assert world.view.pods() == []


# ---- C12


def test_the_deadline_ends_all() -> None:
    world = World()
    world.apply(job(activeDeadlineSeconds=60, completions=3, parallelism=3))
    world.obey()
    world.pass_time(59)
    world.obey()
    assert len(world.pods()) == 3
    world.pass_time(2)
    world.settle()
    assert why(world, "FailureTarget") == "DeadlineExceeded"
    assert why(world, "Failed") == ""  # its pods are still ending
    world.obey()
    assert why(world, "Failed") == "DeadlineExceeded"


def test_a_finished_job_goes_after_its_time_to_live() -> None:
    world = World()
    world.apply(job(ttlSecondsAfterFinished=100))
    work(world, 0)
    world.pass_time(99)
    world.obey()
    assert world.view.count("Job") == 1
    world.pass_time(2)
    world.obey()
    assert world.view.count("Job") == 0
    assert world.view.pods() == []


# ---- C13, C14


def test_each_index_is_completed_once() -> None:
    world = World()
    world.apply(job(completionMode="Indexed", completions=4, parallelism=4))
    world.obey()
    pods = {p.metadata.annotations["batch.kubernetes.io/job-completion-index"]: p for p in world.pods()}
    assert sorted(pods) == ["0", "1", "2", "3"]
    assert pods["2"].spec.hostname == "work-2"
    assert pods["2"].spec.containers[0].env[0].name == "JOB_COMPLETION_INDEX"
    for index in ("0", "2", "3"):
        world.ends(pods[index])
    world.obey()
    assert the_job(world).status.completed_indexes == "0,2,3"
    world.ends(pods["1"], 1)
    world.obey()
    world.pass_time(10)
    world.obey()
    work(world, 0)
    assert the_job(world).status.completed_indexes == "0-3"
    assert is_true(the_job(world).status.conditions, "Complete")


def test_a_limit_for_each_index() -> None:
    world = World()
    world.apply(job(completionMode="Indexed", completions=2, parallelism=2, backoffLimitPerIndex=1))
    world.obey()
    for _ in range(2):
        [bad] = [p for p in world.pods() if p.spec.hostname == "work-0"]
        world.ends(bad, 1)
        world.obey()
        world.pass_time(30)
        world.obey()
    assert the_job(world).status.failed_indexes == "0"
    work(world, 0)
    assert why(world, "Failed") == "FailedIndexes"


POLICY = "{rules: [{action: FailJob, onExitCodes: {operator: In, values: [42]}}, {action: Ignore, onExitCodes: {operator: In, values: [7]}}]}"  # noqa: E501


def test_the_failure_policy_decides() -> None:
    world = World()
    world.apply(job(podFailurePolicy=POLICY, backoffLimit=6))
    work(world, 7)
    assert the_job(world).status.failed == 0
    world.pass_time(700)
    work(world, 42)
    assert why(world, "Failed") == "PodFailurePolicy"
    condition = find(the_job(world).status.conditions, "Failed")
    assert condition is not None
    assert "exit code 42" in condition.message
    assert "rule at index 0" in condition.message


def test_some_indexes_are_enough() -> None:
    world = World()
    policy = '{rules: [{succeededIndexes: "0-1"}]}'
    world.apply(job(completionMode="Indexed", completions=5, parallelism=5, successPolicy=policy))
    world.obey()
    for pod in world.pods()[:]:
        if pod.spec.hostname in ("work-0", "work-1"):
            world.ends(pod)
    world.obey()
    assert why(world, "Complete") == "SuccessPolicy"
    assert world.pods() == []


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ("{succeededIndexes: abc}", "[0].succeededIndexes"),
        ("{succeededIndexes: ''}", "[0].succeededIndexes"),
        ("{succeededIndexes: '3-1'}", "[0].succeededIndexes"),
        ("{succeededIndexes: '1,1'}", "[0].succeededIndexes"),
        ("{succeededIndexes: '4-5'}", "[0].succeededIndexes"),
        ("{succeededIndexes: '0-99999999999'}", "[0].succeededIndexes"),
        ("{succeededIndexes: '0-1', succeededCount: 3}", "[0].succeededCount"),
        ("{succeededCount: 6}", "[0].succeededCount"),
        ("{}", "[0]"),
    ],
)
def test_a_success_policy_that_could_not_be_read_is_refused(rule: str, field: str) -> None:
    text = job(completionMode="Indexed", completions=5, successPolicy=f"{{rules: [{rule}]}}")
    with pytest.raises(Invalid) as refused:
        World().apply(text)
    assert [v.field for v in refused.value.violations] == [f"spec.successPolicy.rules{field}"]


def test_a_success_policy_of_very_many_indexes_costs_nothing() -> None:
    world = World()
    policy = '{rules: [{succeededIndexes: "0-2000000000", succeededCount: 1}]}'
    world.apply(job(completionMode="Indexed", completions=2_000_000_001, parallelism=2, successPolicy=policy))
    world.obey()
    world.ends(world.pods()[0])
    world.obey()
    assert why(world, "Complete") == "SuccessPolicy"


@pytest.mark.parametrize("written", ["abc", "\u00b2", "-1", "9" * 5000])
def test_counts_that_somebody_has_overwritten_stop_no_job(written: str) -> None:
    world = World()
    world.apply(job(completionMode="Indexed", completions=1, backoffLimitPerIndex=1))
    world.obey()
    told = copy_of(world.pods()[0])
    told.metadata.annotations[INDEX_FAILURES] = written
    world.put(told)
    world.ends(told, 1)
    world.obey()
    world.pass_time(60)
    world.obey()
    world.ends(world.pods()[0], 1)
    world.obey()
    assert the_job(world).status.failed_indexes == "0"


@pytest.mark.parametrize("text", ["", "0", "1,3-5,7", "0,1", "0-2"])
def test_sets_of_indexes(text: str) -> None:
    assert indexes.format_indexes(indexes.parse(text)) == text
