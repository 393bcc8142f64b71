"""A host falls silent: which host is emptied when, which pods go and how long they stay, and what a power-off ends."""

import pytest

from mesh.admission.admit import Stamp, update
from mesh.controllers.evictions import Evictions
from mesh.controllers.nodes import EVERYONE, NOT_READY, OUT_OF_SERVICE, UNREACHABLE, ZONE, Nodes, pace_of, silent
from mesh.controllers.unheard import Unheard
from mesh.model.conditions import find
from mesh.model.hosts import REACHABLE
from mesh.model.keys import Key
from mesh.model.kinds import Object
from mesh.model.times import SECOND, from_timestamp
from mesh.reconcile.plan import Plan
from mesh.store.port import Event as Change
from mesh.store.port import Snapshot
from mesh.v1.core_pb2 import Event, Node, NodeCondition, Pod, Taint, Toleration
from mesh.view import View
from tests.harness import objects

NOW = 1_790_000_000 * SECOND


def view_of(*objs: Object) -> View:
    everything = [objects.namespace("default"), *objs]
    for i, obj in enumerate(everything, 1):
        obj.metadata.resource_version = str(i)
    return View(Snapshot(100, everything))


def node(name: str, ready: str = "Unknown", lost: int = 0, zone: str = "") -> Node:
    """A host; `lost`: since how many seconds it is as it is."""
    made = Node()
    made.metadata.name = name
    if zone:
        made.metadata.labels[ZONE] = zone
    condition = NodeCondition(type="Ready", status=ready)
    condition.last_transition_time.FromNanoseconds(NOW - lost * SECOND)
    made.status.conditions.append(condition)
    return made


def tainted(name: str, *taints: tuple[str, str, int], ready: str = "Unknown") -> Node:
    """A host with taints: key, effect, and for how many seconds."""
    made = node(name, ready)
    for key, effect, age in taints:
        made.spec.taints.add(key=key, effect=effect).time_added.FromNanoseconds(NOW - age * SECOND)
    return made


def driven(plan: Plan) -> list[str]:
    """Hosts that are to be emptied from now on."""
    return [
        w.key.name for w in plan.writes
        if isinstance(w.object, Node) and any(t.effect == "NoExecute" for t in w.object.spec.taints)
    ]  # fmt: skip


# ---- which host, when (N4)


def test_a_lost_host_is_emptied_at_once_and_the_next_ten_seconds_later() -> None:
    up = [node(n, "True") for n in "de"]
    plan = Nodes().reconcile(EVERYONE, view_of(node("a", lost=2), node("b", lost=4), *up), NOW)
    assert (driven(plan), plan.requeue_after) == (["b"], 10)
    [write] = plan.writes
    assert isinstance(write.object, Node)
    assert [(t.key, t.effect, from_timestamp(t.time_added)) for t in write.object.spec.taints] == [
        (UNREACHABLE, "NoExecute", NOW)
    ]
    first = tainted("b", (UNREACHABLE, "NoExecute", 7))
    assert Nodes().reconcile(EVERYONE, view_of(node("a"), first, *up), NOW) == Plan([], 3)
    first = tainted("b", (UNREACHABLE, "NoExecute", 10))
    assert driven(Nodes().reconcile(EVERYONE, view_of(node("a"), first, *up), NOW)) == ["a"]


def test_zones_have_each_their_pace() -> None:
    hosts = [node("a", zone="x"), node("b", zone="y"), node("c", "True", zone="x"), node("d", "True", zone="y")]
    assert driven(Nodes().reconcile(EVERYONE, view_of(*hosts), NOW)) == ["a", "b"]


def test_nobody_is_driven_away_when_every_host_is_silent() -> None:
    assert Nodes().reconcile(EVERYONE, view_of(node("a"), node("b"), node("c", "False")), NOW) == Plan()
    assert Nodes().reconcile(EVERYONE, view_of(node("a")), NOW) == Plan()


@pytest.mark.parametrize(("nodes", "down", "pace"), [
    (3, 1, 10), (3, 2, 10), (5, 3, None), (10, 5, 10), (10, 6, None), (60, 33, 100), (60, 32, 10), (4, 4, 10),
])  # fmt: skip
def test_a_large_outage_is_a_brake(nodes: int, down: int, pace: int | None) -> None:
    assert pace_of(nodes, down) == pace


def test_turns_are_looked_at_when_a_host_changes_its_standing_alone() -> None:
    up, down = node("a", "True"), node("a")
    key = Key("Node", "", "a")
    assert [*Nodes().keys(Change(1, key, down, up))] == [key, EVERYONE]
    assert [*Nodes().keys(Change(1, key, up, up))] == [key]
    assert [*Nodes().keys(Change(1, key, None, up))] == [EVERYONE]


# ---- a host that answers though its agent does not


def spared(name: str = "a", lost: int = 0, answers: str = "True") -> Node:
    made = node(name, lost=lost)
    made.status.conditions.append(NodeCondition(type=REACHABLE, status=answers))
    return made


def test_a_host_that_answers_keeps_its_pods_for_a_time() -> None:
    up = node("b", "True")
    assert Nodes().reconcile(EVERYONE, view_of(spared(lost=10), up), NOW) == Plan([], 290)
    assert driven(Nodes().reconcile(EVERYONE, view_of(spared(lost=300), up), NOW)) == ["a"]
    assert driven(Nodes(20).reconcile(EVERYONE, view_of(spared(lost=20), up), NOW)) == ["a"]
    assert driven(Nodes().reconcile(EVERYONE, view_of(spared(lost=10, answers="False"), up), NOW)) == ["a"]
    others = [spared(lost=10), node("c", lost=2), up]
    plan = Nodes().reconcile(EVERYONE, view_of(*others), NOW)
    assert (driven(plan), plan.requeue_after) == (["c"], 290)


def test_a_host_that_answers_after_all_is_no_longer_emptied() -> None:
    late = spared(lost=3)
    late.spec.taints.extend(Taint(key=UNREACHABLE, effect=e) for e in ("NoSchedule", "NoExecute"))
    late.spec.taints.add(key="dedicated", effect="NoExecute")
    [write] = Nodes().reconcile(Key("Node", "", "a"), view_of(late), NOW).writes
    assert isinstance(write.object, Node)
    assert {(t.key, t.effect) for t in write.object.spec.taints} == {
        ("dedicated", "NoExecute"), (UNREACHABLE, "NoSchedule"),
    }  # fmt: skip
    assert Nodes(2).reconcile(Key("Node", "", "a"), view_of(late), NOW) == Plan()  # too late
    late.status.conditions[0].status = "False"  # it speaks, and says that it is not well
    [write] = Nodes().reconcile(Key("Node", "", "a"), view_of(late), NOW).writes
    assert isinstance(write.object, Node)
    assert (NOT_READY, "NoExecute") in {(t.key, t.effect) for t in write.object.spec.taints}


def test_what_a_silent_host_answers_is_said_as_it_changes() -> None:
    def reachable(answers: bool | None, *nodes: Node) -> tuple[str, str] | None:
        view = view_of(*nodes)
        [held] = [w.object for w in silent("a", view, NOW, answers) if isinstance(w.object, Node)] or [nodes[0]]
        found = find(held.status.conditions, REACHABLE)
        assert [c.status for c in held.status.conditions if c.type == "Ready"] == ["Unknown"]
        return (found.status, found.reason) if found is not None else None

    assert reachable(None, node("a", "True")) is None
    assert reachable(True, node("a", "True")) == ("True", "HostAnswers")
    assert reachable(False, spared()) == ("False", "HostDoesNotAnswer")
    assert reachable(None, spared()) == ("Unknown", "NotAsked")
    [first] = [w.object for w in silent("a", view_of(node("a")), NOW, True)]
    assert isinstance(first, Node)
    assert silent("a", view_of(first), NOW + 5 * SECOND, True) == []
    key, up = Key("Node", "", "a"), node("a")
    assert [*Nodes().keys(Change(1, key, first, up))] == [key, EVERYONE]


# ---- which pod, when (N3)

GONE = (UNREACHABLE, "NoExecute", 3)


def pod(*tolerations: Toleration, name: str = "p", age: int = 900) -> Pod:
    made = objects.pod(name, node_name="a")
    made.metadata.creation_timestamp.FromNanoseconds(NOW - age * SECOND)
    made.spec.tolerations.extend(tolerations)
    return made


def bears(seconds: int | None = None, key: str = "", value: str = "") -> Toleration:
    made = Toleration(key=key, operator="Equal" if value else "Exists", value=value, effect="NoExecute")
    if seconds is not None:
        made.toleration_seconds = seconds
    return made


def looked(*objs: Object) -> Plan:
    return Evictions(5).reconcile(Key("Node", "", "a"), view_of(*objs), NOW)


@pytest.mark.parametrize(("tolerations", "taint", "left"), [
    ((), GONE, 2.0),  # the mesh's five seconds
    ((), (NOT_READY, "NoExecute", 1), 4.0),
    ((), (UNREACHABLE, "NoExecute", 5), 0.0),
    ((bears(300),), GONE, 297.0),
    ((bears(0),), GONE, 0.0),
    ((bears(-7),), GONE, 0.0),
    ((bears(),), GONE, None),
    ((bears(60, UNREACHABLE), bears(5)), GONE, 57.0),  # the first that covers it
    ((bears(60, "other"),), GONE, 2.0),
    ((), ("dedicated", "NoExecute", 0), 0.0),  # set by a user: at once
    ((bears(10, "dedicated", "db"),), ("dedicated", "NoExecute", 0), 0.0),  # of another value
    ((bears(10, "dedicated"),), ("dedicated", "NoExecute", 4), 6.0),
    ((), ("dedicated", "NoSchedule", 900), None),
])  # fmt: skip
def test_how_long_a_pod_stays(tolerations: tuple[Toleration, ...], taint: tuple[str, str, int],
                              left: float | None) -> None:  # fmt: skip
    ready = "Unknown" if taint[0] in (UNREACHABLE, NOT_READY) else "True"
    plan = looked(tainted("a", taint, ready=ready), pod(*tolerations))
    assert plan.requeue_after == (left or None)
    assert bool(plan.writes) == (left == 0.0)


def test_the_shortest_of_several_taints_counts_and_never_from_before_the_pod() -> None:
    host = tainted("a", (UNREACHABLE, "NoExecute", 3), ("slow", "NoExecute", 3), ready="Unknown")
    assert looked(host, pod(bears(60, "slow"))).requeue_after == 2
    assert looked(host, pod(bears(60, "slow"), age=1)).requeue_after == 4


def test_an_evicted_pod_is_asked_to_go_and_says_why() -> None:
    plan = looked(tainted("a", (UNREACHABLE, "NoExecute", 9)), pod(), objects.pod("q", node_name="b"))
    told = {type(w.object): w.object for w in plan.writes}
    held = told[Pod]
    assert isinstance(held, Pod)
    assert held.metadata.HasField("deletion_timestamp")
    condition = find(held.status.conditions, "DisruptionTarget")
    assert condition is not None
    assert (condition.status, condition.reason) == ("True", "DeletionByTaintManager")
    assert [w.object.reason for w in plan.writes if isinstance(w.object, Event)] == ["TaintManagerEviction"]
    assert looked(tainted("a", (UNREACHABLE, "NoExecute", 9)), held).writes == []  # once


def test_mirrors_and_pods_that_have_ended_are_left_alone() -> None:
    mirror, over = pod(name="m"), pod(name="o")
    mirror.metadata.annotations["kubernetes.io/config.mirror"] = "x"
    over.status.phase = "Succeeded"
    assert looked(tainted("a", (UNREACHABLE, "NoExecute", 9)), mirror, over) == Plan([])


def test_pods_wake_the_controller_on_hosts_alone_that_drive_pods_away() -> None:
    it, host, key = Evictions(5), tainted("a", GONE), Key("Node", "", "a")
    born = Change(1, Key("Pod", "default", "p"), pod(), None)
    assert [*it.keys(born)] == []
    assert [*it.keys(Change(1, key, host, None))] == [key]
    assert [*it.keys(born)] == [key]
    assert [*it.keys(Change(1, key, node("a", "True"), host))] == []
    assert [*it.keys(born)] == []


# ---- a host that is off (N5)


def test_what_is_known_to_be_off_ends_its_pods() -> None:
    going, waits, stays = pod(name="going"), pod(name="waits"), pod(bears(), name="stays")
    for doomed in (going, waits):
        doomed.metadata.deletion_timestamp.FromNanoseconds(NOW)
        doomed.metadata.deletion_grace_period_seconds = 30
    waits.metadata.finalizers.append("batch.kubernetes.io/job-tracking")
    off = (OUT_OF_SERVICE, "NoExecute", 1)
    plan = looked(tainted("a", (UNREACHABLE, "NoExecute", 1), off), going, waits, stays)
    found = {w.key.name: w.object for w in plan.writes}
    assert found["going"] is None
    failed = found["waits"]
    assert isinstance(failed, Pod)
    assert (failed.status.phase, failed.metadata.deletion_grace_period_seconds) == ("Failed", 0)
    assert "stays" not in found  # a DaemonSet's, which comes back with its host
    still = looked(tainted("a", (UNREACHABLE, "NoExecute", 1)), going)
    assert still.writes == []  # silence alone ends nothing: it may still run there
    answers = looked(tainted("a", off, ready="True"), going)
    assert answers.writes == []  # a host that answers is not off, whatever is said


def test_a_host_that_is_back_is_off_no_more() -> None:
    back = tainted("a", (UNREACHABLE, "NoSchedule", 9), (OUT_OF_SERVICE, "NoExecute", 9), ready="True")
    back.spec.taints.append(Taint(key="dedicated", effect="NoExecute"))
    [write, _] = Nodes().reconcile(Key("Node", "", "a"), view_of(back), NOW).writes
    assert isinstance(write.object, Node)
    assert [t.key for t in write.object.spec.taints] == ["dedicated"]
    said = tainted("a", (OUT_OF_SERVICE, "NoExecute", 9), ready="True")
    assert Nodes().reconcile(Key("Node", "", "a"), view_of(said), NOW) == Plan()  # a user's, who knows why


def test_taints_of_users_say_since_when_they_drive_pods_away() -> None:
    old = node("a", "True")
    wish = Node()
    wish.CopyFrom(old)
    wish.spec.taints.extend([Taint(key="x", effect="NoExecute"), Taint(key="y", effect="NoSchedule")])
    first = update(wish, old, view_of(old), Stamp(NOW, "u", "")).object
    assert isinstance(first, Node)
    assert [from_timestamp(t.time_added) for t in first.spec.taints] == [NOW, 0]
    again = Node()
    again.CopyFrom(wish)
    again.metadata.labels["new"] = "yes"
    again.metadata.resource_version = first.metadata.resource_version
    second = update(again, first, view_of(first), Stamp(NOW + 60 * SECOND, "u", "")).object
    assert isinstance(second, Node)
    assert [from_timestamp(t.time_added) for t in second.spec.taints] == [NOW, 0]


# ---- what becomes of readiness (N2)


def up(name: str = "p", ready: str = "True") -> Pod:
    made = pod(name=name)
    made.status.phase = "Running"
    made.status.conditions.add(type="Ready", status=ready)
    return made


def test_pods_of_a_host_that_is_given_up_are_not_ready() -> None:
    key = Key("Node", "", "a")
    ended = up("done")
    ended.status.phase = "Succeeded"
    plan = Unheard(5).reconcile(
        key, view_of(tainted("a", (UNREACHABLE, "NoExecute", 5)), up(), up("q", "False"), ended), NOW
    )
    [told] = [w.object for w in plan.writes if isinstance(w.object, Pod)]
    condition = find(told.status.conditions, "Ready")
    assert condition is not None
    assert (told.metadata.name, condition.status, condition.reason) == ("p", "False", "NodeNotReady")
    assert from_timestamp(condition.last_transition_time) == NOW
    assert [w.object.reason for w in plan.writes if isinstance(w.object, Event)] == ["NodeNotReady"]
    assert Unheard(5).reconcile(key, view_of(tainted("a", GONE), up()), NOW) == Plan([], 2)
    for host in (tainted("a", (UNREACHABLE, "NoSchedule", 99)), tainted("a", GONE, ready="True"), node("b")):
        assert Unheard(5).reconcile(key, view_of(host, up()), NOW) == Plan()


def test_a_pod_is_looked_at_when_its_host_is_given_up() -> None:
    it, key = Unheard(), Key("Node", "", "a")
    word = Change(1, Key("Pod", "default", "p"), up(), up())
    assert [*it.keys(word)] == []
    assert [*it.keys(Change(1, key, tainted("a", GONE), None))] == [key]
    assert [*it.keys(word)] == [key]
    assert [*it.keys(Change(1, key, tainted("a", GONE, ready="True"), None))] == []
    assert [*it.keys(word)] == []
