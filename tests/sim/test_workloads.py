"""The workloads of examples/workloads, which are those of Kubernetes' documentation, on bent time: each gets to the
state that it is documented to get to. Meshd, store and agents are real; containers are the fake runtime's."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from mesh.model.conditions import find, is_true
from mesh.model.fields import copy_of
from mesh.model.manifest import load
from mesh.model.pods import is_ready
from mesh.model.workloads import controller_of, is_active
from nodeagent.runtime.port import ContainerSpec
from tests.harness.bent_time import bent
from tests.harness.cluster import Cluster
from tests.harness.fake_runtime import FakeHost, Program
from tests.sim.test_scaling import Loaded

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "workloads"
Asked = Callable[[dict[str, str]], Program]


class Scripted(FakeHost):
    """A host whose containers do as their example says, by their names and environment."""

    def program(self, spec: ContainerSpec) -> Program:
        does = PROGRAMS.get(spec.name)
        return does(dict(spec.env)) if does is not None else self.default


def ends(code: int = 0, after: float = 1.0) -> Asked:
    return lambda _: Program(exit_after=after, exit_code=code)


def odd_indexes_succeed(environment: dict[str, str]) -> Program:
    return Program(exit_after=1.0, exit_code=int(int(environment["JOB_COMPLETION_INDEX"]) % 2 == 0))


def the_second_succeeds(environment: dict[str, str]) -> Program:
    return Program(exit_after=1.0) if environment["JOB_COMPLETION_INDEX"] == "2" else Program()


PROGRAMS: dict[str, Asked] = {}
USUAL: dict[str, Asked] = {"pi": ends(), "input": ends(), "worker": ends(), "hello": ends()}


@dataclass(slots=True)
class Played:
    """A cluster with one example applied."""

    cluster: Cluster

    def held(self, kind: str, name: str = ""):  # type: ignore[no-untyped-def] # of the observer's view
        found = [o for o in self.cluster.view.of_kind(kind) if name in ("", o.metadata.name)]
        return found[0] if found else None

    def pods(self) -> list[str]:
        """Names of those that are there to stay."""
        return sorted(p.metadata.name for p in self.cluster.view.pods() if is_active(p))

    def ready(self) -> int:
        return sum(is_ready(p) and is_active(p) for p in self.cluster.view.pods())

    async def until(self, true: Callable[[], bool], seconds: float = 120.0) -> None:
        await self.cluster.until(true, seconds)


async def play(root: Path, name: str, /, hosts: int = 3, kind: type[Loaded] | None = None, **programs: Asked) -> Played:
    """Applies examples/workloads/NAME.yaml to a cluster."""
    PROGRAMS.clear()
    PROGRAMS.update({**USUAL, **programs})
    cluster = Cluster(root, random.Random(1), hosts, eviction=5)
    if kind is not None:
        cluster.hosts = {name: kind(name, root / name, cluster.misfortune) for name in cluster.hosts}
    for host in cluster.hosts.values():
        host.host = Scripted()
        if isinstance(host, Loaded):
            host.cluster = cluster
    await cluster.start()
    await cluster.until(lambda: not cluster.unsettled())
    objects = load((EXAMPLES / f"{name}.yaml").read_text(), name).objects
    for obj in objects:
        if not obj.metadata.namespace:
            obj.metadata.namespace = "default"
    await cluster.apply(*objects)
    return Played(cluster)


@bent
async def test_deployment_nginx(tmp_path: Path) -> None:
    it = await play(tmp_path, "deployment")
    await it.until(lambda: it.held("Deployment").status.available_replicas == 3)
    deployment, (set_,) = it.held("Deployment"), it.cluster.view.of_kind("ReplicaSet")
    assert set_.metadata.name.startswith("nginx-deployment-")
    assert set_.metadata.labels["pod-template-hash"] == set_.metadata.name.rpartition("-")[2]
    assert is_true(deployment.status.conditions, "Available")
    assert find(deployment.status.conditions, "Progressing").reason == "NewReplicaSetAvailable"
    better = copy_of(deployment)
    better.spec.template.spec.containers[0].image = "localhost/mesh-hello:2"
    await it.cluster.apply(without_history(better))
    await it.until(lambda: it.held("Deployment").status.updated_replicas == it.held("Deployment").status.replicas == 3
                   and len(it.cluster.view.of_kind("ReplicaSet")) == 2)  # fmt: skip
    assert sorted(s.spec.replicas for s in it.cluster.view.of_kind("ReplicaSet")) == [0, 3]
    await it.cluster.stop()


@bent
async def test_replica_set_frontend_takes_pods_that_are_there(tmp_path: Path) -> None:
    it = await play(tmp_path, "replicaset")
    await it.until(lambda: it.held("ReplicaSet").status.ready_replicas == 3)
    assert {controller_of(p.metadata).name for p in it.cluster.view.pods()} == {"frontend"}
    stray = load("{apiVersion: v1, kind: Pod, metadata: {name: pod1, namespace: default, labels: {tier: frontend}}, "
                 "spec: {containers: [{name: hello1, image: 'example:1'}]}}", "test").objects  # fmt: skip
    await it.cluster.apply(*stray)  # it is one too many, and goes again
    await it.until(lambda: len(it.cluster.view.pods()) == 3 and "pod1" not in it.pods())
    await it.cluster.stop()


@bent
async def test_replication_controller_nginx(tmp_path: Path) -> None:
    it = await play(tmp_path, "replicationcontroller")
    await it.until(lambda: it.held("ReplicationController").status.ready_replicas == 3)
    assert it.held("ReplicationController").metadata.labels == {"app": "nginx-rc"}  # the template's
    await it.cluster.stop()


@bent
async def test_daemon_set_fluentd_follows_the_labels_of_hosts(tmp_path: Path) -> None:
    it = await play(tmp_path, "daemonset")
    await it.until(lambda: it.held("DaemonSet").status.number_ready == 3)
    assert {p.spec.node_name for p in it.cluster.view.pods()} == set(it.cluster.hosts)
    chosen = copy_of(it.held("DaemonSet"))
    chosen.spec.template.spec.node_selector["logs"] = "wanted"
    await it.cluster.apply(without_history(chosen))
    await it.until(lambda: not it.cluster.view.pods())
    await label(it, "host1", logs="wanted")
    await it.until(lambda: [p.spec.node_name for p in it.cluster.view.pods() if is_ready(p)] == ["host1"])
    await label(it, "host2", logs="wanted")
    await label(it, "host1", logs="unwanted")
    await it.until(lambda: [p.spec.node_name for p in it.cluster.view.pods() if is_ready(p)] == ["host2"])
    assert it.held("DaemonSet").status.desired_number_scheduled == 1
    await it.cluster.stop()


@bent
async def test_stateful_set_web_begins_in_order_with_a_claim_each(tmp_path: Path) -> None:
    it = await play(tmp_path, "statefulset")
    seen: list[int] = []
    while (count := it.held("StatefulSet").status.available_replicas if it.held("StatefulSet") else 0) < 3:
        assert len(it.pods()) <= it.ready() + 1, "the next one came before the last was ready"
        seen.append(count)
        revision = it.cluster.view.revision
        await it.until(lambda r=revision: it.cluster.view.revision > r)  # type: ignore[misc]
    assert it.pods() == ["web-0", "web-1", "web-2"]
    claims = {c.metadata.name: c.status.phase for c in it.cluster.view.of_kind("PersistentVolumeClaim")}
    assert claims == {f"www-web-{n}": "Bound" for n in range(3)}
    await it.cluster.stop()


@bent
async def test_job_pi(tmp_path: Path) -> None:
    it = await play(tmp_path, "job")
    await it.until(lambda: is_true(it.held("Job").status.conditions, "Complete"))
    assert (it.held("Job").status.succeeded, [p.status.phase for p in it.cluster.view.pods()]) == (1, ["Succeeded"])
    await it.cluster.stop()


@bent
async def test_job_indexed_runs_each_index_three_at_a_time(tmp_path: Path) -> None:
    it = await play(tmp_path, "job-indexed")
    most = 0

    def done() -> bool:
        nonlocal most
        most = max(most, sum(is_active(p) for p in it.cluster.view.pods()))
        return is_true(it.held("Job").status.conditions, "Complete")

    await it.until(done)
    assert (it.held("Job").status.completed_indexes, most) == ("0-4", 3)
    indexes = sorted(p.metadata.labels["batch.kubernetes.io/job-completion-index"] for p in it.cluster.view.pods())
    assert indexes == ["0", "1", "2", "3", "4"]
    await it.cluster.stop()


@bent
async def test_job_that_fails_at_once_by_its_policy(tmp_path: Path) -> None:
    it = await play(tmp_path, "job-failure-policy", main=ends(42))
    await it.until(lambda: is_true(it.held("Job").status.conditions, "Failed"))
    failed = find(it.held("Job").status.conditions, "Failed")
    assert failed.reason == "PodFailurePolicy"
    assert "exit code 42" in failed.message
    assert len(it.cluster.view.pods()) == 3, "nothing was tried again"
    await it.cluster.stop()


@bent
async def test_job_with_a_limit_for_each_index(tmp_path: Path) -> None:
    it = await play(tmp_path, "job-backoff-per-index", example=odd_indexes_succeed)
    await it.until(lambda: is_true(it.held("Job").status.conditions, "Failed"), 600)
    job = it.held("Job")
    assert (job.status.completed_indexes, job.status.failed_indexes) == ("1,3,5,7,9", "0,2,4,6,8")
    assert (job.status.succeeded, job.status.failed) == (5, 10)
    assert find(job.status.conditions, "Failed").reason == "FailedIndexes"
    await it.cluster.stop()


@bent
async def test_job_that_is_done_when_one_index_is(tmp_path: Path) -> None:
    it = await play(tmp_path, "job-success-policy", main=the_second_succeeds)
    await it.until(lambda: is_true(it.held("Job").status.conditions, "Complete"))
    assert find(it.held("Job").status.conditions, "SuccessCriteriaMet").reason == "SuccessPolicy"
    assert it.pods() == []
    await it.cluster.stop()


@bent
async def test_job_s_pod_on_a_lost_host_is_replaced(tmp_path: Path) -> None:
    it = await play(tmp_path, "job", pi=ends(after=60.0))
    await it.until(lambda: it.ready() == 1)
    (first,) = it.cluster.view.pods()
    host = it.cluster.hosts[first.spec.node_name]
    await host.power_off()
    await it.until(lambda: is_true(it.held("Job").status.conditions, "SuccessCriteriaMet"), 200)
    (winner,) = [p for p in it.cluster.view.pods() if p.status.phase == "Succeeded"]
    assert winner.spec.node_name != first.spec.node_name
    assert it.held("Job").status.succeeded == 1
    host.start()  # it lets go of what is no longer its own, and only then the Job is over
    await it.until(lambda: is_true(it.held("Job").status.conditions, "Complete"))
    await it.cluster.stop()


@pytest.mark.parametrize("schedule", ["* * * * *", "*/1 * * * *"])
@bent
async def test_cron_job_hello_starts_once_a_minute(tmp_path: Path, schedule: str) -> None:
    it = await play(tmp_path, "cronjob")
    changed = copy_of(it.held("CronJob"))
    changed.spec.schedule = schedule
    await it.cluster.apply(without_history(changed))
    started: dict[str, int] = {}

    def ten() -> bool:
        for job in it.cluster.view.of_kind("Job"):
            started.setdefault(job.metadata.name, job.metadata.creation_timestamp.seconds)
        return len(started) == 10

    await it.until(ten, 700)
    times = sorted(started.values())
    assert all(second % 60 == 0 for second in times)
    assert [b - a for a, b in pairwise(times)] == [60] * 9
    assert sorted(started) == [f"hello-{second // 60}" for second in times]
    await it.until(lambda: it.held("CronJob").status.last_successful_time.seconds >= times[-1])
    kept = [j for j in it.cluster.view.of_kind("Job") if is_true(j.status.conditions, "Complete")]
    assert len(kept) <= 3 + 1
    await it.cluster.stop()


@bent
async def test_autoscaler_php_apache(tmp_path: Path) -> None:
    Loaded.load["millis"] = 610  # three times what one pod asks for: 305 % where 50 % is wanted
    it = await play(tmp_path, "autoscaler", kind=Loaded)
    await it.until(lambda: it.held("Deployment").status.ready_replicas == 7, 300)
    assert it.held("HorizontalPodAutoscaler").status.desired_replicas == 7
    Loaded.load["millis"] = 0
    await it.until(lambda: it.held("Deployment").spec.replicas == 1, 900)
    await it.cluster.stop()


@bent
async def test_disruption_budget_of_zk(tmp_path: Path) -> None:
    it = await play(tmp_path, "disruptionbudget")
    await it.until(lambda: it.held("PodDisruptionBudget").status.current_healthy == 3)
    status = it.held("PodDisruptionBudget").status
    assert (status.desired_healthy, status.disruptions_allowed, status.expected_pods) == (2, 1, 3)
    await it.cluster.stop()


# ---- users --------------------------------------------------------------------------------------------------------


def without_history(obj):  # type: ignore[no-untyped-def] # any object
    """The object as a user would write it."""
    plain = type(obj)(api_version=obj.api_version, kind=obj.kind, spec=obj.spec)
    plain.metadata.name, plain.metadata.namespace = obj.metadata.name, obj.metadata.namespace
    plain.metadata.labels.update(obj.metadata.labels)
    return plain


async def label(it: Played, host: str, **labels: str) -> None:
    """As `mesh label node`."""
    node = type(it.cluster.view.node(host))(api_version="v1", kind="Node")
    node.metadata.name = host
    node.metadata.labels.update({**it.cluster.view.node(host).metadata.labels, **labels})
    await it.cluster.apply(node)
