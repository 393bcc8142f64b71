"""What a pod's priority follows from (C18), and which gates may go (K1)."""

import pytest

from mesh.admission import admit
from mesh.admission.admit import Stamp
from mesh.errors import Invalid
from mesh.model import manifest
from mesh.model.kinds import Object
from mesh.store.port import Snapshot
from mesh.v1.core_pb2 import Pod
from mesh.v1.policy_pb2 import PriorityClass
from mesh.view import View
from tests.harness import objects

STAMP = Stamp(1_790_000_000 * 10**9, "u", "abcde")


def a_class(name: str, value: int, *, default: bool = False, policy: str = "") -> PriorityClass:
    made = PriorityClass(api_version="scheduling.k8s.io/v1", kind="PriorityClass", value=value, global_default=default)
    made.metadata.name = name
    if policy:
        made.preemption_policy = policy
    return made


def view_of(*objs: Object) -> View:
    return View(Snapshot(1, [objects.namespace("default"), *objs]))


def made(spec: str, *objs: Object) -> Pod:
    text = f"apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec: {{{spec} containers: [{{name: c, image: i}}]}}\n"
    pod = admit.create(manifest.load(text, "test").objects[0], view_of(*objs), STAMP).object
    assert isinstance(pod, Pod)
    return pod


def test_a_class_is_worth_what_it_says() -> None:
    high = a_class("high", 1000, policy="Never")
    pod = made("priorityClassName: high,", high)
    assert (pod.spec.priority, pod.spec.preemption_policy) == (1000, "Never")
    assert made("", high).spec.priority == 0
    assert made("priorityClassName: system-node-critical,").spec.priority == 2_000_001_000


def test_the_default_class_is_the_least_of_the_defaults() -> None:
    pod = made("", a_class("a", 7, default=True), a_class("b", 5, default=True))
    assert (pod.spec.priority, pod.spec.priority_class_name) == (5, "b")


@pytest.mark.parametrize(
    ("spec", "field"),
    [("priorityClassName: none,", "spec.priorityClassName"), ("priority: 5,", "spec.priority"),
     ("preemptionPolicy: Never,", "spec.preemptionPolicy")],
)  # fmt: skip
def test_a_priority_of_ones_own_is_refused(spec: str, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        made(spec)
    assert field in caught.value.message


def test_classes_have_bounds_and_do_not_change() -> None:
    for wrong in (a_class("big", 1_000_000_001), a_class("system-mine", 1)):
        with pytest.raises(Invalid):
            admit.create(wrong, view_of(), STAMP)
    with pytest.raises(Invalid, match="is the default already"):
        admit.create(a_class("b", 1, default=True), view_of(a_class("a", 2, default=True)), STAMP)
    old = admit.create(a_class("a", 2), view_of(), STAMP).object
    with pytest.raises(Invalid, match="value"):
        admit.update(a_class("a", 3), old, view_of(old), STAMP)


def test_gates_may_go_and_none_may_come() -> None:
    pod = made("schedulingGates: [{name: example.com/a}, {name: example.com/b}],")
    fewer = Pod()
    fewer.CopyFrom(pod)
    del fewer.spec.scheduling_gates[0]
    after = admit.update(fewer, pod, view_of(pod), STAMP).object
    assert isinstance(after, Pod)
    assert [g.name for g in after.spec.scheduling_gates] == ["example.com/b"]
    with pytest.raises(Invalid, match="schedulingGates"):
        admit.update(pod, after, view_of(after), STAMP)
