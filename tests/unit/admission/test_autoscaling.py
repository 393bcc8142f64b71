"""What may be asked of an autoscaler, and what it gets when nothing is asked (C16)."""

import pytest

from mesh.admission.admit import Stamp, create
from mesh.errors import Invalid
from mesh.model.manifest import load
from mesh.store.port import Snapshot
from mesh.v1.policy_pb2 import HorizontalPodAutoscaler
from mesh.view import View
from tests.harness import objects

STAMP = Stamp(10**18, "11111111-2222-3333-4444-555555555555", "x7k2p")
VIEW = View(Snapshot(7, objects.namespaces()))

UTILIZATION = "target: {type: Utilization, averageUtilization: 50}"
VALUE = 'target: {type: Value, value: "5"}'
AVERAGE = 'target: {type: AverageValue, averageValue: "5"}'


def admitted(spec: str, kind: str = "Deployment") -> HorizontalPodAutoscaler:
    text = "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: a}, spec: {scaleTargetRef: " \
           f"{{kind: {kind}, name: a}}, {spec}}}}}"  # fmt: skip
    (obj,) = load(text, "test").objects
    made = create(obj, VIEW, STAMP).object
    assert isinstance(made, HorizontalPodAutoscaler)
    return made


def test_what_is_filled_in() -> None:
    spec = admitted("maxReplicas: 5").spec
    assert (spec.min_replicas, spec.scale_target_ref.api_version) == (1, "apps/v1")
    (metric,) = spec.metrics
    target = metric.resource.target
    assert (metric.resource.name, target.type, target.average_utilization) == ("cpu", "Utilization", 80)
    assert admitted("maxReplicas: 5", "ReplicationController").spec.scale_target_ref.api_version == "v1"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ("minReplicas: 3, maxReplicas: 2", "spec.maxReplicas"),
        ("minReplicas: 0, maxReplicas: 2", "spec.minReplicas"),
        (f"maxReplicas: 2, metrics: [{{type: Resource, pods: {{metric: {{name: a}}, {AVERAGE}}}}}]",
         "spec.metrics[0].resource"),
        (f"maxReplicas: 2, metrics: [{{type: Resource, resource: {{name: cpu, {VALUE}}}}}]",
         "spec.metrics[0].resource.target.type"),
        (f"maxReplicas: 2, metrics: [{{type: Resource, resource: {{name: gpu, {UTILIZATION}}}}}]",
         "spec.metrics[0].resource.name"),
        (f"maxReplicas: 2, metrics: [{{type: Pods, pods: {{metric: {{name: a}}, {VALUE}}}}}]",
         "spec.metrics[0].pods.target.type"),
        ("maxReplicas: 2, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization}}}]",
         "spec.metrics[0].resource.target.averageUtilization"),
        ("maxReplicas: 2, metrics: [{type: External, external: {metric: {name: a}, target: {type: Value, value: 0}}}]",
         "spec.metrics[0].external.target.value"),
        ('maxReplicas: 2, behavior: {scaleUp: {tolerance: "-1"}}', "spec.behavior.scaleUp.tolerance"),
        ("maxReplicas: 2, behavior: {scaleDown: {stabilizationWindowSeconds: 3601}}",
         "spec.behavior.scaleDown.stabilizationWindowSeconds"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(spec: str, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        admitted(spec)
    assert field in [v.field for v in refused.value.violations]


def test_what_has_no_replicas_is_not_scaled() -> None:
    with pytest.raises(Invalid, match="can't be scaled"):
        admitted("maxReplicas: 5", "DaemonSet")
