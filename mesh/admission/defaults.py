"""Completes objects with what Kubernetes would fill in, so that `get -o yaml` shows what is in force.

Rule: changes the given message in place (admission hands it a copy) and nothing that the user said.
"""

from mesh.admission import access, autoscaling, services, storage, workloads
from mesh.model import poddefaults, pods
from mesh.model.kinds import Object
from mesh.model.times import whole_seconds
from mesh.v1.auth_pb2 import RoleBinding
from mesh.v1.core_pb2 import Event, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, Secret
from mesh.v1.net_pb2 import Endpoints, EndpointSlice, Service
from mesh.v1.policy_pb2 import HorizontalPodAutoscaler

NAMESPACE_LABEL = "kubernetes.io/metadata.name"


def fill(obj: Object) -> None:
    """Completes an object in place."""
    if isinstance(obj, Pod):
        poddefaults.fill(obj.spec)
    elif isinstance(obj, Secret):
        merge_string_data(obj)
        if not obj.type:
            obj.type = "Opaque"
    elif isinstance(obj, Namespace):
        obj.metadata.labels[NAMESPACE_LABEL] = obj.metadata.name  # (A10)
        if not obj.spec.finalizers:
            obj.spec.finalizers.append("kubernetes")
    elif isinstance(obj, PersistentVolume | PersistentVolumeClaim):
        storage.fill(obj)
    elif isinstance(obj, Service):
        services.fill(obj)
    elif isinstance(obj, Endpoints | EndpointSlice):
        services.fill_ports(obj)
    elif isinstance(obj, workloads.KINDS):
        workloads.fill(obj)
    elif isinstance(obj, HorizontalPodAutoscaler):
        autoscaling.fill(obj)
    elif isinstance(obj, RoleBinding):
        access.fill(obj)
    elif isinstance(obj, Event) and not obj.type:
        obj.type = "Normal"


def merge_string_data(secret: Secret) -> None:
    """Moves stringData over data: it is only ever written (V8)."""
    for key, text in secret.string_data.items():
        secret.data[key] = text.encode()
    secret.string_data.clear()


def date_taints(node: Node, old: Node, now: int) -> None:
    """NoExecute taints say since when: pods that tolerate one for a while count from there (N3)."""
    dated = {(t.key, t.value, t.effect): t.time_added for t in old.spec.taints if t.HasField("time_added")}
    for taint in node.spec.taints:
        if taint.effect == "NoExecute" and not taint.HasField("time_added"):
            taint.time_added.CopyFrom(dated.get((taint.key, taint.value, taint.effect), whole_seconds(now)))


def fill_status(obj: Object) -> None:
    """The status of a new object."""
    if isinstance(obj, Pod):
        obj.status.phase = "Pending"
        obj.status.qos_class = pods.qos_class(obj.spec)
    elif isinstance(obj, Namespace):
        obj.status.phase = "Active"
