"""Where pods go, in one pass, and what is said when they can go nowhere (K1, K2, K4)."""

import pytest

from mesh.model.keys import Key
from mesh.model.kinds import Object, key_of
from mesh.model.times import SECOND
from mesh.reconcile.plan import NOTHING
from mesh.scheduler.pipeline import Pass, Placement, place
from mesh.scheduler.scheduler import ALL, Scheduler
from mesh.store.port import Event as Change
from mesh.store.port import Snapshot
from mesh.v1.core_pb2 import (
    Affinity,
    Event,
    Node,
    NodeAffinity,
    NodeCondition,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    Pod,
    Taint,
    Toleration,
)
from mesh.view import View
from tests.harness import objects

NOW = 1_790_000_000 * SECOND


def node(name: str, cpu: str = "4", memory: str = "8Gi", pods: str = "110", **labels: str) -> Node:
    made = Node()
    made.metadata.name = name
    made.metadata.labels.update(labels)
    made.spec.pod_cidr = "10.244.0.0/24"
    made.status.allocatable.update({"cpu": cpu, "memory": memory, "pods": pods})
    made.status.conditions.append(NodeCondition(type="Ready", status="True"))
    return made


def pending(name: str, cpu: str = "", second: int = 0, **spec: object) -> Pod:
    pod = objects.pod(name, cpu=cpu, **spec)
    pod.metadata.uid = f"uid-{name}"
    pod.metadata.creation_timestamp.seconds = second
    return pod


def view_of(*objs: Object) -> View:
    everything = [objects.namespace("default"), *objs]
    for i, obj in enumerate(everything, 1):
        obj.metadata.resource_version = str(i)
    return View(Snapshot(100, everything))


def placed(*objs: Object) -> dict[str, str]:
    return {p.pod.metadata.name: p.node or p.why_not for p in place(view_of(*objs))}


def test_the_emptier_node_is_taken_and_each_choice_counts() -> None:
    busy = pending("busy", cpu="2", node_name="a")
    found = placed(node("a"), node("b"), busy, *(pending(f"p{i}", cpu="1", second=i) for i in range(4)))
    assert [found[f"p{i}"] for i in range(2)] == ["b", "b"]
    assert {found["p2"], found["p3"]} == {"a", "b"}


def test_pods_that_ask_for_nothing_spread_too() -> None:
    found = placed(node("a"), node("b"), node("c"), *(pending(f"p{i}") for i in range(30)))
    assert sorted(list(found.values()).count(n) for n in "abc") == [10, 10, 10]


def test_the_same_view_gives_the_same_answer() -> None:
    everything = (node("a"), node("b"), *(pending(f"p{i}") for i in range(7)))
    assert placed(*everything) == placed(*everything)


def test_every_node_says_why_not() -> None:
    cordoned, silent, tainted = node("b"), node("c"), node("d")
    cordoned.spec.unschedulable = True
    silent.status.conditions[0].status = "Unknown"
    tainted.spec.taints.append(Taint(key="gpu", value="yes", effect="NoSchedule"))
    big = pending("big", cpu="16")
    found = placed(node("a"), cordoned, silent, tainted, big)
    assert found["big"] == (
        "0/4 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {gpu: yes}, "
        "1 node(s) were not ready, 1 node(s) were unschedulable."
    )


def test_a_mesh_without_hosts_says_so() -> None:
    assert placed(pending("p"))["p"] == "0/0 nodes are available: no host has joined yet."


def test_selectors_affinity_and_tolerations_choose() -> None:
    tainted = node("b", disk="ssd")
    tainted.spec.taints.append(Taint(key="gpu", value="yes", effect="NoExecute"))
    wants = NodeSelectorRequirement(key="disk", operator="In", values=["ssd", "nvme"])
    term = NodeSelector(node_selector_terms=[NodeSelectorTerm(match_expressions=[wants])])
    affine = Affinity(node_affinity=NodeAffinity(required_during_scheduling_ignored_during_execution=term))
    tolerates = [Toleration(key="gpu", operator="Exists")]
    found = placed(
        node("a", disk="hdd"),
        tainted,
        pending("selects", node_selector={"disk": "hdd"}),
        pending("affine", affinity=affine, tolerations=tolerates),
        pending("refused", node_selector={"disk": "ssd"}),
    )
    assert (found["selects"], found["affine"]) == ("a", "b")
    assert found["refused"] == (
        "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
        "1 node(s) had untolerated taint {gpu: yes}."
    )


def test_pressure_keeps_away_who_does_not_tolerate_it() -> None:  # N2
    def under(pressure: str, pod: Pod) -> str:
        pressed = node("a")
        pressed.spec.taints.append(Taint(key=f"node.kubernetes.io/{pressure}-pressure", effect="NoSchedule"))
        return placed(pressed, pod)["p"]

    no = "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/%s-pressure: }."
    anything = [Toleration(operator="Exists")]
    assert under("memory", pending("p")) == no % "memory"
    assert under("memory", pending("p", cpu="1")) == "a"  # who asked for something is counted on
    assert under("disk", pending("p", cpu="1")) == no % "disk"
    assert under("pid", pending("p", cpu="1")) == no % "pid"
    assert [under(p, pending("p", tolerations=anything)) for p in ("memory", "disk", "pid")] == ["a"] * 3


def test_room_counts_pods_resources_and_not_the_dead() -> None:
    dead = pending("dead", cpu="4", node_name="a")
    dead.status.phase = "Succeeded"
    found = placed(node("a", pods="2"), dead, *(pending(f"p{i}", second=i) for i in range(3)))
    assert (found["p0"], found["p1"]) == ("a", "a")
    assert found["p2"] == "0/1 nodes are available: 1 Too many pods."


def test_who_came_first_and_who_weighs_more_goes_first() -> None:
    urgent = pending("urgent", cpu="3", second=9, priority=5)
    found = placed(node("a"), pending("early", cpu="3", second=1), urgent)
    assert found["urgent"] == "a"
    assert "Insufficient cpu" in found["early"]


def test_pods_that_are_not_ours_are_left_alone() -> None:
    deleted = pending("deleted")
    deleted.metadata.deletion_timestamp.seconds = 1
    assert placed(node("a"), deleted, pending("foreign", scheduler_name="other"), pending("bound", node_name="a")) == {}


# ---- the controller


def test_all_that_fit_are_bound_in_one_commit_with_events() -> None:
    plan = Scheduler().reconcile(ALL, view_of(node("a"), pending("p0"), pending("p1")), NOW)
    pods = [w.object for w in plan.writes if isinstance(w.object, Pod)]
    told = [w.object for w in plan.writes if isinstance(w.object, Event)]
    assert [(p.spec.node_name, p.status.conditions[0].status) for p in pods] == [("a", "True")] * 2
    assert told[0].message == "Successfully assigned default/p0 to a"
    assert all(w.expect for w in plan.writes if isinstance(w.object, Pod))


def test_a_reason_is_said_once_and_again_when_it_changes() -> None:
    pod = pending("p", cpu="16")
    plan = Scheduler().reconcile(ALL, view_of(node("a"), pod), NOW)
    waiting, told = (w.object for w in plan.writes)
    assert isinstance(waiting, Pod)
    assert isinstance(told, Event)
    condition = waiting.status.conditions[0]
    assert (condition.type, condition.status, condition.reason) == ("PodScheduled", "False", "Unschedulable")
    assert condition.message == told.message == "0/1 nodes are available: 1 Insufficient cpu."
    assert (told.reason, told.type, told.involved_object.name) == ("FailedScheduling", "Warning", "p")
    assert not Scheduler().reconcile(ALL, view_of(node("a"), waiting, told), NOW).writes
    more = Scheduler().reconcile(ALL, view_of(node("a"), node("b"), waiting, told), NOW)
    assert len(more.writes) == 2


def test_it_looks_only_when_something_matters() -> None:
    scheduler = Scheduler()

    def looks(now: Object | None, before: Object | None) -> bool:
        obj = now or before
        assert obj is not None
        change = Change(1, key_of(obj), now, before)
        return bool(list(scheduler.keys(change)))

    calm, beating, cordoned = node("a"), node("a"), node("a")
    beating.status.conditions[0].last_heartbeat_time.seconds = 5
    cordoned.spec.unschedulable = True
    running, bound, ended = pending("p", node_name="a"), pending("p", node_name="a"), pending("p", node_name="a")
    running.status.phase, ended.status.phase = "Running", "Succeeded"
    waiting = pending("p")
    waiting.status.phase = "Pending"
    assert looks(pending("p"), None)
    assert not looks(waiting, pending("p"))  # its own word
    assert not looks(bound, waiting)
    assert not looks(running, bound)
    assert looks(ended, running)
    assert looks(None, running)
    assert not looks(None, ended)
    assert looks(calm, None)
    assert not looks(beating, calm)
    assert looks(cordoned, calm)
    assert not looks(objects.config_map("c"), None)


def test_a_pod_on_which_a_pass_fails_is_tried_by_itself_and_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, bad = Pass.place, Key("Pod", "default", "bad")

    def place_all_but_bad(run: Pass, pod: Pod) -> Placement:
        if pod.metadata.name == "bad":
            raise KeyError(pod.metadata.name)
        return whole(run, pod)

    monkeypatch.setattr(Pass, "place", place_all_but_bad)
    view, scheduler = view_of(node("a"), pending("bad"), pending("good", second=1)), Scheduler()
    plan = scheduler.reconcile(ALL, view, NOW)
    assert [w.key.name for w in plan.writes if w.key.kind == "Pod"] == ["good"]
    assert plan.apart == [bad]
    assert scheduler.reconcile(ALL, view_of(node("a"), pending("bad")), NOW) == NOTHING
    with pytest.raises(KeyError):
        scheduler.reconcile(bad, view, NOW)
    monkeypatch.setattr(Pass, "place", whole)
    assert [w.key.name for w in scheduler.reconcile(bad, view, NOW).writes if w.key.kind == "Pod"] == ["bad"]
    assert len([w for w in scheduler.reconcile(ALL, view, NOW).writes if w.key.kind == "Pod"]) == 2
