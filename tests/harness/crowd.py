"""A crowd: many pods on many hosts, with Services, Secrets and events, as objects that nobody runs."""

from collections.abc import Iterator
from typing import Any, TypeVar

from mesh.model.kinds import Object
from mesh.model.times import to_timestamp
from mesh.v1.apps_pb2 import Deployment
from mesh.v1.core_pb2 import Event, Node, Pod, Secret
from mesh.v1.net_pb2 import Service

NOW = 1_800_000_000
EACH = 20  # pods of one Deployment
T = TypeVar("T", bound=Any)


def objects(count: int, *, owned: bool = True, now: int = NOW) -> Iterator[Object]:
    """Pods spread over hosts, a hundred on each; `owned`: by Deployments, else by nobody."""
    hosts = max(count // 100, 1)
    for i in range(hosts):
        node = _named(Node(), f"host{i:04}", "", now)
        node.status.conditions.add(type="Ready", status="True")
        yield node
    for i in range(count // EACH):
        name = f"zz{i:04}"
        if owned:
            made = Deployment(spec={"replicas": EACH}, status={"ready_replicas": EACH, "updated_replicas": EACH})
            yield _named(made, name, now=now)
        yield _named(Service(spec={"selector": {"app": name}}), name, now=now)
        yield _named(Secret(type="Opaque"), name, now=now)
    for i in range(count):
        owner = f"zz{i // EACH:04}"
        pod = _named(Pod(), f"{owner}-{i % EACH:02}", now=now)
        pod.metadata.labels["app"] = owner
        if owned:
            pod.metadata.owner_references.add(kind="ReplicaSet", name=f"{owner}-abc", controller=True)
        pod.spec.node_name = f"host{i % hosts:04}"
        pod.spec.containers.add(name="main", image="example:1")
        pod.spec.volumes.add(name="secret").secret.secret_name = owner
        pod.status.phase, pod.status.pod_ip = "Running", f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}"
        status = pod.status.container_statuses.add(name="main", ready=True)
        status.state.running.started_at.seconds = now - 60
        pod.status.conditions.add(type="Ready", status="True")
        yield pod
        event = Event(reason="Started", message="Started container main", count=1)
        _named(event, f"{pod.metadata.name}.1", now=now)
        event.involved_object.kind, event.involved_object.name = "Pod", pod.metadata.name
        event.involved_object.namespace = "default"
        event.last_timestamp.seconds = now - i % 3600
        yield event


def _named(obj: T, name: str, namespace: str = "default", now: int = NOW) -> T:
    meta = obj.metadata
    meta.name, meta.namespace, meta.uid, meta.resource_version = name, namespace, f"uid-{name}", "1"
    meta.creation_timestamp.CopyFrom(to_timestamp((now - 3600) * 10**9))
    return obj
