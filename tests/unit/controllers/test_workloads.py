"""ReplicaSets, Deployments and DaemonSets in a world that does as the test says, row by row."""

import pytest

from mesh.controllers.deployment import LIMIT
from mesh.controllers.victims import COST, first_to_go
from mesh.model.conditions import find
from mesh.model.fields import copy_of
from mesh.model.times import SECOND, to_timestamp
from mesh.model.workloads import REVISION, template_hash
from mesh.v1.apps_pb2 import ControllerRevision, DaemonSet, Deployment, ReplicaSet
from mesh.v1.core_pb2 import Pod, Taint
from tests.harness import objects
from tests.harness.workshop import START, World


def workload(kind: str, name: str = "web", image: str = "example:1", version: str = "apps/v1", **spec: object) -> str:
    fields = "".join(f"  {k}: {v}\n" for k, v in spec.items())
    selector = f"{{app: {name}}}" if kind == "ReplicationController" else f"{{matchLabels: {{app: {name}}}}}"
    return (
        f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n{fields}"
        f"  selector: {selector}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n"
        f"    spec: {{containers: [{{name: c, image: '{image}'}}]}}\n"
    )


def names(world: World) -> list[str]:
    return [p.metadata.name for p in world.pods()]


def images(world: World) -> list[str]:
    return [p.spec.containers[0].image for p in world.pods()]


# ---- C1, C2


@pytest.mark.parametrize(("kind", "version"), [("ReplicaSet", "apps/v1"), ("ReplicationController", "v1")])
def test_so_many_pods_no_more_and_no_less(kind: str, version: str) -> None:
    world = World()
    world.apply(workload(kind, version=version, replicas=3))
    world.obey()
    assert len(world.pods()) == 3
    world.delete(world.pods()[0])
    world.settle()
    assert len(world.pods()) == 3  # before the old one is gone
    world.obey()
    world.apply(workload(kind, version=version, replicas=1))
    world.obey()
    held = world.get(kind, "web")
    assert len(world.pods()) == 1
    assert (held.status.replicas, held.status.ready_replicas, held.status.observed_generation) == (1, 1, 2)
    assert {"SuccessfulCreate", "SuccessfulDelete"} <= set(world.events(kind))


def test_matching_orphans_are_adopted_and_others_released() -> None:
    world = World()
    orphan = objects.pod("orphan")
    orphan.metadata.labels["app"] = "web"
    world.put(orphan)
    world.apply(workload("ReplicaSet", replicas=2))
    world.settle()
    assert len(world.pods()) == 2
    assert "orphan" in names(world)
    strayed = copy_of(world.pods()[0])
    strayed.metadata.labels["app"] = "else"
    world.put(strayed)
    world.settle()
    assert len(world.pods()) == 3
    free = world.view.pod("default", strayed.metadata.name)
    assert free is not None
    assert not free.metadata.owner_references
    back = copy_of(free)
    back.metadata.labels["app"] = "web"
    world.put(back)
    world.settle()
    assert len(world.pods()) == 2


def test_a_failed_pod_is_replaced_and_stays_to_be_looked_at() -> None:
    world = World()
    world.apply(workload("ReplicaSet", replicas=2))
    world.obey()
    world.ends(world.pods()[0], 1)
    world.obey()
    assert len(world.pods()) == 2
    assert len(world.pods(active=False)) == 3


def test_minimum_ready_seconds_are_waited_for() -> None:
    world = World()
    world.apply(workload("ReplicaSet", replicas=1, minReadySeconds=30))
    world.obey()
    assert world.get("ReplicaSet", "web").status.available_replicas == 0
    world.pass_time(29)
    world.settle()
    assert world.get("ReplicaSet", "web").status.available_replicas == 0
    world.pass_time(2)
    world.settle()
    assert world.get("ReplicaSet", "web").status.available_replicas == 1


def test_what_cannot_be_made_is_said() -> None:
    world = World()
    world.apply(workload("ReplicaSet", replicas=1))
    ending = objects.namespace("default")
    ending.metadata.deletion_timestamp.seconds = 1
    world.put(ending)
    world.settle()
    held = world.get("ReplicaSet", "web")
    failure = find(held.status.conditions, "ReplicaFailure")
    assert failure is not None
    assert "being deleted" in failure.message


def test_the_order_in_which_pods_are_given_up() -> None:
    def pod(name: str, node: str = "a", phase: str = "Running", ready_for: int = -1, cost: str = "",
            restarts: int = 0) -> Pod:  # fmt: skip
        made = objects.pod(name, node_name=node)
        made.metadata.uid = name
        made.status.phase = phase
        made.metadata.creation_timestamp.seconds = START // SECOND - 1000
        if ready_for >= 0:
            at = to_timestamp(START - ready_for * SECOND)
            made.status.conditions.add(type="Ready", status="True").last_transition_time.CopyFrom(at)
        if cost:
            made.metadata.annotations[COST] = cost
        made.status.container_statuses.add(name="main", restart_count=restarts)
        return made

    pods = [
        pod("unassigned", ""), pod("pending", phase="Pending"), pod("unready"), pod("cheap", ready_for=900, cost="-5"),
        pod("crowded", "b", ready_for=900), pod("young", "c", ready_for=3), pod("restarted", "c", ready_for=900,
                                                                               restarts=4),
        pod("old", "c", ready_for=900), pod("dear", ready_for=900, cost="7"),
    ]  # fmt: skip
    related = [*pods, *(pod(f"other{i}", "b") for i in range(5)), *(pod(f"more{i}", "c") for i in range(2))]
    order = [p.metadata.name for p in first_to_go(list(reversed(pods)), related, START)]
    assert order == ["unassigned", "pending", "unready", "cheap", "crowded", "young", "restarted", "old", "dear"]


# ---- C3-C7


def test_a_deployment_rolls_and_keeps_its_past() -> None:
    world = World()
    world.apply(workload("Deployment", replicas=4, image="example:1"))
    world.obey()
    held = world.get("Deployment", "web")
    assert isinstance(held, Deployment)
    [first] = [s for s in world.view.of_kind("ReplicaSet") if isinstance(s, ReplicaSet)]
    assert first.metadata.name == f"web-{template_hash(held.spec.template)}"
    assert first.metadata.annotations[REVISION] == held.metadata.annotations[REVISION] == "1"
    world.apply(workload("Deployment", replicas=4, image="example:2"))
    least, most = 99, 0

    def look(_view: object) -> None:
        nonlocal least, most
        ready = [p for p in world.pods() if find(p.status.conditions, "Ready")]
        least, most = min(least, len(ready)), max(most, len(world.pods()))

    world.watch = look
    world.obey()
    assert images(world) == ["example:2"] * 4
    assert (least, most) == (3, 5)  # 25 % of 4, both ways
    held = world.get("Deployment", "web")
    assert isinstance(held, Deployment)
    assert held.metadata.annotations[REVISION] == "2"
    progressing = find(held.status.conditions, "Progressing")
    assert progressing is not None
    assert (progressing.status, progressing.reason) == ("True", "NewReplicaSetAvailable")
    world.apply(workload("Deployment", replicas=4, image="example:1"))  # and back: the old set, a new revision
    world.obey()
    assert len(world.view.of_kind("ReplicaSet")) == 2
    assert world.get("ReplicaSet", first.metadata.name).metadata.annotations[REVISION] == "3"
    assert images(world) == ["example:1"] * 4


def test_recreate_lets_every_old_pod_go_first() -> None:
    world = World()
    recreate = {"replicas": 3, "strategy": "{type: Recreate}"}
    world.apply(workload("Deployment", **recreate))
    world.obey()
    world.apply(workload("Deployment", image="example:2", **recreate))
    mixed = []
    world.watch = lambda _view: mixed.append(len({p.spec.containers[0].image for p in world.pods(active=False)}) > 1)
    world.obey()
    assert not any(mixed)
    assert images(world) == ["example:2"] * 3


def test_a_broken_rollout_stops_says_so_and_eats_nothing() -> None:
    world = World()
    world.apply(workload("Deployment", replicas=4, progressDeadlineSeconds=60))
    world.obey()
    world.apply(workload("Deployment", image="broken:1", replicas=4, progressDeadlineSeconds=60))
    for _ in range(20):
        world.settle()
        world.bind()
        for pod in world.view.pods():
            if pod.metadata.HasField("deletion_timestamp"):
                world.gone(pod)
        world.pass_time(10)
    ready = [p for p in world.pods() if find(p.status.conditions, "Ready")]
    assert [p.spec.containers[0].image for p in ready] == ["example:1"] * 3
    held = world.get("Deployment", "web")
    assert isinstance(held, Deployment)
    progressing = find(held.status.conditions, "Progressing")
    assert progressing is not None
    assert (progressing.status, progressing.reason) == ("False", "ProgressDeadlineExceeded")
    available = find(held.status.conditions, "Available")
    assert available is not None
    assert available.status == "True"


def test_paused_means_no_rollout_but_scaling() -> None:
    world = World()
    world.apply(workload("Deployment", replicas=2))
    world.obey()
    world.apply(workload("Deployment", image="example:2", replicas=4, paused="true"))
    world.obey()
    assert images(world) == ["example:1"] * 4
    world.apply(workload("Deployment", image="example:2", replicas=4))
    world.obey()
    assert images(world) == ["example:2"] * 4


def test_history_has_a_limit() -> None:
    world = World()
    for version in range(6):
        world.apply(workload("Deployment", image=f"example:{version}", replicas=1, revisionHistoryLimit=2))
        world.obey()
    assert len(world.view.of_kind("ReplicaSet")) == 3


def test_a_deployment_deleted_takes_all_with_it_or_lets_it_be() -> None:
    for propagation, left in (("Background", 0), ("Foreground", 0), ("Orphan", 2)):
        world = World()
        world.apply(workload("Deployment", replicas=2))
        world.obey()
        world.delete(world.get("Deployment", "web"), propagation)
        if propagation == "Foreground":
            world.settle()
            assert world.get("Deployment", "web").metadata.HasField("deletion_timestamp")
        world.obey()
        assert world.view.count("Deployment") == 0
        assert len(world.pods()) == left
        assert world.view.count("ReplicaSet") == (1 if left else 0)


# ---- C10


def test_a_daemon_set_has_a_pod_on_every_node_that_will_have_it() -> None:
    world = World()
    world.apply(workload("DaemonSet"))
    world.obey()
    assert sorted(p.spec.node_name for p in world.pods()) == ["a", "b", "c"]
    fourth = copy_of(world.view.nodes()[0])
    fourth.metadata.name = "d"
    fourth.spec.taints.append(Taint(key="node.kubernetes.io/memory-pressure", effect="NoSchedule"))
    world.put(fourth)
    world.obey()
    assert len(world.pods()) == 4  # it tolerates pressure
    closed = copy_of(world.view.nodes()[0])
    closed.spec.taints.append(Taint(key="dedicated", effect="NoExecute"))
    world.put(closed)
    world.obey()
    held = world.get("DaemonSet", "web")
    assert isinstance(held, DaemonSet)
    assert (held.status.desired_number_scheduled, held.status.number_ready) == (3, 3)
    assert len(world.pods()) == 3


def test_a_daemon_set_rolls_one_node_after_the_other() -> None:
    world = World()
    world.apply(workload("DaemonSet"))
    world.obey()
    world.apply(workload("DaemonSet", image="example:2"))
    least = 99

    def look(_view: object) -> None:
        nonlocal least
        least = min(least, sum(find(p.status.conditions, "Ready") is not None for p in world.pods()))

    world.watch = look
    world.obey()
    assert images(world) == ["example:2"] * 3
    assert least == 2
    assert len([r for r in world.view.of_kind("ControllerRevision") if isinstance(r, ControllerRevision)]) == 2


def test_a_failed_daemon_pod_is_made_again_after_a_pause_that_doubles() -> None:
    world = World(nodes=["a"])
    world.apply(workload("DaemonSet"))
    world.obey()
    pauses = []
    for _ in range(4):
        [pod] = world.pods()
        world.ends(pod, 1)
        world.obey()
        waited = 0
        while not world.pods():
            world.pass_time(1)
            world.obey()
            waited += 1
        pauses.append(waited)
    assert pauses == [1, 2, 4, 8]


@pytest.mark.parametrize("kind", ["DaemonSet", "StatefulSet"])
@pytest.mark.parametrize(("propagation", "left"), [("Foreground", 0), ("Orphan", 3)])
def test_a_set_with_revisions_goes_and_makes_none_while_it_waits(kind: str, propagation: str, left: int) -> None:
    world = World()
    world.apply(workload(kind, "db", **({"replicas": 3} if kind == "StatefulSet" else {})))
    world.obey()
    world.delete(world.get(kind, "db"), propagation)
    world.obey()
    assert world.view.of_kind(kind) == []
    assert len(world.pods()) == left
    assert len(world.view.of_kind("ControllerRevision")) == (1 if left else 0)


@pytest.mark.parametrize("written", ["abc", "\u00b2", "-1", "9" * 5000])
def test_counts_that_somebody_has_overwritten_stop_no_rollout(written: str) -> None:
    world = World()
    world.apply(workload("Deployment", "web", replicas=3))
    world.obey()
    [held] = world.view.of_kind("ReplicaSet")
    told = copy_of(held)
    told.metadata.annotations.update({REVISION: written, LIMIT: written})
    world.put(told)
    world.apply(workload("Deployment", "web", image="example:2", replicas=5))
    world.obey()
    assert images(world) == ["example:2"] * 5
