"""Disruption budgets: what they count, what they let go, and that evictions spend them (C18, N7)."""

import pytest

from mesh.admission import budgets as admission
from mesh.admission.admit import Stamp
from mesh.admission.evict import evict
from mesh.controllers.budgets import Budgets
from mesh.errors import Conflict
from mesh.model import budgets
from mesh.model.budgets import Count
from mesh.model.conditions import find
from mesh.model.keys import Key
from mesh.model.manifest import load
from mesh.store.port import Event
from mesh.v1.core_pb2 import Pod
from mesh.v1.policy_pb2 import PodDisruptionBudget
from tests.harness.workshop import World
from tests.unit.controllers.test_workloads import workload


def budget(spec: str, name: str = "pdb") -> str:
    head = f"apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {{name: {name}, namespace: default}}\n"
    return f"{head}spec: {{selector: {{matchLabels: {{app: web}}}}, {spec}}}"


def parsed(spec: str) -> PodDisruptionBudget:
    [made] = load(budget(spec), "test").objects
    assert isinstance(made, PodDisruptionBudget)
    return made


def pods(ready: int, broken: int = 0) -> list[Pod]:
    made = []
    for number in range(ready + broken):
        pod = Pod()
        pod.metadata.name, pod.metadata.namespace = f"p{number}", "default"
        pod.status.phase = "Running"
        pod.status.conditions.add(type="Ready", status="True" if number < ready else "False")
        made.append(pod)
    return made


@pytest.mark.parametrize(("spec", "ready", "broken", "scale", "count"), [
    ("minAvailable: 2", 3, 1, 0, Count(4, 3, 2, 1)),
    ("minAvailable: 5", 3, 0, 0, Count(3, 3, 5, 0)),
    ("minAvailable: 50%", 4, 1, 5, Count(5, 4, 3, 1)),  # a share is rounded up
    ("minAvailable: 100%", 3, 0, 3, Count(3, 3, 3, 0)),
    ("maxUnavailable: 1", 3, 0, 3, Count(3, 3, 2, 1)),
    ("maxUnavailable: 1", 2, 1, 3, Count(3, 2, 2, 0)),
    ("maxUnavailable: 30%", 7, 0, 7, Count(7, 7, 4, 3)),
    ("maxUnavailable: 10", 3, 0, 3, Count(3, 3, 0, 3)),
    ("maxUnavailable: 0", 3, 0, 3, Count(3, 3, 3, 0)),
    ("minAvailable: 1", 0, 0, 0, Count(0, 0, 1, 0)),
    ("unhealthyPodEvictionPolicy: AlwaysAllow", 3, 0, 3, Count(0, 3, 0, 0)),  # who says nothing allows nothing
])  # fmt: skip
def test_what_a_budget_amounts_to(spec: str, ready: int, broken: int, scale: int, count: Count) -> None:
    assert budgets.count(parsed(spec), pods(ready, broken), scale) == count


@pytest.mark.parametrize(("spec", "field"), [
    ("minAvailable: 1, maxUnavailable: 1", "spec.maxUnavailable"), ("minAvailable: -1", "spec.minAvailable"),
    ("maxUnavailable: 1.5%", "spec.maxUnavailable"), ("maxUnavailable: 101%", "spec.maxUnavailable"),
    ("minAvailable: two", "spec.minAvailable"), ("minAvailable: 0", ""), ("maxUnavailable: 100%", ""),
])  # fmt: skip
def test_what_a_budget_may_say(spec: str, field: str) -> None:
    assert [v.field for v in admission.check(parsed(spec))] == [f for f in [field] if f]


def world(spec: str, kind: str = "Deployment", replicas: int = 3) -> World:
    made = World()
    made.apply(workload(kind, replicas=replicas))
    made.apply(budget(spec))
    made.obey()
    return made


def held(made: World, name: str = "pdb") -> PodDisruptionBudget:
    found = made.get("PodDisruptionBudget", name)
    assert isinstance(found, PodDisruptionBudget)
    return found


def evicts(made: World, pod: Pod) -> None:
    for write in evict(pod, None, made.view, Stamp(made.now, "", "")):
        made.put(write.object, write.key)


def test_the_status_follows_the_pods_and_what_they_should_be() -> None:
    made = world("maxUnavailable: 1")
    status = held(made).status
    assert (status.expected_pods, status.current_healthy, status.desired_healthy, status.disruptions_allowed) == (
        3, 3, 2, 1,
    )  # fmt: skip
    condition = find(status.conditions, "DisruptionAllowed")
    assert condition is not None
    assert (condition.status, condition.reason) == ("True", "SufficientPods")
    made.ready(made.pods()[0], ready=False)
    made.settle()
    status = held(made).status
    assert (status.current_healthy, status.disruptions_allowed) == (2, 0)
    condition = find(status.conditions, "DisruptionAllowed")
    assert condition is not None
    assert (condition.status, condition.reason) == ("False", "InsufficientPods")
    made.apply(workload("Deployment", replicas=5))
    made.obey()
    assert (held(made).status.expected_pods, held(made).status.desired_healthy) == (5, 4)


def test_pods_that_nobody_scales_are_counted_by_number_alone() -> None:
    made = World()
    made.apply("{apiVersion: v1, kind: Pod, metadata: {name: lone, labels: {app: web}}, "
               "spec: {containers: [{name: a, image: 'x:1'}]}}")  # fmt: skip
    made.apply(budget("maxUnavailable: 1"))
    made.apply(budget("minAvailable: 0", "number"))
    made.obey()
    condition = find(held(made).status.conditions, "DisruptionAllowed")
    assert condition is not None
    assert (condition.reason, held(made).status.disruptions_allowed) == ("SyncFailed", 0)
    assert "lone" in condition.message
    assert held(made, "number").status.disruptions_allowed == 1


def test_evictions_spend_the_budget_and_who_comes_too_late_is_told_which() -> None:
    made = world("minAvailable: 2")
    first, second, _ = made.pods()
    evicts(made, first)  # nobody has counted anew when the second comes
    assert held(made).status.disruptions_allowed == 0
    with pytest.raises(Conflict, match=r'budget "pdb" needs 2 healthy pods and has 3'):
        evicts(made, second)
    gone = made.view.pod("default", first.metadata.name)
    assert gone is not None
    condition = find(gone.status.conditions, "DisruptionTarget")
    assert condition is not None
    assert condition.reason == "EvictionByEvictionAPI"
    assert evict(gone, None, made.view, Stamp(made.now, "", "")) == []  # it is going already
    made.obey()
    evicts(made, second)


def test_all_budgets_of_a_pod_have_to_agree() -> None:
    made = world("minAvailable: 1")
    made.apply(budget("maxUnavailable: 0", "strict"))
    made.obey()
    with pytest.raises(Conflict, match='"strict"'):
        evicts(made, made.pods()[0])
    assert held(made).status.disruptions_allowed == 2


@pytest.mark.parametrize(("policy", "others_ready", "goes"), [
    ("", True, True),  # IfHealthyBudget: the rest is as it should be
    ("", False, False),
    ("AlwaysAllow", False, True),
])  # fmt: skip
def test_a_broken_pod_may_go(policy: str, others_ready: bool, goes: bool) -> None:
    more = f", unhealthyPodEvictionPolicy: {policy}" if policy else ""
    made = world("minAvailable: 2" + more)
    broken, other, _ = made.pods()
    made.ready(broken, ready=False)
    made.ready(other, ready=others_ready)
    made.settle()
    broken = made.pods()[0]
    if goes:
        evicts(made, broken)
        assert held(made).status.disruptions_allowed == 0
    else:
        with pytest.raises(Conflict):
            evicts(made, broken)


def test_what_serves_nobody_goes_freely_and_an_uncounted_budget_lets_nobody_go() -> None:
    made = world("maxUnavailable: 0")
    made.ends(made.pods()[0], 1)
    over = next(p for p in made.pods(active=False) if p.status.phase == "Failed")
    evicts(made, over)
    made.apply(budget("maxUnavailable: 2"))
    with pytest.raises(Conflict, match="still being counted"):
        evicts(made, made.pods()[0])


def test_a_budget_wakes_for_its_namespace_alone() -> None:
    it = Budgets()
    pod = Event(1, Key("Pod", "default", "p"), Pod(), None)
    assert [*it.keys(pod)] == []
    made = parsed("minAvailable: 1")
    key = Key("PodDisruptionBudget", "default", "pdb")
    assert [*it.keys(Event(1, key, made, None))] == [key]
    assert [*it.keys(Event(1, key, made, made))] == [key]
    assert [*it.keys(pod)] == [Key("Namespace", "default", "")]
    assert [*it.keys(Event(2, key, None, made))] == []
    assert [*it.keys(pod)] == []
