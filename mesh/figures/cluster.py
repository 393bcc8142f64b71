"""The whole mesh by kube-state-metrics' names: what is desired, what there is, in which condition.

Rule: pure; objects in, samples out. Names and labels are theirs. Labels and annotations of objects are no labels here,
so that the number of series is bound by the number of objects.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from mesh.exposition.text import Family, Page, labels
from mesh.model import quantity
from mesh.model.conditions import status_of
from mesh.model.kinds import Object
from mesh.v1.core_pb2 import ContainerStatus, Node, Pod

KINDS = ("Node", "Namespace", "Pod", "ReplicationController", "ReplicaSet", "Deployment", "DaemonSet", "StatefulSet",
         "Job", "CronJob", "Service", "ConfigMap", "Secret", "PersistentVolumeClaim",
         "HorizontalPodAutoscaler")  # fmt: skip
Figure = Callable[[Any], float | None]
_STATES = ("True", "False", "Unknown")
_REASONS: Mapping[str, Callable[[ContainerStatus], str]] = {
    "waiting_reason": lambda s: s.state.waiting.reason,
    "terminated_reason": lambda s: s.state.terminated.reason,
    "last_terminated_reason": lambda s: s.last_state.terminated.reason,
}
_PHASES = ("Pending", "Running", "Succeeded", "Failed", "Unknown")
_UNITS = {"cpu": "core", "pods": "integer"}
_ABOUT: dict[str, tuple[str, tuple[tuple[str, Figure], ...]]] = {
    "Namespace": ("namespace", ()), "ConfigMap": ("configmap", ()), "Secret": ("secret", ()),
    "Service": ("service", ()), "PersistentVolumeClaim": ("persistentvolumeclaim", ()),
    "ReplicationController": ("replicationcontroller", (
        ("spec_replicas", lambda o: o.spec.replicas), ("status_replicas", lambda o: o.status.replicas),
        ("status_ready_replicas", lambda o: o.status.ready_replicas),
        ("status_available_replicas", lambda o: o.status.available_replicas),
    )),
    "ReplicaSet": ("replicaset", (
        ("spec_replicas", lambda o: o.spec.replicas), ("status_replicas", lambda o: o.status.replicas),
        ("status_ready_replicas", lambda o: o.status.ready_replicas),
        ("status_observed_generation", lambda o: o.status.observed_generation),
        ("metadata_generation", lambda o: o.metadata.generation),
    )),
    "Deployment": ("deployment", (
        ("spec_replicas", lambda o: o.spec.replicas), ("spec_paused", lambda o: int(o.spec.paused)),
        ("status_replicas", lambda o: o.status.replicas),
        ("status_replicas_ready", lambda o: o.status.ready_replicas),
        ("status_replicas_available", lambda o: o.status.available_replicas),
        ("status_replicas_unavailable", lambda o: o.status.unavailable_replicas),
        ("status_replicas_updated", lambda o: o.status.updated_replicas),
        ("status_observed_generation", lambda o: o.status.observed_generation),
        ("metadata_generation", lambda o: o.metadata.generation),
    )),
    "DaemonSet": ("daemonset", (
        ("status_desired_number_scheduled", lambda o: o.status.desired_number_scheduled),
        ("status_current_number_scheduled", lambda o: o.status.current_number_scheduled),
        ("status_number_misscheduled", lambda o: o.status.number_misscheduled),
        ("status_number_ready", lambda o: o.status.number_ready),
        ("status_number_available", lambda o: o.status.number_available),
        ("status_number_unavailable", lambda o: o.status.number_unavailable),
        ("status_updated_number_scheduled", lambda o: o.status.updated_number_scheduled),
        ("status_observed_generation", lambda o: o.status.observed_generation),
        ("metadata_generation", lambda o: o.metadata.generation),
    )),
    "StatefulSet": ("statefulset", (
        ("replicas", lambda o: o.spec.replicas), ("status_replicas", lambda o: o.status.replicas),
        ("status_replicas_ready", lambda o: o.status.ready_replicas),
        ("status_replicas_available", lambda o: o.status.available_replicas),
        ("status_replicas_current", lambda o: o.status.current_replicas),
        ("status_replicas_updated", lambda o: o.status.updated_replicas),
        ("status_observed_generation", lambda o: o.status.observed_generation),
        ("metadata_generation", lambda o: o.metadata.generation),
    )),
    "Job": ("job", (
        ("spec_parallelism", lambda o: o.spec.parallelism if o.spec.HasField("parallelism") else None),
        ("spec_completions", lambda o: o.spec.completions if o.spec.HasField("completions") else None),
        ("status_active", lambda o: o.status.active), ("status_succeeded", lambda o: o.status.succeeded),
        ("status_failed", lambda o: o.status.failed),
        ("status_start_time", lambda o: _time(o.status, "start_time")),
        ("status_completion_time", lambda o: _time(o.status, "completion_time")),
    )),
    "CronJob": ("cronjob", (
        ("spec_suspend", lambda o: int(o.spec.suspend)), ("status_active", lambda o: len(o.status.active)),
        ("status_last_schedule_time", lambda o: _time(o.status, "last_schedule_time")),
        ("status_last_successful_time", lambda o: _time(o.status, "last_successful_time")),
    )),
    "HorizontalPodAutoscaler": ("horizontalpodautoscaler", (
        ("spec_min_replicas", lambda o: o.spec.min_replicas), ("spec_max_replicas", lambda o: o.spec.max_replicas),
        ("status_current_replicas", lambda o: o.status.current_replicas),
        ("status_desired_replicas", lambda o: o.status.desired_replicas),
        ("metadata_generation", lambda o: o.metadata.generation),
    )),
}  # fmt: skip
_NAMED_OTHERWISE = {"Job": "job_name"}  # the label that holds the name, where it is not the kind's own
_CONDITIONS = {"Deployment": "kube_deployment_status_condition", "Node": "kube_node_status_condition",
               "HorizontalPodAutoscaler": "kube_horizontalpodautoscaler_status_condition"}  # fmt: skip


def cluster(page: Page, objects: Mapping[str, Sequence[Object]]) -> None:
    """Everything; objects by kind, those of KINDS."""
    _nodes(page, [o for o in objects.get("Node", ()) if isinstance(o, Node)])
    _pods(page, [o for o in objects.get("Pod", ()) if isinstance(o, Pod)])
    for kind, (word, figures) in _ABOUT.items():
        rows = [(_named(kind, word, obj), obj) for obj in objects.get(kind, ())]
        _put(page, f"kube_{word}_created", "When it was made.", ((of, _created(o)) for of, o in rows))
        for name, figure in figures:
            _put(page, f"kube_{word}_{name}", f"{kind}: {name}.", ((of, figure(o)) for of, o in rows))
        if kind in _CONDITIONS:
            _conditions(page, _CONDITIONS[kind], rows)
    _others(page, objects)


def _named(kind: str, word: str, obj: Object) -> str:
    if kind == "Namespace":
        return labels({"namespace": obj.metadata.name})
    return labels({"namespace": obj.metadata.namespace, _NAMED_OTHERWISE.get(kind, word): obj.metadata.name})


def _others(page: Page, objects: Mapping[str, Sequence[Any]]) -> None:
    """What is told of some kinds alone."""
    phases = [(o, o.status.phase or "Active") for o in objects.get("Namespace", ())]
    _put(page, "kube_namespace_status_phase", "The namespace's phase.", (
        (labels({"namespace": o.metadata.name, "phase": phase}), int(phase == held))
        for o, held in phases for phase in ("Active", "Terminating")
    ))  # fmt: skip
    for result in ("Complete", "Failed"):
        _put(page, f"kube_job_{result.lower()}", f"Whether the job is {result}.", (
            (_named("Job", "job", o) + f',condition="{status.lower()}"', int(status == held))
            for o in objects.get("Job", ()) if (held := status_of(o.status.conditions, result)) for status in _STATES
        ))  # fmt: skip
    _put(page, "kube_service_info", "The service's address.", (
        (_named("Service", "service", o) + "," + labels({"cluster_ip": o.spec.cluster_ip}), 1)
        for o in objects.get("Service", ())
    ))  # fmt: skip
    _put(page, "kube_secret_type", "The secret's type.", (
        (_named("Secret", "secret", o) + "," + labels({"type": o.type}), 1) for o in objects.get("Secret", ())
    ))  # fmt: skip
    claim = "PersistentVolumeClaim"
    _put(page, "kube_persistentvolumeclaim_status_phase", "The claim's phase.", (
        (f'{_named(claim, claim.lower(), o)},phase="{phase}"', int(phase == o.status.phase))
        for o in objects.get(claim, ()) for phase in ("Pending", "Bound", "Lost")
    ))  # fmt: skip


# ---- hosts


def _nodes(page: Page, nodes: Sequence[Node]) -> None:
    rows = [(labels({"node": n.metadata.name}), n) for n in nodes]
    _put(page, "kube_node_info", "What the host is.", ((_node_info(of, n), 1) for of, n in rows))
    _put(page, "kube_node_created", "When it joined.", ((of, _created(n)) for of, n in rows))
    _put(page, "kube_node_spec_unschedulable", "1 when it takes no new pods.",
         ((of, int(n.spec.unschedulable)) for of, n in rows))  # fmt: skip
    _put(page, "kube_node_spec_taint", "Its taints.", (
        (of + "," + labels({"key": t.key, "value": t.value, "effect": t.effect}), 1)
        for of, n in rows for t in n.spec.taints
    ))  # fmt: skip
    for part in ("capacity", "allocatable"):
        _put(page, f"kube_node_status_{part}", f"The host's {part}.", (
            sample for of, n in rows for sample in _amounts(of, getattr(n.status, part))
        ))  # fmt: skip
    _conditions(page, _CONDITIONS["Node"], rows)


def _node_info(of: str, node: Node) -> str:
    info = node.status.node_info
    address = next((a.address for a in node.status.addresses if a.type == "InternalIP"), "")
    more = {"kernel_version": info.kernel_version, "os_image": info.os_image, "kubelet_version": info.kubelet_version,
            "container_runtime_version": info.container_runtime_version, "pod_cidr": node.spec.pod_cidr,
            "internal_ip": address}  # fmt: skip
    return f"{of},{labels(more)}"


def _amounts(of: str, amounts: Mapping[str, str]) -> Iterable[tuple[str, float]]:
    for resource, text in amounts.items():
        unit = _UNITS.get(resource, "byte")
        amount = quantity.parse(text)
        value = amount.millis / 1000 if resource == "cpu" else amount.whole
        yield f'{of},resource="{resource.replace("-", "_")}",unit="{unit}"', value


# ---- pods


def _pods(page: Page, pods: Sequence[Pod]) -> None:
    rows = [
        (labels({"namespace": p.metadata.namespace, "pod": p.metadata.name, "uid": p.metadata.uid}), p) for p in pods
    ]
    _put(page, "kube_pod_info", "What the pod is, and where.", ((_pod_info(of, p), 1) for of, p in rows))
    _put(page, "kube_pod_created", "When it was made.", ((of, _created(p)) for of, p in rows))
    _put(page, "kube_pod_start_time", "When its host took it.", ((of, _time(p.status, "start_time")) for of, p in rows))
    _put(page, "kube_pod_deletion_timestamp", "When it is to be gone.",
         ((of, _time(p.metadata, "deletion_timestamp")) for of, p in rows))  # fmt: skip
    _put(page, "kube_pod_status_phase", "The pod's phase.", (
        (f'{of},phase="{phase}"', int(phase == (p.status.phase or "Pending"))) for of, p in rows for phase in _PHASES
    ))  # fmt: skip
    for kind, name in (("Ready", "ready"), ("PodScheduled", "scheduled")):
        _put(page, f"kube_pod_status_{name}", f"The condition {kind}.", (
            (f'{of},condition="{status.lower()}"', int(status == held))
            for of, p in rows if (held := status_of(p.status.conditions, kind)) for status in _STATES
        ))  # fmt: skip
    _put(page, "kube_pod_status_reason", "Why it failed.",
         ((f"{of},{labels({'reason': p.status.reason})}", 1) for of, p in rows if p.status.reason))  # fmt: skip
    for what in ("requests", "limits"):
        _put(page, f"kube_pod_container_resource_{what}", f"What containers {what}.", (
            sample for of, p in rows for c in p.spec.containers
            for sample in _amounts(f"{of},{labels({'container': c.name, 'node': p.spec.node_name})}",
                                   getattr(c.resources, what))
        ))  # fmt: skip
    parts = {"kube_pod_container": "container_statuses", "kube_pod_init_container": "init_container_statuses"}
    for prefix, part in parts.items():
        _statuses(page, prefix, [(f"{of},{labels({'container': s.name})}", s) for of, p in rows
                                 for s in getattr(p.status, part)])  # fmt: skip


def _pod_info(of: str, pod: Pod) -> str:
    owner = next((o for o in pod.metadata.owner_references if o.controller), None)
    more = {"node": pod.spec.node_name, "pod_ip": pod.status.pod_ip, "host_ip": pod.status.host_ip,
            "created_by_kind": owner.kind if owner else "", "created_by_name": owner.name if owner else "",
            "host_network": str(pod.spec.host_network).lower()}  # fmt: skip
    return f"{of},{labels(more)}"


def _statuses(page: Page, prefix: str, rows: Sequence[tuple[str, ContainerStatus]]) -> None:
    _put(page, f"{prefix}_info", "The container's image.", (
        (f"{of},{labels({'image': s.image, 'image_id': s.image_id, 'container_id': s.container_id})}", 1)
        for of, s in rows
    ))  # fmt: skip
    _put(page, f"{prefix}_status_restarts_total", "Times it was started again.",
         ((of, s.restart_count) for of, s in rows), "counter")  # fmt: skip
    _put(page, f"{prefix}_status_ready", "1 when it is ready.", ((of, int(s.ready)) for of, s in rows))
    for state in ("waiting", "running", "terminated"):
        _put(page, f"{prefix}_status_{state}", f"1 when it is {state}.",
             ((of, int(s.state.HasField(state))) for of, s in rows))  # fmt: skip
    for name, told in _REASONS.items():
        _put(page, f"{prefix}_status_{name}", f"Its {name.replace('_', ' ')}.", (
            (f"{of},{labels({'reason': reason})}", 1) for of, s in rows if (reason := told(s))
        ))  # fmt: skip


# ---- all


def _conditions(page: Page, name: str, rows: Sequence[tuple[str, Any]]) -> None:
    _put(page, name, "Conditions.", (
        (f'{of},condition="{c.type}",status="{status.lower()}"', int(status == c.status))
        for of, o in rows for c in o.status.conditions for status in _STATES
    ))  # fmt: skip


def _put(page: Page, name: str, words: str, samples: Iterable[tuple[str, float | None]], kind: str = "gauge") -> None:
    page.put(Family(name, kind, words), [(of, value) for of, value in samples if value is not None])


def _created(obj: Object) -> float | None:
    return _time(obj.metadata, "creation_timestamp")


def _time(message: Any, field: str) -> float | None:
    stamp: Timestamp = getattr(message, field)
    return stamp.seconds if message.HasField(field) else None
