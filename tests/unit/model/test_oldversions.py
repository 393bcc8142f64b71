"""Manifests of retired API versions are converted, with a warning that says what changed."""

import pytest

from mesh.model import manifest
from mesh.v1.apps_pb2 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from mesh.v1.batch_pb2 import CronJob
from mesh.v1.net_pb2 import Ingress

TEMPLATE = "{metadata: {labels: {app: web}}, spec: {containers: [{name: a, image: b}]}}"


@pytest.mark.parametrize(
    ("version", "kind", "type_"),
    [
        ("extensions/v1beta1", "Deployment", Deployment),
        ("apps/v1beta1", "Deployment", Deployment),
        ("apps/v1beta2", "Deployment", Deployment),
        ("extensions/v1beta1", "DaemonSet", DaemonSet),
        ("apps/v1beta2", "DaemonSet", DaemonSet),
        ("extensions/v1beta1", "ReplicaSet", ReplicaSet),
        ("apps/v1beta2", "ReplicaSet", ReplicaSet),
        ("apps/v1beta1", "StatefulSet", StatefulSet),
        ("apps/v1beta2", "StatefulSet", StatefulSet),
    ],
)
def test_workloads_get_the_selector_of_their_template(version: str, kind: str, type_: type) -> None:
    loaded = manifest.load(
        f"{{apiVersion: {version}, kind: {kind}, metadata: {{name: a}}, spec: {{template: {TEMPLATE}}}}}", "f"
    )
    made = loaded.objects[0]
    assert isinstance(made, type_)
    assert made.api_version == "apps/v1"
    assert dict(made.spec.selector.match_labels) == {"app": "web"}
    assert f"{version} is converted to apps/v1" in loaded.warnings[0]
    assert "spec.selector was absent" in loaded.warnings[1]


def test_fields_that_are_no_more_are_left_out() -> None:
    spec = f"{{rollbackTo: {{revision: 1}}, selector: {{matchLabels: {{a: b}}}}, template: {TEMPLATE}}}"
    loaded = manifest.load(
        f"{{apiVersion: extensions/v1beta1, kind: Deployment, metadata: {{name: a}}, spec: {spec}}}", "f"
    )
    made = loaded.objects[0]
    assert isinstance(made, Deployment)
    assert dict(made.spec.selector.match_labels) == {"a": "b"}
    assert any("spec.rollbackTo is no more" in w for w in loaded.warnings)


def test_the_version_in_force_needs_its_selector() -> None:
    with pytest.raises(Exception, match=r"spec\.selector: is required"):
        manifest.load(
            f"{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: a}}, spec: {{template: {TEMPLATE}}}}}", "f"
        )


@pytest.mark.parametrize("version", ["extensions/v1beta1", "networking.k8s.io/v1beta1"])
def test_ingress_backends_are_rewritten(version: str) -> None:
    text = f"""
apiVersion: {version}
kind: Ingress
metadata: {{name: web}}
spec:
  backend: {{serviceName: fallback, servicePort: http}}
  rules:
  - host: example.com
    http:
      paths:
      - backend: {{serviceName: web, servicePort: 80}}
      - path: /api
        pathType: Prefix
        backend: {{serviceName: api, servicePort: https}}
"""
    loaded = manifest.load(text, "f")
    made = loaded.objects[0]
    assert isinstance(made, Ingress)
    assert made.spec.default_backend.service.name == "fallback"
    assert made.spec.default_backend.service.port.name == "http"
    first, second = made.spec.rules[0].http.paths
    assert (first.path_type, first.backend.service.name, first.backend.service.port.number) == (
        "ImplementationSpecific", "web", 80,
    )  # fmt: skip
    assert (second.path_type, second.backend.service.port.name) == ("Prefix", "https")
    assert [w.split(": ", 2)[2] for w in loaded.warnings] == [
        f"{version} is converted to networking.k8s.io/v1; write that version instead",
        "serviceName and servicePort became service.name and service.port",
        "a missing pathType became ImplementationSpecific",
    ]


def test_broken_old_manifests_are_refused_as_what_they_are() -> None:
    with pytest.raises(Exception, match=r"spec\.rules: must be a list"):
        manifest.load("{apiVersion: extensions/v1beta1, kind: Ingress, metadata: {name: a}, spec: {rules: {}}}", "f")
    with pytest.raises(Exception, match=r"rules\[0\]\.http\.paths\[0\]: must be a mapping"):
        spec = "{rules: [{http: {paths: [1]}}]}"
        text = f"{{apiVersion: extensions/v1beta1, kind: Ingress, metadata: {{name: a}}, spec: {spec}}}"
        manifest.load(text, "f")


def test_cron_jobs_change_their_version_only() -> None:
    job = f"{{spec: {{template: {TEMPLATE}}}}}"
    spec = f"{{schedule: '* * * * *', jobTemplate: {job}}}"
    text = f"{{apiVersion: batch/v1beta1, kind: CronJob, metadata: {{name: a}}, spec: {spec}}}"
    loaded = manifest.load(text, "f")
    assert isinstance(loaded.objects[0], CronJob) and loaded.objects[0].api_version == "batch/v1"
    assert len(loaded.warnings) == 1


def test_the_older_autoscaler_is_converted() -> None:
    text = (
        "{apiVersion: autoscaling/v1, kind: HorizontalPodAutoscaler, metadata: {name: a}, spec: {maxReplicas: 3, "
        "scaleTargetRef: {kind: Deployment, name: web}, targetCPUUtilizationPercentage: 70}}"
    )
    made = manifest.to_dict(manifest.load(text, "f").objects[0])
    assert made["spec"]["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 70}
