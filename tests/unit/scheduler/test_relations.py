"""Pods about other pods: affinity, anti-affinity, spreading, ports; and who goes for whom (K1-K3, K5)."""

import random

import pytest

from mesh.model import manifest
from mesh.model.kinds import Object, key_of
from mesh.scheduler.cluster import Cluster
from mesh.scheduler.pipeline import Pass, namespaces_of, pending, place
from mesh.scheduler.scheduler import ALL, Scheduler
from mesh.store.port import Event as Change
from mesh.v1.core_pb2 import Node, Pod
from mesh.v1.policy_pb2 import PodDisruptionBudget
from mesh.view import View
from tests.unit.scheduler.test_scheduler import NOW, node, view_of


def zoned(name: str, zone: str, cpu: str = "4") -> Node:
    return node(name, cpu=cpu, **{"topology.kubernetes.io/zone": zone, "kubernetes.io/hostname": name})


def pod(name: str, spec: str = "", labels: str = "{}", on: str = "", cpu: str = "", second: int = 0) -> Pod:
    where = f"nodeName: {on}, " if on else ""
    room = f", resources: {{requests: {{cpu: '{cpu}'}}}}" if cpu else ""
    text = (
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default, labels: {labels}}}\n"
        f"spec: {{{where}{spec}{', ' if spec else ''}containers: [{{name: c, image: i{room}}}]}}\n"
    )
    made = manifest.load(text, "test").objects[0]
    assert isinstance(made, Pod)
    made.metadata.uid = f"uid-{name}"
    made.metadata.creation_timestamp.seconds = second
    if on:
        made.status.phase = "Running"
    return made


def placed(*objs: Object) -> dict[str, str]:
    return {p.pod.metadata.name: p.node or p.why_not for p in place(view_of(*objs))}


def together(kind: str, key: str, app: str = "web") -> str:
    term = f"{{topologyKey: {key}, labelSelector: {{matchLabels: {{app: {app}}}}}}}"
    return f"affinity: {{{kind}: {{requiredDuringSchedulingIgnoredDuringExecution: [{term}]}}}}"


ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
NODES = (zoned("a", "east"), zoned("b", "east"), zoned("c", "west"))


def test_pods_go_where_their_friends_are() -> None:
    friend = pod("friend", labels="{app: web}", on="c")
    assert placed(*NODES, friend, pod("p", together("podAffinity", ZONE)))["p"] == "c"
    alone = placed(*NODES, pod("p", together("podAffinity", ZONE)))["p"]
    assert alone == "0/3 nodes are available: 3 node(s) didn't match pod affinity rules."
    first = [pod(f"p{i}", together("podAffinity", ZONE), "{app: web}", second=i) for i in range(4)]
    zones = {{"a": "east", "b": "east", "c": "west"}[n] for n in placed(*NODES, *first).values()}
    assert len(zones) == 1  # the first of a group goes anywhere, the others after it


def test_pods_keep_apart_both_ways() -> None:
    three = [pod(f"p{i}", together("podAntiAffinity", HOST), "{app: web}", second=i) for i in range(4)]
    found = placed(*NODES, *three)
    assert sorted(found[f"p{i}"] for i in range(3)) == ["a", "b", "c"]
    assert found["p3"] == "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules."
    shy = pod("shy", together("podAntiAffinity", ZONE, "noisy"), on="a")
    assert placed(*NODES, shy, pod("loud", labels="{app: noisy}"))["loud"] == "c"
    only = placed(NODES[0], shy, pod("loud", labels="{app: noisy}"))["loud"]
    assert only == "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules."


def test_wishes_are_wishes() -> None:
    term = f"{{topologyKey: {HOST}, labelSelector: {{matchLabels: {{app: web}}}}}}"
    wish = f"preferredDuringSchedulingIgnoredDuringExecution: [{{weight: 100, podAffinityTerm: {term}}}]"
    friend = pod("friend", labels="{app: web}", on="b", cpu="1")
    assert placed(*NODES, friend, pod("p", f"affinity: {{podAffinity: {{{wish}}}}}"))["p"] == "b"
    assert placed(*NODES, friend, pod("p", f"affinity: {{podAntiAffinity: {{{wish}}}}}"))["p"] != "b"
    assert placed(NODES[1], friend, pod("p", f"affinity: {{podAntiAffinity: {{{wish}}}}}"))["p"] == "b"


def spread(key: str, skew: int = 1, when: str = "DoNotSchedule", more: str = "") -> str:
    return (
        f"topologySpreadConstraints: [{{topologyKey: {key}, maxSkew: {skew}, whenUnsatisfiable: {when}, "
        f"labelSelector: {{matchLabels: {{app: web}}}}{more}}}]"
    )


def test_spreading_over_zones() -> None:
    six = [pod(f"p{i}", spread(ZONE), "{app: web}", second=i) for i in range(6)]
    found = placed(*NODES, *six)
    assert [n in ("a", "b") for n in found.values()].count(True) == 3
    full = [zoned("a", "east"), zoned("b", "west", cpu="0")]
    wanting = [pod(f"p{i}", spread(ZONE), "{app: web}", cpu="1", second=i) for i in range(2)]
    assert placed(*full, *wanting)["p1"] == (
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match pod topology spread constraints."
    )
    bare = placed(node("x"), pod("p", spread(ZONE), "{app: web}"))["p"]
    assert "missing required label" in bare


@pytest.mark.parametrize(("policy", "third"), [
    ("", "waits"), (", nodeTaintsPolicy: Ignore", "waits"), (", nodeTaintsPolicy: Honor", "goes"),
])  # fmt: skip
def test_a_tainted_domain_counts_unless_taints_are_honoured(policy: str, third: str) -> None:
    closed = zoned("c", "west")
    closed.spec.taints.add(key="dedicated", effect="NoSchedule")
    two = [pod(f"p{i}", spread(ZONE, more=policy), "{app: web}", second=i) for i in range(2)]
    found = placed(zoned("a", "east"), closed, *two)
    assert ("a" if third == "goes" else "0/2 nodes") in found["p1"]
    cordoned = zoned("c", "west")
    cordoned.spec.unschedulable = True
    found = placed(zoned("a", "east"), cordoned, *two)
    assert ("a" if third == "goes" else "0/2 nodes") in found["p1"]


@pytest.mark.parametrize(("policy", "goes"), [("", True), (", nodeAffinityPolicy: Honor", True),
                                              (", nodeAffinityPolicy: Ignore", False)])  # fmt: skip
def test_a_domain_that_the_pod_may_not_go_to_counts_only_if_affinity_is_ignored(policy: str, goes: bool) -> None:
    here = spread(ZONE, more=policy) + f", nodeSelector: {{{ZONE}: east}}"
    two = [pod(f"p{i}", here, "{app: web}", second=i) for i in range(2)]
    found = placed(zoned("a", "east"), zoned("c", "west"), *two)
    assert (found["p1"] == "a") == goes


def test_fewer_domains_than_asked_for_count_as_empty() -> None:
    both = [pod(f"p{i}", spread(ZONE, more=", minDomains: 3"), "{app: web}", second=i) for i in range(3)]
    found = placed(*NODES, *both)
    assert sum(n in ("a", "b", "c") for n in found.values()) == 2  # one in each zone, and no more


def test_pods_of_one_owner_spread_without_being_told() -> None:
    children = []
    for i in range(6):
        child = pod(f"p{i}", second=i)
        child.metadata.owner_references.add(kind="ReplicaSet", name="web", uid="rs", controller=True)
        children.append(child)
    busy = [pod(f"busy{i}", on="a", cpu="100m") for i in range(3)]
    found = placed(*(node(n, **{HOST: n}) for n in "abc"), *busy, *children)
    assert [list(found.values()).count(n) for n in "abc"] == [2, 2, 2]


def test_a_port_of_a_host_is_taken_once() -> None:
    text = pod("one", on="a")
    text.spec.containers[0].ports.add(container_port=80, host_port=80)
    wants = pod("two")
    wants.spec.containers[0].ports.add(container_port=80, host_port=80)
    assert placed(NODES[0], text, wants)["two"] == (
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    )
    wants.spec.containers[0].ports[0].protocol = "UDP"
    assert placed(NODES[0], text, wants)["two"] == "a"


def test_gates_are_waited_for() -> None:
    assert placed(*NODES, pod("p", "schedulingGates: [{name: example.com/wait}]")) == {}


def test_images_that_are_there_draw() -> None:
    has = node("b")
    has.status.images.add(names=["i"], size_bytes=900 * 1024 * 1024)
    assert placed(node("a"), has, pod("p"))["p"] == "b"


# ---- K5


def ranked(name: str, priority: int, cpu: str = "2", on: str = "", labels: str = "{}", second: int = 0) -> Pod:
    made = pod(name, labels=labels, on=on, cpu=cpu, second=second)
    made.spec.priority = priority
    return made


def preempted(*objs: Object) -> tuple[list[str], str]:
    """Who has to go, and for which node the pod `vip` is nominated."""
    plan = Scheduler().reconcile(ALL, view_of(*objs), NOW)
    pods = [w.object for w in plan.writes if isinstance(w.object, Pod)]
    going = sorted(p.metadata.name for p in pods if p.metadata.HasField("deletion_timestamp"))
    return going, next((p.status.nominated_node_name for p in pods if p.metadata.name == "vip"), "")


def test_the_least_harm() -> None:
    there = [ranked("a1", 10, "4", "a"), ranked("c1", 5, "4", "c")]
    there += [ranked("b1", 5, "2", "b"), ranked("b2", 5, "2", "b")]
    assert preempted(*NODES, *there, ranked("vip", 100, "2")) == (["b2"], "b")  # one is enough, of low priority
    assert preempted(*NODES, *there, ranked("vip", 100, "4")) == (["c1"], "c")
    assert preempted(*NODES, *there, ranked("vip", 10, "4")) == (["c1"], "c")
    assert preempted(*NODES, *there, ranked("vip", 5, "4")) == ([], "")  # only lesser ones go
    assert preempted(*NODES, *there, ranked("vip", 100, "8")) == ([], "")  # nothing would help


def test_budgets_are_broken_last() -> None:
    budget = PodDisruptionBudget(api_version="policy/v1", kind="PodDisruptionBudget")
    budget.metadata.name, budget.metadata.namespace = "keep", "default"
    budget.spec.selector.match_labels["app"] = "db"
    there = [ranked("a1", 1, "4", "a", "{app: db}"), ranked("b1", 50, "4", "b")]
    assert preempted(*NODES[:2], budget, *there, ranked("vip", 100, "4")) == (["b1"], "b")


def test_a_budget_lets_so_many_go_and_no_more() -> None:
    budget = PodDisruptionBudget(api_version="policy/v1", kind="PodDisruptionBudget")
    budget.metadata.name, budget.metadata.namespace = "keep", "default"
    budget.spec.selector.match_labels["app"] = "db"
    budget.status.disruptions_allowed = 1
    two = [ranked(f"a{i}", 1, "2", "a", "{app: db}") for i in range(2)]
    there = [*two, ranked("b1", 50, "4", "b")]
    assert preempted(*NODES[:2], budget, *there, ranked("vip", 100, "2")) == (["a0"], "a")  # one may go
    assert preempted(*NODES[:2], budget, *there, ranked("vip", 100, "4")) == (["b1"], "b")  # two may not
    budget.status.disruptions_allowed = 2
    assert preempted(*NODES[:2], budget, *there, ranked("vip", 100, "4")) == (["a0", "a1"], "a")


def test_who_may_not_preempt_waits_and_who_waits_does_it_once() -> None:
    there = [ranked("a1", 1, "4", "a")]
    polite = ranked("vip", 100, "4")
    polite.spec.preemption_policy = "Never"
    assert preempted(NODES[0], *there, polite) == ([], "")
    there[0].metadata.deletion_timestamp.seconds = 1
    waiting = ranked("vip", 100, "4")
    waiting.status.nominated_node_name = "a"
    assert preempted(NODES[0], *there, waiting)[0] == []


def test_room_that_is_made_is_not_given_to_lesser_pods() -> None:
    there = [ranked("a1", 1, "4", "a")]
    there[0].metadata.deletion_timestamp.seconds = 1
    vip, sneaky = ranked("vip", 100, "4"), ranked("sneaky", 0, "100m")
    vip.status.nominated_node_name = "a"
    plan = Scheduler().reconcile(ALL, view_of(zoned("a", "east", "5"), *there, vip, ranked("big", 0, "2")), NOW)
    bound = [w.object.metadata.name for w in plan.writes if isinstance(w.object, Pod) and w.object.spec.node_name]
    assert bound == []
    assert sneaky.spec.priority == 0


# ---- one way to know the same


@pytest.mark.parametrize("seed", range(20))
def test_events_in_any_order_lead_to_the_same_answers(seed: int) -> None:
    rng = random.Random(seed)
    kept, view = Cluster(), View()
    things: dict[str, Object] = {}
    for revision in range(1, 120):
        name = rng.choice("abcdef")
        if rng.random() < 0.3:
            obj: Object = zoned(name, rng.choice(["east", "west"]), rng.choice(["2", "4"]))
        else:
            label = rng.choice(["{app: web}", "{}"])
            spec = rng.choice(["", spread(ZONE), together("podAntiAffinity", HOST)])
            obj = pod(f"p{rng.randint(0, 9)}", spec, label, rng.choice(["", "a", "b", "c"]), rng.choice(["", "1"]))
        key = key_of(obj)
        held = view.get(key)
        gone = held is not None and rng.random() < 0.4
        obj.metadata.resource_version = str(revision)
        obj.metadata.generation = revision
        event = Change(revision, key, None if gone else obj, held)
        view.apply([event])
        kept.on([event])
        if rng.random() < 0.5:
            kept.tally()  # from now on it is kept by counting
        things[str(key)] = obj
        fresh = Cluster.of(view)
        columns = [fresh.resources.index(r) if r in fresh.resources else -1 for r in kept.resources]
        for mine, column in enumerate(columns):
            theirs = fresh.tally().used[:, column] if column >= 0 else 0
            assert (kept.tally().used[:, mine] == theirs).all()
        answers = []
        for cluster in (kept, fresh):
            run = Pass(cluster, namespaces_of(view))
            answers.append([(p.node, p.why_not) for p in map(run.place, pending(view))])
        assert answers[0] == answers[1]


@pytest.mark.parametrize("seed", range(20))
def test_many_at_once_as_one_by_one(seed: int) -> None:
    rng = random.Random(seed)
    nodes = [zoned(f"n{i}", rng.choice(["east", "west", "north"]), rng.choice(["1", "2", "8"])) for i in range(7)]
    waiting = []
    for i in range(30):
        spec = rng.choice(["", "", spread(ZONE), spread(HOST, 2, "ScheduleAnyway"), together("podAntiAffinity", HOST)])
        waiting.append(pod(f"p{i}", spec, rng.choice(["{app: web}", "{}"]), cpu=rng.choice(["", "500m"]), second=i))
    at_once = placed(*nodes, *waiting)
    one_by_one: dict[str, str] = {}
    there: list[Pod] = []
    for each in waiting:
        found = placed(*nodes, *there, each)
        one_by_one[each.metadata.name] = found[each.metadata.name]
        if len(found[each.metadata.name]) < 4:
            bound = Pod()
            bound.CopyFrom(each)
            bound.spec.node_name = found[each.metadata.name]
            there.append(bound)
    assert at_once == one_by_one
