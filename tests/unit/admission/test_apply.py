"""Objects applied and patched: what is merged, what is taken over, what is told."""

import json
from collections.abc import Callable

import pytest

from mesh.admission import admit
from mesh.admission.admit import Stamp
from mesh.errors import Conflict, Invalid
from mesh.model import manifest
from mesh.model.digest import LAST_APPLIED
from mesh.model.fields import copy_of
from mesh.model.kinds import Object
from mesh.v1.apps_pb2 import Deployment
from mesh.v1.core_pb2 import Pod, Secret
from mesh.view import View
from tests.unit.admission.conftest import POD

Read = Callable[[str], Object]


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
