"""Changing what exists: update, apply and patch; what may change, what is kept, what is noticed."""

import json
from collections.abc import Callable

import pytest

from mesh.admission import admit, pods
from mesh.admission.admit import Stamp
from mesh.errors import Conflict, Invalid
from mesh.model import manifest
from mesh.model.digest import LAST_APPLIED
from mesh.model.fields import copy_of
from mesh.model.kinds import Object
from mesh.v1.apps_pb2 import Deployment
from mesh.v1.core_pb2 import ConfigMap, Node, Pod, Secret
from mesh.view import View

Read = Callable[[str], Object]

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web, tier: front}}
spec:
  containers:
  - {name: a, image: "nginx:1", env: [{name: A, value: x}]}
"""


@pytest.fixture
def old(view: View, stamp: Stamp, read: Read) -> Pod:
    """A pod that was applied, is on a node and runs."""
    made = admit.apply(read(POD), None, view, stamp).object
    assert isinstance(made, Pod)
    made = admit.bind(made, "n1", stamp.now)
    made.metadata.resource_version = "9"
    made.status.phase = "Running"
    return made


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


# ---- apply --------------------------------------------------------------------------------------------------------


def test_applying_the_same_twice_is_the_old_object_itself(old: Pod, view: View, stamp: Stamp, read: Read) -> None:
    admitted = admit.apply(read(POD), old, view, stamp)
    assert admitted.object is old
    assert admitted.warnings == ()


def test_what_one_user_leaves_out_goes_and_what_others_wrote_stays(
    old: Pod, view: View, stamp: Stamp, read: Read
) -> None:
    held = copy_of(old)
    held.metadata.labels["by-others"] = "1"
    made = admit.apply(read(POD.replace(", tier: front", "").replace("nginx:1", "nginx:2")), held, view, stamp).object
    assert isinstance(made, Pod)
    assert dict(made.metadata.labels) == {"app": "web", "by-others": "1"}
    assert made.spec.containers[0].image == "nginx:2"
    assert made.spec.node_name == "n1"
    assert made.spec.containers[0].image_pull_policy == "IfNotPresent"
    assert made.status == held.status


def test_what_was_created_otherwise_is_taken_over(view: View, stamp: Stamp, read: Read) -> None:
    held = admit.create(read(POD), view, stamp).object
    made = admit.apply(read(POD.replace(", tier: front", "")), held, view, stamp).object
    assert made is not held
    assert dict(made.metadata.labels) == {"app": "web", "tier": "front"}  # nobody has applied "tier": it stays
    assert LAST_APPLIED in made.metadata.annotations


def test_the_annotation_holds_what_was_written(old: Pod) -> None:
    applied = json.loads(old.metadata.annotations[LAST_APPLIED])
    assert applied["spec"] == {"containers": [{"name": "a", "image": "nginx:1", "env": [{"name": "A", "value": "x"}]}]}
    assert "status" not in applied and "annotations" not in applied["metadata"]


def test_a_manifest_printed_by_get_can_be_applied_again(old: Pod, view: View, stamp: Stamp, read: Read) -> None:
    printed = manifest.to_yaml(old)
    admitted = admit.apply(read(printed), old, view, stamp)
    assert admitted.warnings == ()
    assert admitted.object.metadata.generation == 1
    (again,) = manifest.load(printed, "x").objects
    assert admit.apply(again, admitted.object, view, stamp).object is admitted.object


def test_no_value_of_a_secret_is_in_its_annotation(view: View, stamp: Stamp, read: Read) -> None:
    text = "{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {a: c2VjcmV0}, stringData: {b: hidden}}"
    held = admit.apply(read(text), None, view, stamp).object
    assert isinstance(held, Secret)
    annotation = held.metadata.annotations[LAST_APPLIED]
    assert "c2VjcmV0" not in annotation and "hidden" not in annotation and "aGlkZGVu" not in annotation
    assert admit.apply(read(text), held, view, stamp).object is held
    made = admit.apply(read(text.replace("data: {a: c2VjcmV0}, ", "")), held, view, stamp).object
    assert isinstance(made, Secret)
    assert dict(made.data) == {"b": b"hidden"}  # what is no longer applied goes, though its value was not remembered


def test_kubectls_own_annotation_is_left_out(view: View, stamp: Stamp, read: Read) -> None:
    foreign = "kubectl.kubernetes.io/last-applied-configuration"
    text = f"{{apiVersion: v1, kind: Secret, metadata: {{name: s, annotations: {{{foreign}: x}}}}, data: {{a: YQ==}}}}"
    admitted = admit.apply(read(text), None, view, stamp)
    assert foreign not in admitted.object.metadata.annotations
    assert len(admitted.warnings) == 1
    assert "was left out" in admitted.warnings[0]


def test_a_large_config_map_can_be_applied(view: View, stamp: Stamp, read: Read) -> None:
    text = f"{{apiVersion: v1, kind: ConfigMap, metadata: {{name: c}}, data: {{a: {'x' * 900_000}}}}}"
    held = admit.apply(read(text), None, view, stamp).object
    assert admit.apply(read(text), held, view, stamp).object is held


def test_a_spoilt_annotation_is_as_none(old: Pod, view: View, stamp: Stamp, read: Read) -> None:
    for spoilt in (
        "{", "[]", "5", "[" * 20_000, '{"spec":5}', '{"metadata":[1]}', '{"metadata":{"labels":7}}',
        '{"spec":{"containers":5}}', '{"spec":{"containers":{"name":1}}}', '{"spec":{"containers":[5,{"name":{}}]}}',
    ):  # fmt: skip
        held = copy_of(old)
        held.metadata.annotations[LAST_APPLIED] = spoilt
        made = admit.apply(read(POD), held, view, stamp).object
        assert json.loads(made.metadata.annotations[LAST_APPLIED])["kind"] == "Pod"


DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: a, image: i}]}
"""


def test_who_applies_another_strategy_loses_what_belonged_to_the_old(view: View, stamp: Stamp, read: Read) -> None:
    held = admit.apply(read(DEPLOYMENT), None, view, stamp).object
    assert isinstance(held, Deployment)
    assert held.spec.strategy.rolling_update.max_surge.string_value == "25%"
    recreated = admit.apply(read(DEPLOYMENT + "  strategy: {type: Recreate}"), held, view, stamp).object
    assert isinstance(recreated, Deployment)
    assert recreated.spec.strategy.type == "Recreate" and not recreated.spec.strategy.HasField("rolling_update")
    again = admit.apply(read(DEPLOYMENT + "  strategy: {type: RollingUpdate}"), recreated, view, stamp).object
    assert isinstance(again, Deployment)
    assert again.spec.strategy == held.spec.strategy


def test_who_applies_the_same_strategy_leaves_what_others_wrote(view: View, stamp: Stamp, read: Read) -> None:
    text = DEPLOYMENT + "  strategy: {type: RollingUpdate}"
    held = admit.apply(read(text), None, view, stamp).object
    patched = admit.patch({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 5}}}}, held, view, stamp).object
    assert admit.apply(read(text), patched, view, stamp).object is patched


def test_who_applies_another_source_of_a_volume_loses_what_others_made_of_the_old(
    view: View, stamp: Stamp, read: Read
) -> None:
    text = DEPLOYMENT.replace("image: i}]", "image: i}], volumes: [{name: v, SOURCE}]")
    held = admit.create(read(text.replace("SOURCE", "emptyDir: {}")), view, stamp).object  # nothing was applied yet
    made = admit.apply(read(text.replace("SOURCE", "configMap: {name: c}")), held, view, stamp).object
    assert isinstance(made, Deployment)
    (volume,) = made.spec.template.spec.volumes
    assert volume.config_map.name == "c" and not volume.HasField("empty_dir")


def test_applying_to_what_is_leaving_warns(old: Pod, view: View, stamp: Stamp, read: Read) -> None:
    leaving = admit.delete(old, None, view, stamp).object
    assert leaving is not None
    admitted = admit.apply(read(POD), leaving, view, stamp)
    assert admitted.object is leaving
    assert admitted.warnings == ('Pod "web": is being deleted; apply it again when it is gone',)


def test_a_generated_name_cannot_be_applied(view: View, stamp: Stamp, read: Read) -> None:
    with pytest.raises(Invalid, match=r"metadata\.name: is required to apply"):
        admit.apply(read(POD.replace("name: web", "generateName: web-")), None, view, stamp)


def test_applying_a_status_warns(old: Pod, view: View, stamp: Stamp, read: Read) -> None:
    admitted = admit.apply(read(POD + "status: {phase: Failed}\n"), old, view, stamp)
    assert admitted.object is old
    assert admitted.warnings == ('Pod "web": status is the mesh\'s to write and was left out',)


# ---- patch --------------------------------------------------------------------------------------------------------


def test_a_merge_patch_sets_removes_and_replaces(old: Pod, view: View, stamp: Stamp) -> None:
    made = admit.patch({"metadata": {"labels": {"tier": None, "x": "y"}}}, old, view, stamp).object
    assert dict(made.metadata.labels) == {"app": "web", "x": "y"}
    assert admit.patch({}, old, view, stamp).object is old
    assert admit.patch({"spec": {"activeDeadlineSeconds": 5.0}}, old, view, stamp).object.metadata.generation == 2


def test_a_patch_is_read_as_strictly_as_a_manifest(old: Pod, view: View, stamp: Stamp) -> None:
    with pytest.raises(Invalid, match=r'Pod "web": spec\.restartPolici: unknown field'):
        admit.patch({"spec": {"restartPolici": "Never"}}, old, view, stamp)
    with pytest.raises(Invalid, match="kind: may not change"):
        admit.patch({"kind": "Node"}, old, view, stamp)
    with pytest.raises(Invalid, match=r"metadata\.name: may not change"):
        admit.patch({"metadata": {"name": "other"}}, old, view, stamp)
    with pytest.raises(Conflict):
        admit.patch({"metadata": {"resourceVersion": "3"}}, old, view, stamp)
