"""A StatefulSet's claims are volumes of its pods without being named twice (C8, V17)."""

import pytest

from mesh.admission.admit import Stamp, create, update
from mesh.errors import Invalid
from mesh.model.foretell import foretell
from mesh.model.manifest import load
from mesh.store.port import Snapshot
from mesh.v1.apps_pb2 import StatefulSet
from mesh.view import View
from tests.harness import objects

STAMP = Stamp(10**18, "11111111-2222-3333-4444-555555555555", "x7k2p")
VIEW = View(Snapshot(7, objects.namespaces()))
WEB = """
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: web}
spec:
  serviceName: web
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: "example:1", volumeMounts: [{name: MOUNT, mountPath: /data}]}]}
  volumeClaimTemplates:
  - metadata: {name: www}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""


def web(text: str = WEB, mount: str = "www") -> StatefulSet:
    (obj,) = load(text.replace("MOUNT", mount), "test").objects
    assert isinstance(obj, StatefulSet)
    return obj


def test_a_claim_may_be_mounted_and_is_completed() -> None:
    made = create(web(), VIEW, STAMP).object
    assert isinstance(made, StatefulSet)
    (claim,) = made.spec.volume_claim_templates
    assert (claim.spec.storage_class_name, claim.spec.volume_mode) == ("local", "Filesystem")
    assert update(made, made, VIEW, STAMP).object is made
    assert not [f for f in foretell(web()) if f.state == "refused"]


def test_another_volume_may_not() -> None:
    with pytest.raises(Invalid, match='there is no volume "other"'):
        create(web(mount="other"), VIEW, STAMP)
    assert [f.field for f in foretell(web(mount="other")) if f.state == "refused"] == [
        "spec.template.spec.containers[0].volumeMounts[0].name"
    ]


def test_two_claims_of_one_name_are_refused() -> None:
    twice = WEB + WEB[WEB.index("  - metadata: {name: www}") :]
    with pytest.raises(Invalid) as refused:
        create(web(twice), VIEW, STAMP)
    assert [v.field for v in refused.value.violations] == ["spec.volumeClaimTemplates[1].metadata.name"]


def test_a_claim_that_no_host_could_give_is_refused_at_its_path() -> None:
    with pytest.raises(Invalid) as refused:
        create(web(WEB.replace("ReadWriteOnce", "ReadWriteMany").replace("1Gi", "0")), VIEW, STAMP)
    assert [v.field for v in refused.value.violations] == [
        "spec.volumeClaimTemplates[0].spec.resources.requests.storage",
        "spec.volumeClaimTemplates[0].spec.accessModes",
    ]
