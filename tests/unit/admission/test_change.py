"""Changing what exists: what may change in an update, what is kept, what is noticed."""

from collections.abc import Callable

import pytest

from mesh.admission import admit, pods
from mesh.admission.admit import Stamp
from mesh.errors import Conflict, Invalid
from mesh.model.fields import copy_of
from mesh.model.kinds import Object
from mesh.v1.core_pb2 import ConfigMap, Node, Pod, Secret
from mesh.view import View

Read = Callable[[str], Object]


def change(old: Pod, **spec: object) -> Pod:
    new = copy_of(old)
    for name, value in spec.items():
        setattr(new.spec, name, value)
    return new


# ---- update -------------------------------------------------------------------------------------------------------


def test_an_update_that_changes_nothing_is_the_old_object_itself(old: Pod, view: View, stamp: Stamp) -> None:
    assert admit.update(copy_of(old), old, view, stamp).object is old


def test_status_and_identity_stay_as_they_are(old: Pod, view: View, stamp: Stamp) -> None:
    new = copy_of(old)
    new.metadata.ClearField("uid")
    new.metadata.ClearField("creation_timestamp")
    new.metadata.generation = 77
    new.metadata.labels["app"] = "other"
    new.status.phase = "Failed"
    admitted = admit.update(new, old, view, stamp)
    made = admitted.object
    assert isinstance(made, Pod)
    assert (made.metadata.uid, made.metadata.generation, made.metadata.resource_version) == (old.metadata.uid, 1, "9")
    assert made.metadata.creation_timestamp == old.metadata.creation_timestamp
    assert made.status == old.status
    assert made.metadata.labels["app"] == "other"
    assert admitted.warnings == ('Pod "web": status is the mesh\'s to write and was left out',)


def test_the_generation_counts_changes_of_the_spec(old: Pod, view: View, stamp: Stamp) -> None:
    new = copy_of(old)
    new.spec.containers[0].image = "nginx:2"
    assert admit.update(new, old, view, stamp).object.metadata.generation == 2


@pytest.mark.parametrize(("field", "value"), [("resource_version", "8"), ("uid", "another")])
def test_who_means_another_version_is_told(old: Pod, view: View, stamp: Stamp, field: str, value: str) -> None:
    new = copy_of(old)
    setattr(new.metadata, field, value)
    with pytest.raises(Conflict, match=value):
        admit.update(new, old, view, stamp)  # (A8)
    with pytest.raises(Conflict, match=value):
        admit.apply(new, old, view, stamp)


def _image(pod: Pod) -> None:
    pod.spec.containers[0].image = "nginx:2"


def _deadline(pod: Pod) -> None:
    pod.spec.active_deadline_seconds = 60


def _toleration(pod: Pod) -> None:
    pod.spec.tolerations.add(operator="Exists")


@pytest.mark.parametrize("edit", [_image, _deadline, _toleration])
def test_what_may_change_in_a_pod(old: Pod, view: View, stamp: Stamp, edit: Callable[[Pod], None]) -> None:
    new = copy_of(old)
    edit(new)
    assert admit.update(new, old, view, stamp).object.metadata.generation == 2  # (A6)


def _command(pod: Pod) -> None:
    pod.spec.containers[0].command.append("x")


def _env(pod: Pod) -> None:
    pod.spec.containers[0].env[0].value = "y"


def _second(pod: Pod) -> None:
    pod.spec.containers.add(name="b", image="c")


def _node(pod: Pod) -> None:
    pod.spec.node_name = "n2"


def _policy(pod: Pod) -> None:
    pod.spec.restart_policy = "Never"


def _name(pod: Pod) -> None:
    pod.spec.containers[0].name = "z"


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (_command, "spec.containers[0].command"),
        (_env, "spec.containers[0].env[0].value"),
        (_second, "spec.containers"),
        (_node, "spec.nodeName"),
        (_policy, "spec.restartPolicy"),
        (_name, "spec.containers[0].name"),
    ],
)
def test_what_may_not(old: Pod, view: View, stamp: Stamp, edit: Callable[[Pod], None], field: str) -> None:
    new = copy_of(old)
    edit(new)
    with pytest.raises(Invalid) as caught:
        admit.update(new, old, view, stamp)
    assert [v.field for v in caught.value.violations] == [field]
    assert "only image, cpu and memory (in place), activeDeadlineSeconds (to be less), tol" in str(caught.value)


def sized(**resources: dict[str, str]) -> Pod:
    pod = Pod(spec={"containers": [{"name": "a", "image": "x:1", "resources": resources}]})
    pod.spec.init_containers.add(name="i", image="x:1").resources.CopyFrom(pod.spec.containers[0].resources)
    return pod


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ({"requests": {"cpu": "1"}}, {"requests": {"cpu": "2"}}, ""),
        ({"requests": {"cpu": "1"}}, {"requests": {"cpu": "1", "memory": "1Mi"}, "limits": {"memory": "2Mi"}}, ""),
        ({"requests": {"cpu": "1", "memory": "1"}}, {"requests": {"cpu": "1"}}, "resources.requests.memory"),
        (
            {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}},
            {"requests": {"cpu": "1"}},
            "resources.limits.cpu",
        ),
        ({}, {"requests": {"cpu": "1"}}, "resources"),  # BestEffort it stays
    ],
)
def test_a_resize(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]], field: str) -> None:  # L20
    old, new = sized(**before), sized(**before)
    new.spec.containers[0].resources.CopyFrom(sized(**after).spec.containers[0].resources)
    wrong = [v.field for v in pods.check_change(new, old)]
    assert wrong == ([f"spec.containers[0].{field}"] if field else [])


def test_only_what_lasts_is_resized() -> None:  # L20
    old, new = sized(requests={"cpu": "1"}), sized(requests={"cpu": "1"})
    new.spec.init_containers[0].resources.requests["cpu"] = "2"
    assert [v.field for v in pods.check_change(new, old)] == ["spec.initContainers[0].resources.requests.cpu"]
    for pod in (old, new):
        pod.spec.init_containers[0].restart_policy = "Always"
    assert list(pods.check_change(new, old)) == []


def test_a_deadline_only_shrinks_and_tolerations_only_grow(old: Pod, view: View, stamp: Stamp) -> None:
    held = change(old, active_deadline_seconds=60)
    held.spec.tolerations.add(operator="Exists")
    assert admit.update(change(held, active_deadline_seconds=59), held, view, stamp).object is not held
    for seconds in (61, None):
        new = copy_of(held)
        if seconds:
            new.spec.active_deadline_seconds = seconds
        else:
            new.spec.ClearField("active_deadline_seconds")
        with pytest.raises(Invalid, match=r"spec\.activeDeadlineSeconds: may only become less than 60"):
            admit.update(new, held, view, stamp)
    new = copy_of(held)
    del new.spec.tolerations[:]
    with pytest.raises(Invalid, match=r"spec\.tolerations: may only be added to"):
        admit.update(new, held, view, stamp)


def test_the_range_of_a_node_stays(view: View, stamp: Stamp) -> None:
    held = Node(api_version="v1", kind="Node", metadata={"name": "n1"}, spec={"pod_cidr": "10.244.1.0/24"})
    cordoned = copy_of(held)
    cordoned.spec.unschedulable = True
    assert admit.update(cordoned, held, view, stamp).object.metadata.generation == 1
    moved = copy_of(held)
    moved.spec.pod_cidr = "10.244.2.0/24"
    with pytest.raises(Invalid, match=r"spec\.podCIDR: may not change from 10\.244\.1\.0/24"):
        admit.update(moved, held, view, stamp)


def test_finalizers_are_not_added_to_what_is_leaving(old: Pod, view: View, stamp: Stamp) -> None:
    leaving = copy_of(old)
    leaving.metadata.deletion_timestamp.seconds = 5
    new = copy_of(leaving)
    new.metadata.finalizers.append("example.com/wait")
    with pytest.raises(Invalid, match=r"metadata\.finalizers"):
        admit.update(new, leaving, view, stamp)


# ---- configuration ------------------------------------------------------------------------------------------------


def test_immutable_configuration(view: View, stamp: Stamp, read: Read) -> None:
    held = admit.create(
        read(
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, "
            "immutable: true, data: {a: b}, binaryData: {c: aGk=}}"
        ),
        view, stamp,
    ).object  # fmt: skip
    assert isinstance(held, ConfigMap)
    labelled = copy_of(held)
    labelled.metadata.labels["x"] = "y"
    assert admit.update(labelled, held, view, stamp).object is not held
    other, binary, loose = copy_of(held), copy_of(held), copy_of(held)
    other.data["a"] = "c"
    binary.binary_data["c"] = b"x"
    loose.immutable = False
    for new, field in ((other, "data"), (binary, "binaryData"), (loose, "immutable")):
        with pytest.raises(Invalid) as caught:
            admit.update(new, held, view, stamp)
        assert caught.value.violations[0].field == field  # (V9)


def test_the_type_of_a_secret_stays(view: View, stamp: Stamp, read: Read) -> None:
    held = admit.create(
        read("{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {a: b}}"), view, stamp
    ).object
    new = copy_of(held)
    assert isinstance(new, Secret)
    new.type = "example.com/other"
    with pytest.raises(Invalid, match='type: may not change from "Opaque"'):
        admit.update(new, held, view, stamp)  # (V10)
