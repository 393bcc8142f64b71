"""Numbers of Kubernetes' rows that users count on, each as it comes out of a manifest or a controller's step."""

import pytest

from mesh.admission.admit import Stamp, create
from mesh.errors import Invalid
from mesh.model.fields import copy_of
from mesh.model.kinds import Object
from mesh.model.manifest import load
from mesh.model.pods import is_deleting
from mesh.model.writing import to_dict
from mesh.scheduler.scores import ASSUMED, weights
from mesh.v1.core_pb2 import Node, Pod
from tests.harness.workshop import START, World
from tests.unit.controllers.test_cronjobs import cron_job
from tests.unit.controllers.test_jobs import job
from tests.unit.controllers.test_workloads import workload


def admitted(text: str) -> Object:
    [obj] = load(text, "test").objects
    obj.metadata.namespace = "default"
    return create(obj, World().view, Stamp(START, "uid", "abcde")).object


def field(text: str, path: str) -> object:
    """A field of a manifest as it is stored, by its path below spec."""
    found: object = to_dict(admitted(text))["spec"]
    for name in path.split("."):
        assert isinstance(found, dict)
        found = found.get(name)
    return found


DEPLOYMENT, STATEFUL, DAEMON = (workload(k) for k in ("Deployment", "StatefulSet", "DaemonSet"))


@pytest.mark.parametrize(("text", "path", "value"), [
    (workload("ReplicaSet"), "replicas", 1),  # C1
    (workload("ReplicationController", version="v1"), "replicas", 1),
    (DEPLOYMENT, "strategy.rollingUpdate.maxSurge", "25%"),  # C3
    (DEPLOYMENT, "strategy.rollingUpdate.maxUnavailable", "25%"),
    (DEPLOYMENT, "revisionHistoryLimit", 10),  # C5
    (DEPLOYMENT, "progressDeadlineSeconds", 600),  # C6
    (STATEFUL, "podManagementPolicy", "OrderedReady"),  # C9
    (STATEFUL, "updateStrategy.rollingUpdate.partition", 0),
    (STATEFUL, "persistentVolumeClaimRetentionPolicy.whenDeleted", "Retain"),  # C8
    (STATEFUL, "persistentVolumeClaimRetentionPolicy.whenScaled", "Retain"),
    (DAEMON, "updateStrategy.rollingUpdate.maxUnavailable", 1),  # C10
    (DAEMON, "updateStrategy.rollingUpdate.maxSurge", 0),
    (job(), "completions", 1),  # C11
    (job(), "parallelism", 1),
    (job(), "backoffLimit", 6),
    (job(), "completionMode", "NonIndexed"),
    (cron_job("* * * * *"), "concurrencyPolicy", "Allow"),  # C15
    (cron_job("* * * * *"), "successfulJobsHistoryLimit", 3),
    (cron_job("* * * * *"), "failedJobsHistoryLimit", 1),
])  # fmt: skip
def test_what_is_filled_in(text: str, path: str, value: object) -> None:
    assert field(text, path) == value


def test_bursts_of_replicas() -> None:  # C1
    world = World()
    world.apply(workload("ReplicaSet", replicas=1200))
    made = []
    world.watch = lambda view: made.append(view.count("Pod"))
    world.settle()
    steps = sorted({*made})
    assert max(after - before for before, after in zip([0, *steps], steps, strict=False)) == 500
    assert steps[-1] == 1200


def test_an_indexed_job_may_be_wide_and_no_wider() -> None:  # C13
    wide = job(completionMode="Indexed", completions=200_000, parallelism=100_000)
    assert field(wide, "parallelism") == 100_000
    with pytest.raises(Invalid, match="100000"):
        admitted(wide.replace("parallelism: 100000", "parallelism: 100001"))


def test_a_failure_policy_has_twenty_rules_at_most() -> None:  # C14
    rule = "{action: Count, onExitCodes: {operator: In, values: [3]}}"

    def rules(count: int) -> str:
        return job(podFailurePolicy=f"{{rules: [{', '.join([rule] * count)}]}}")

    assert admitted(rules(20))
    with pytest.raises(Invalid, match="20 rules"):
        admitted(rules(21))


def test_daemons_bear_what_befalls_their_hosts() -> None:  # C10
    def borne(spec: str) -> set[tuple[str, str, bool]]:
        world = World()
        world.apply(workload("DaemonSet").replace("spec: {containers", f"spec: {{{spec}containers"))
        world.settle()
        tolerations = world.pods()[0].spec.tolerations
        return {
            (t.key.removeprefix("node.kubernetes.io/"), t.effect, t.HasField("toleration_seconds")) for t in tolerations
        }

    usual = {("not-ready", "NoExecute", False), ("unreachable", "NoExecute", False)} | {
        (key, "NoSchedule", False) for key in ("disk-pressure", "memory-pressure", "pid-pressure", "unschedulable")
    }
    assert borne("") == usual
    assert borne("hostNetwork: true, ") == usual | {("network-unavailable", "NoSchedule", False)}


def test_daemons_follow_relabelled_hosts() -> None:  # C10
    world = World()
    world.apply(workload("DaemonSet").replace("spec: {containers", "spec: {nodeSelector: {disk: ssd}, containers"))
    world.obey()
    assert world.pods() == []

    def label(name: str, **labels: str) -> None:
        held = world.view.node(name)
        assert held is not None
        moved = Node()
        moved.CopyFrom(held)
        moved.metadata.labels.pop("disk", None)
        moved.metadata.labels.update(labels)
        world.put(moved)
        world.obey()

    label("a", disk="ssd")
    label("b", disk="ssd")
    assert {p.spec.node_name for p in world.pods()} == {"a", "b"}
    label("a")
    label("c", disk="ssd")
    assert {p.spec.node_name for p in world.pods()} == {"b", "c"}


def test_a_jobs_pod_on_a_lost_host_is_replaced() -> None:  # C14, N5
    world = World()
    world.apply(job(completions=1))
    world.settle()
    world.bind()
    [pod] = world.pods()
    world.ready(pod)
    world.settle()
    world.delete(world.pods()[0])  # as eviction by taint does; its host says nothing
    world.settle()
    world.pass_time(11)  # a failure's pause, from when it was asked to go
    world.settle()
    [fresh] = world.pods()
    assert fresh.metadata.uid != pod.metadata.uid
    lost = [p for p in world.pods(active=False) if is_deleting(p)]
    assert [p.metadata.uid for p in lost] == [pod.metadata.uid]  # it is still waited for


def test_the_order_of_victims_by_state() -> None:  # C2
    world = World()
    world.apply(workload("ReplicaSet", replicas=4))
    world.settle()
    waiting, pending, broken, fine = world.pods()
    for pod, ready in ((broken, False), (fine, True)):
        bound = copy_of(pod)
        bound.spec.node_name = "a"
        world.put(bound)
        world.ready(_pod(world, pod), ready)
    bound = copy_of(pending)
    bound.spec.node_name = "b"
    world.put(bound)
    for left, gone in ((3, waiting), (2, pending), (1, broken)):
        world.apply(workload("ReplicaSet", replicas=left))
        world.settle()
        assert gone.metadata.name not in {p.metadata.name for p in world.pods()}
    assert [p.metadata.name for p in world.pods()] == [fine.metadata.name]


def _pod(world: World, pod: Pod) -> Pod:
    held = world.view.pod("default", pod.metadata.name)
    assert held is not None
    return held


def test_what_a_pod_counts_for_that_asks_for_nothing() -> None:  # K2
    assert ASSUMED == {"cpu": 100, "memory": 200 * 1024 * 1024}
    assert weights({}) == (100, 200 * 1024 * 1024)
    assert weights({"cpu": 500}) == (500, 200 * 1024 * 1024)
