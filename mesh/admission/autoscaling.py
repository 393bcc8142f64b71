"""Admission of HorizontalPodAutoscalers: what Kubernetes fills in, and what must hold (C16).

Rule: pure; a metric has exactly the source that its type names.
"""

from collections.abc import Iterator

from mesh.errors import Violation
from mesh.model import quantity, selectors
from mesh.v1.policy_pb2 import HorizontalPodAutoscaler, HPAScalingRules, MetricSpec, MetricTarget

SCALED = ("Deployment", "ReplicaSet", "ReplicationController", "StatefulSet")
DEFAULT_UTILIZATION = 80  # per cent of the cpu that is asked for
_SOURCES = {
    "Object": "object", "Pods": "pods", "Resource": "resource", "ContainerResource": "containerResource",
    "External": "external",
}  # fmt: skip
_TARGETS = {
    "Object": ("Value", "AverageValue"), "External": ("Value", "AverageValue"), "Pods": ("AverageValue",),
    "Resource": ("Utilization", "AverageValue"), "ContainerResource": ("Utilization", "AverageValue"),
}  # fmt: skip
_FIELDS = {"Value": ("value", "value"), "AverageValue": ("average_value", "averageValue"),
           "Utilization": ("average_utilization", "averageUtilization")}  # fmt: skip


def fill(obj: HorizontalPodAutoscaler) -> None:
    """Completes an autoscaler in place."""
    if not obj.spec.HasField("min_replicas"):
        obj.spec.min_replicas = 1
    if not obj.spec.metrics:
        metric = obj.spec.metrics.add(type="Resource")
        metric.resource.name = "cpu"
        metric.resource.target.type = "Utilization"
        metric.resource.target.average_utilization = DEFAULT_UTILIZATION
    if not obj.spec.scale_target_ref.api_version and obj.spec.scale_target_ref.kind in SCALED:
        core = obj.spec.scale_target_ref.kind == "ReplicationController"
        obj.spec.scale_target_ref.api_version = "v1" if core else "apps/v1"


def check(obj: HorizontalPodAutoscaler) -> Iterator[Violation]:
    """What is wrong with a completed one."""
    spec = obj.spec
    if spec.max_replicas < spec.min_replicas:
        yield Violation("spec.maxReplicas", f"must be at least minReplicas, {spec.min_replicas}")
    if spec.scale_target_ref.kind and spec.scale_target_ref.kind not in SCALED:
        why = f"must be one of {', '.join(SCALED)}: a {spec.scale_target_ref.kind} can't be scaled"
        yield Violation("spec.scaleTargetRef.kind", why)
    for index, metric in enumerate(spec.metrics):
        yield from _check_metric(metric, f"spec.metrics[{index}]")
    for name, rules in (("scaleUp", spec.behavior.scale_up), ("scaleDown", spec.behavior.scale_down)):
        yield from _check_rules(rules, f"spec.behavior.{name}")


def _check_metric(metric: MetricSpec, path: str) -> Iterator[Violation]:
    wanted = _SOURCES.get(metric.type)
    if wanted is None:
        return  # said by the field's own rule
    for name in _SOURCES.values():
        there = metric.HasField(_snake(name))  # type: ignore[arg-type] # every source is a field
        if there is not (name == wanted):
            yield Violation(f"{path}.{name}", f'{"is required" if name == wanted else "must be absent"} with type '
                                              f'"{metric.type}"')  # fmt: skip
    source = getattr(metric, _snake(wanted))
    if not metric.HasField(_snake(wanted)):  # type: ignore[arg-type]
        return
    yield from _check_target(source.target, _TARGETS[metric.type], f"{path}.{wanted}.target")
    if metric.type in ("Resource", "ContainerResource"):
        if source.name not in ("cpu", "memory"):
            yield Violation(f"{path}.{wanted}.name", f'must be cpu or memory: "{source.name}" is not measured')
    else:
        yield from selectors.check(source.metric.selector, f"{path}.{wanted}.metric.selector")


def _check_target(target: MetricTarget, allowed: tuple[str, ...], path: str) -> Iterator[Violation]:
    if target.type not in allowed:
        yield Violation(f"{path}.type", f"must be {' or '.join(allowed)} here")
        return
    for type_, (field, name) in _FIELDS.items():
        there = target.HasField(field)  # type: ignore[arg-type] # each is a field of it
        if type_ == target.type and not there:
            yield Violation(f"{path}.{name}", f'is required with type "{type_}"')
        elif type_ != target.type and there:
            yield Violation(f"{path}.{name}", f'must be absent with type "{target.type}"')
        elif there and type_ != "Utilization" and _nanos(getattr(target, field)) <= 0:
            yield Violation(f"{path}.{name}", "must be more than 0")


def _check_rules(rules: HPAScalingRules, path: str) -> Iterator[Violation]:
    if rules.HasField("tolerance") and _nanos(rules.tolerance, 0) < 0:
        yield Violation(f"{path}.tolerance", "must not be negative")


def _nanos(text: str, wrong: int = 1) -> int:
    try:
        return quantity.parse(text).nanos
    except ValueError:
        return wrong  # said by the field's own rule


def _snake(name: str) -> str:
    return "container_resource" if name == "containerResource" else name
