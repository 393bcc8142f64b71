"""Readiness of nodes, the end of namespaces, old events, leftovers: what each controller plans next."""

from mesh.controllers.events import Events
from mesh.controllers.leftovers import Leftovers
from mesh.controllers.namespaces import Namespaces
from mesh.controllers.nodes import NOT_READY, UNREACHABLE, Nodes, silent
from mesh.model.keys import Key
from mesh.model.kinds import Object, key_of
from mesh.model.times import SECOND, to_timestamp
from mesh.reconcile.plan import Plan
from mesh.store.port import Event as Change
from mesh.store.port import Snapshot, Write
from mesh.v1.core_pb2 import Event, Namespace, Node, NodeCondition, Pod, Taint
from mesh.view import View
from tests.harness import objects

NOW = 1_790_000_000 * SECOND


def view_of(*objs: Object) -> View:
    everything = [objects.namespace("default"), *objs]
    for i, obj in enumerate(everything, 1):
        obj.metadata.resource_version = str(i)
    return View(Snapshot(100, everything))


def after(view: View, writes: list[Write]) -> View:
    """The view once the writes are in it."""
    moved = view.copy()
    for write in writes:
        if write.object is not None:
            write.object.metadata.resource_version = "101"
    moved.apply([Change(101, w.key, w.object, view.get(w.key)) for w in writes])
    return moved


def node(ready: str = "True") -> Node:
    made = Node()
    made.metadata.name = "a"
    if ready:
        made.status.conditions.append(NodeCondition(type="Ready", status=ready))
    made.status.conditions.append(NodeCondition(type="DiskPressure", status="False"))
    return made


def taints(view: View) -> set[tuple[str, str]]:
    held = view.node("a")
    assert held is not None
    return {(t.key, t.effect) for t in held.spec.taints}


def follow(view: View) -> View:
    plan = Nodes().reconcile(Key("Node", "", "a"), view, NOW)
    moved = after(view, list(plan.writes))
    assert Nodes().reconcile(Key("Node", "", "a"), moved, NOW) == Plan()
    return moved


# ---- nodes (N1, N2)


def test_silence_makes_every_condition_unknown_and_is_said_once() -> None:
    view = view_of(node())
    writes = silent("a", view, NOW)
    moved = after(view, writes)
    held = moved.node("a")
    assert held is not None
    assert {(c.type, c.status, c.reason) for c in held.status.conditions} == {
        ("Ready", "Unknown", "NodeStatusUnknown"),
        ("DiskPressure", "Unknown", "NodeStatusUnknown"),
    }
    assert taints(moved) == {(UNREACHABLE, "NoSchedule")}
    assert [w.object.reason for w in writes if isinstance(w.object, Event)] == ["NodeNotReady"]
    assert silent("a", moved, NOW) == []
    assert follow(moved).revision == 101
    assert silent("ghost", view, NOW) == []


def test_taints_follow_the_hosts_word() -> None:
    assert taints(follow(view_of(node("True")))) == set()
    assert taints(follow(view_of(node("False")))) == {(NOT_READY, "NoSchedule")}
    assert taints(follow(view_of(node("")))) == {(NOT_READY, "NoSchedule")}
    driven = node("Unknown")
    driven.spec.taints.extend(Taint(key=NOT_READY, effect=e) for e in ("NoSchedule", "NoExecute"))
    assert taints(follow(view_of(driven))) == {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}


def test_a_host_that_is_back_loses_our_taints_and_no_others() -> None:
    held = node("True")
    held.spec.taints.extend(Taint(key=k, effect="NoSchedule") for k in (UNREACHABLE, "dedicated", NOT_READY))
    view = view_of(held)
    plan = Nodes().reconcile(Key("Node", "", "a"), view, NOW)
    assert [w.object.reason for w in plan.writes if isinstance(w.object, Event)] == ["NodeReady"]
    assert taints(after(view, list(plan.writes))) == {("dedicated", "NoSchedule")}


def test_a_pressure_keeps_new_pods_away_while_it_is_told() -> None:  # N2
    names = {"MemoryPressure": "memory", "DiskPressure": "disk", "PIDPressure": "pid"}
    for name, word in names.items():
        held = node("True")
        del held.status.conditions[1:]
        held.status.conditions.append(NodeCondition(type=name, status="True"))
        held.spec.taints.append(Taint(key="dedicated", effect="NoSchedule"))
        view = view_of(held)
        pressed = follow(view)
        key = f"node.kubernetes.io/{word}-pressure"
        assert taints(pressed) == {(key, "NoSchedule"), ("dedicated", "NoSchedule")}
        told = Nodes().reconcile(Key("Node", "", "a"), view, NOW).writes
        assert [w for w in told if isinstance(w.object, Event)] == []
        for status in ("False", "Unknown"):
            over = pressed.copy()
            calm = Node()
            calm.CopyFrom(pressed.node("a"))  # type: ignore[arg-type] # it is there
            calm.status.conditions[1].status = status
            over.apply([Change(101, key_of(calm), calm, pressed.node("a"))])
            assert taints(follow(over)) == {("dedicated", "NoSchedule")}


# ---- namespaces


def ending(name: str = "team") -> Namespace:
    made = objects.namespace(name)
    made.metadata.deletion_timestamp.seconds = 1
    return made


def test_a_namespace_empties_then_goes() -> None:
    key = Key("Namespace", "", "team")
    running = objects.pod("runs", "team", node_name="a")
    waiting, told = objects.pod("waits", "team"), Event()
    told.metadata.name, told.metadata.namespace = "e", "team"
    view = view_of(ending(), running, waiting, objects.config_map("c", "team"), objects.config_map("other"), told)
    view = after(view, list(Namespaces().reconcile(key, view, NOW).writes))
    assert {o.metadata.name for o in view.objects() if o.metadata.namespace == "team"} == {"runs", "e"}
    held = view.pod("team", "runs")
    assert held is not None
    assert held.metadata.HasField("deletion_timestamp")
    assert Namespaces().reconcile(key, view, NOW).writes == []  # the host is waited for
    view.apply([Change(102, key_of(held), None, held)])
    view = after(view, list(Namespaces().reconcile(key, view, NOW).writes))
    assert view.namespace("team") is None
    assert [o.metadata.name for o in view.of_kind("Event")] == []
    assert view.get(Key("ConfigMap", "default", "other")) is not None


def test_a_living_namespace_is_left_alone() -> None:
    view = view_of(objects.namespace("team"), objects.config_map("c", "team"))
    assert Namespaces().reconcile(Key("Namespace", "", "team"), view, NOW) == Plan()
    assert Namespaces().reconcile(Key("Namespace", "", "ghost"), view, NOW) == Plan()


# ---- events (S8)


def event(name: str, age_seconds: int) -> Event:
    made = Event()
    made.metadata.name, made.metadata.namespace = name, "default"
    made.last_timestamp.CopyFrom(to_timestamp(NOW - age_seconds * SECOND))
    return made


def test_events_go_after_an_hour_and_the_oldest_when_there_are_too_many() -> None:
    view = view_of(event("old", 3601), event("young", 3599), event("new", 1))
    key = Key("Events", "", "all")
    plan = Events().reconcile(key, view, NOW)
    assert [w.key.name for w in plan.writes] == ["old"]
    assert plan.requeue_after == 60
    assert [w.key.name for w in Events(most=1).reconcile(key, view, NOW).writes] == ["old", "young"]
    assert Events().reconcile(key, view_of(), NOW) == Plan()


# ---- leftovers (N6)


def doomed(node_name: str = "ghost") -> Pod:
    pod = objects.pod("p", node_name=node_name)
    pod.metadata.deletion_timestamp.CopyFrom(to_timestamp(NOW + 30 * SECOND))
    pod.metadata.deletion_grace_period_seconds = 30
    return pod


def test_pods_of_nodes_that_are_not_there_go_after_a_while() -> None:
    key = Key("Pod", "default", "p")
    assert Leftovers().reconcile(key, view_of(doomed()), NOW + 10 * SECOND) == Plan((), 30)
    [write] = Leftovers().reconcile(key, view_of(doomed()), NOW + 40 * SECOND).writes
    assert (write.key, write.object) == (key, None)
    missed = Leftovers()  # nobody deletes it: its node was there, or is still to come
    pod = objects.pod("p", node_name="ghost")
    assert missed.reconcile(key, view_of(pod), NOW) == Plan((), 40)
    assert missed.reconcile(Key("Node", "", "ghost"), view_of(pod), NOW + 15 * SECOND) == Plan([], 25)
    [write] = missed.reconcile(key, view_of(pod), NOW + 40 * SECOND).writes
    assert (write.key, write.object) == (key, None)


def test_pods_of_silent_nodes_stay_and_what_waits_for_others_ends_without_a_node() -> None:
    key = Key("Pod", "default", "p")
    assert Leftovers().reconcile(key, view_of(doomed("a"), node("Unknown")), NOW + 900 * SECOND).writes == ()
    back = Leftovers()
    assert back.reconcile(key, view_of(objects.pod("p", node_name="a")), NOW) == Plan((), 40)
    assert back.reconcile(Key("Node", "", "a"), view_of(objects.pod("p", node_name="a"), node()), NOW) == Plan()
    later = NOW + 50 * SECOND  # it is missed anew
    assert back.reconcile(key, view_of(objects.pod("p", node_name="a")), later) == Plan((), 40)
    held = doomed()
    held.metadata.finalizers.append("example.com/hold")
    [write] = Leftovers().reconcile(key, view_of(held), NOW + 900 * SECOND).writes
    assert isinstance(write.object, Pod)
    assert (write.object.status.phase, write.object.metadata.deletion_grace_period_seconds) == ("Failed", 0)
    moved = view_of(write.object)
    assert Leftovers().reconcile(key, moved, NOW + 900 * SECOND).writes == []


def test_of_pods_that_have_ended_the_newest_are_kept() -> None:
    pods = [objects.pod(f"p{i}", node_name="a") for i in range(5)]
    for i, pod in enumerate(pods):
        pod.metadata.creation_timestamp.seconds = 100 - i
        pod.status.phase = "Succeeded" if i else "Running"
    key = Key("Pods", "", "ended")
    assert [*Leftovers().keys(Change(1, key_of(pods[1]), pods[1], pods[1]))] == [key]
    assert [w.key.name for w in Leftovers(2).reconcile(key, view_of(node(), *pods), NOW).writes] == ["p4", "p3"]
    assert Leftovers(5).reconcile(key, view_of(node(), *pods), NOW) == Plan()
