"""One metric of an autoscaler: what it measures now, and how many replicas that asks for (C16).

Rule: pure. What can't be known is a `Missing`, with Kubernetes' reason; it is never taken for 0.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from mesh.model import quantity, selectors
from mesh.model.keys import Key
from mesh.model.pods import is_ready, is_sidecar
from mesh.model.quantity import Quantity
from mesh.model.workloads import WORKLOADS, selector_of
from mesh.scaling import count
from mesh.scaling.count import Tolerance
from mesh.scaling.readings import Readings
from mesh.v1.core_pb2 import Container, Pod
from mesh.v1.meta_pb2 import LabelSelector
from mesh.v1.net_pb2 import Service
from mesh.v1.policy_pb2 import (
    CrossVersionObjectReference,
    MetricIdentifier,
    MetricSpec,
    MetricStatus,
    MetricTarget,
    MetricValueStatus,
)
from mesh.view import View

_UNTOLD = "unable to get metric {}: no pod of {} tells it"


class Missing(Exception):  # noqa: N818 - no fault of ours: a figure that is not there
    """`reason` and the text are those of the condition ScalingActive."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Scene:
    """What a metric is measured in: the pods of the target, and how many there are and should be."""

    view: View
    namespace: str
    pods: Sequence[Pod]
    wanted: int  # spec.replicas of the target
    there: int  # status.replicas of the target
    readings: Readings
    now: int
    tolerance: Tolerance


@dataclass(frozen=True, slots=True)
class Proposal:
    """So many replicas, by a metric of this name; `status` tells what was measured."""

    replicas: int
    name: str
    status: MetricStatus


def propose(metric: MetricSpec, scene: Scene) -> Proposal:
    """What one metric asks for; raises Missing."""
    return _SOURCES[metric.type](metric, scene)


def names_of(metrics: Sequence[MetricSpec]) -> set[str]:
    """The metrics that pods must tell."""
    named = {"Pods": "pods", "Object": "object", "External": "external"}
    return {getattr(m, named[m.type]).metric.name for m in metrics if m.type in named}


# ---- what containers use ------------------------------------------------------------------------------------------


def _resource(metric: MetricSpec, scene: Scene) -> Proposal:
    source = metric.resource
    status = MetricStatus(type=metric.type)
    status.resource.name = source.name
    replicas, name = _of_containers(source.name, "", source.target, scene, status.resource.current)
    return Proposal(replicas, name, status)


def _container_resource(metric: MetricSpec, scene: Scene) -> Proposal:
    source = metric.container_resource
    status = MetricStatus(type=metric.type)
    status.container_resource.name, status.container_resource.container = source.name, source.container
    current = status.container_resource.current
    replicas, name = _of_containers(source.name, source.container, source.target, scene, current)
    return Proposal(replicas, name, status)


def _of_containers(
    resource: str, container: str, target: MetricTarget, scene: Scene, told: MetricValueStatus
) -> tuple[int, str]:
    reason = "FailedGetContainerResourceMetric" if container else "FailedGetResourceMetric"
    word = f"{resource} container resource" if container else f"{resource} resource"
    used = {}
    for pod in scene.pods:
        amount = _used(pod, scene.readings, resource, container)
        if amount is not None:
            used[pod.metadata.name] = amount
    pods = count.groups(scene.pods, used, scene.now, cpu=resource == "cpu")
    counted = {n: v for n, v in used.items() if n not in pods.unready | pods.ignored}
    try:
        if target.HasField("average_utilization"):
            requests = _requests(scene.pods, resource, container, reason)
            wanted = target.average_utilization

            def utilization(values: Mapping[str, int]) -> Fraction:
                return Fraction(_percent(values, requests), wanted)

            def assumed(name: str) -> int:
                return requests[name] * max(100, wanted) // 100

            replicas = count.averaged(scene.wanted, used, pods, utilization, assumed, scene.tolerance)
            told.average_utilization = _percent(counted, requests)
            name = f"{word} utilization (percentage of request)"
        else:
            replicas = _by_average(used, pods, target, scene)
            name = word
    except LookupError as error:
        hosts = f" ({'; '.join(scene.readings.silent)})" if scene.readings.silent else ""
        raise Missing(reason, f"failed to get {resource} usage: {error.args[0]}{hosts}") from None
    told.average_value = _written(sum(counted.values()) // len(counted), resource)
    return replicas, name


def _used(pod: Pod, readings: Readings, resource: str, container: str) -> int | None:
    """What the pod's containers use of a resource; None when that is not known of each that should tell it."""
    told = readings.usage.get(pod.metadata.uid)
    if told is None:
        return None
    names = [container] if container else [c.name for c in _running(pod)]
    amounts = [told.get(name, {}).get(resource) for name in names]
    known = [a for a in amounts if a is not None]
    return sum(known) if known and len(known) == len(amounts) else None


def _running(pod: Pod) -> list[Container]:
    return [*pod.spec.containers, *(c for c in pod.spec.init_containers if is_sidecar(c))]


def _requests(pods: Sequence[Pod], resource: str, container: str, reason: str) -> dict[str, int]:
    found = {}
    for pod in pods:
        amounts = []
        for each in _running(pod):
            if container and each.name != container:
                continue
            text = each.resources.requests.get(resource, "")
            if not text:
                message = f"missing request for {resource} in container {each.name} of Pod {pod.metadata.name}"
                raise Missing(reason, f"failed to get {resource} utilization: {message}")
            amounts.append(quantity.parse(text).nanos)
        found[pod.metadata.name] = sum(amounts)
    return found


def _percent(values: Mapping[str, int], requests: Mapping[str, int]) -> int:
    total = sum(requests[name] for name in values)
    if not total:
        raise LookupError("the pods request nothing that could be a share")
    return sum(values.values()) * 100 // total


def _by_average(values: Mapping[str, int], pods: count.Groups, target: MetricTarget, scene: Scene) -> int:
    wanted = quantity.parse(target.average_value).nanos

    def ratio(chosen: Mapping[str, int]) -> Fraction:
        return Fraction(sum(chosen.values()), len(chosen) * wanted)

    return count.averaged(scene.wanted, values, pods, ratio, lambda _: wanted, scene.tolerance)


# ---- what pods tell -----------------------------------------------------------------------------------------------


def _pods(metric: MetricSpec, scene: Scene) -> Proposal:
    wanted = metric.pods.metric
    told = {}
    for pod in scene.pods:
        value = scene.readings.metric((scene.namespace, pod.metadata.name), wanted.name, wanted.selector)
        if value is not None:
            told[pod.metadata.name] = value
    pods = count.groups(scene.pods, told, scene.now, cpu=False)
    try:
        replicas = _by_average(told, pods, metric.pods.target, scene)
    except LookupError as error:
        raise Missing("FailedGetPodsMetric", f"unable to get metric {wanted.name}: {error.args[0]}") from None
    counted = [v for n, v in told.items() if n not in pods.unready | pods.ignored]
    status = MetricStatus(type=metric.type)
    status.pods.metric.CopyFrom(wanted)
    status.pods.current.average_value = str(Quantity(sum(counted) // len(counted)))
    return Proposal(replicas, f"pods metric {wanted.name}", status)


def _object(metric: MetricSpec, scene: Scene) -> Proposal:
    source = metric.object
    places = _places(source.described_object, scene)
    status = MetricStatus(type=metric.type)
    status.object.metric.CopyFrom(source.metric)
    status.object.described_object.CopyFrom(source.described_object)
    who = f"{source.described_object.kind} {source.described_object.name}"
    value = _sum(source.metric, scene, places)
    if value is None:
        raise Missing("FailedGetObjectMetric", _UNTOLD.format(source.metric.name, who))
    replicas = _of_whole(value, source.target, scene, status.object.current)
    return Proposal(replicas, f"{source.described_object.kind} metric {source.metric.name}", status)


def _external(metric: MetricSpec, scene: Scene) -> Proposal:
    """Of every pod of the namespace that tells it, whoever's it is."""
    source = metric.external
    status = MetricStatus(type=metric.type)
    status.external.metric.CopyFrom(source.metric)
    places = [place for place in scene.readings.metrics if place[0] == scene.namespace]
    value = _sum(source.metric, scene, places)
    if value is None:
        who = f"namespace {scene.namespace}"
        raise Missing("FailedGetExternalMetric", _UNTOLD.format(source.metric.name, who))
    replicas = _of_whole(value, source.target, scene, status.external.current)
    return Proposal(replicas, f"external metric {source.metric.name}", status)


def _sum(wanted: MetricIdentifier, scene: Scene, places: Sequence[tuple[str, str]]) -> int | None:
    values = [scene.readings.metric(place, wanted.name, wanted.selector) for place in places]
    known = [v for v in values if v is not None]
    return sum(known) if known else None


def _of_whole(value: int, target: MetricTarget, scene: Scene, told: MetricValueStatus) -> int:
    if target.type == "AverageValue":
        wanted_each = quantity.parse(target.average_value).nanos
        told.average_value = str(Quantity(value // max(1, scene.there)))
        return count.by_share(scene.there, value, wanted_each, scene.tolerance)
    told.value = str(Quantity(value))
    ready = sum(p.status.phase == "Running" and is_ready(p) for p in scene.pods)
    return count.by_value(scene.wanted, value, quantity.parse(target.value).nanos, ready, scene.tolerance)


def _places(described: CrossVersionObjectReference, scene: Scene) -> list[tuple[str, str]]:
    """The pods that speak for an object."""
    view, namespace = scene.view, scene.namespace
    if described.kind == "Pod":
        return [(namespace, described.name)]
    if described.kind == "Namespace":
        return [place for place in scene.readings.metrics if place[0] == described.name == namespace]
    held = view.get(Key(described.kind, namespace, described.name))
    selector = LabelSelector()
    if isinstance(held, Service):
        selector.match_labels.update(held.spec.selector)
    elif isinstance(held, WORKLOADS):
        selector.CopyFrom(selector_of(held))
    if not selector.match_labels and not selector.match_expressions:
        message = f"there is no {described.kind} {described.name} that has pods"
        raise Missing("FailedGetObjectMetric", message)
    pods = (p for p in view.of_kind("Pod", namespace) if selectors.matches(selector, p.metadata.labels))
    return [(namespace, p.metadata.name) for p in pods]


def _written(nanos: int, resource: str) -> str:
    if resource == "cpu":
        return f"{-(-nanos // 10**6)}m"
    return str(-(-nanos // 10**9))


_SOURCES: Mapping[str, Callable[[MetricSpec, Scene], Proposal]] = {
    "Resource": _resource,
    "ContainerResource": _container_resource,
    "Pods": _pods,
    "Object": _object,
    "External": _external,
}
