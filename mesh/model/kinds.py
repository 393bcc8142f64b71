"""The registry of kinds: a new kind starts here. What a kind is called, how it prints, whether it works yet.

A kind whose behaviour does not work yet is refused by name (`why_not`), never stored and ignored.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.any_pb2 import Any

from mesh.errors import Invalid, NotFound
from mesh.model import otherkinds
from mesh.model.keys import Key
from mesh.v1 import apps_pb2, auth_pb2, batch_pb2, core_pb2, net_pb2, policy_pb2

Object = (
    core_pb2.Pod | core_pb2.Node | core_pb2.Namespace | core_pb2.Event | core_pb2.ConfigMap | core_pb2.Secret
    | core_pb2.ServiceAccount | core_pb2.PersistentVolume | core_pb2.PersistentVolumeClaim
    | apps_pb2.ReplicationController | apps_pb2.ReplicaSet | apps_pb2.Deployment | apps_pb2.DaemonSet
    | apps_pb2.StatefulSet | apps_pb2.ControllerRevision | batch_pb2.Job | batch_pb2.CronJob | net_pb2.Service
    | net_pb2.Endpoints | net_pb2.EndpointSlice | net_pb2.AddressReservation | net_pb2.RangeAllocation
    | net_pb2.Ingress | net_pb2.IngressClass | policy_pb2.HorizontalPodAutoscaler
    | policy_pb2.PodDisruptionBudget | policy_pb2.PriorityClass | auth_pb2.Role | auth_pb2.RoleBinding
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. `old_versions` are API versions that `model.manifest` converts with a warning."""

    name: str
    api_version: str
    plural: str
    message: type[Object]
    short_names: tuple[str, ...] = ()
    namespaced: bool = True
    old_versions: tuple[str, ...] = ()
    why_not: str = ""

    @property
    def served(self) -> bool:
        """Whether objects of this kind are accepted."""
        return not self.why_not


_OWN = "it is written by the mesh alone"
_EXT, _APPS1, _APPS2 = "extensions/v1beta1", "apps/v1beta1", "apps/v1beta2"

KINDS: tuple[Kind, ...] = (
    Kind("Pod", "v1", "pods", core_pb2.Pod, ("po",)),
    Kind("Node", "v1", "nodes", core_pb2.Node, ("no",), namespaced=False),
    Kind("Namespace", "v1", "namespaces", core_pb2.Namespace, ("ns",), namespaced=False),
    Kind("Event", "v1", "events", core_pb2.Event, ("ev",)),
    Kind("ConfigMap", "v1", "configmaps", core_pb2.ConfigMap, ("cm",)),
    Kind("Secret", "v1", "secrets", core_pb2.Secret),
    Kind("ServiceAccount", "v1", "serviceaccounts", core_pb2.ServiceAccount, ("sa",)),
    Kind("PersistentVolume", "v1", "persistentvolumes", core_pb2.PersistentVolume, ("pv",), False),
    Kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims", core_pb2.PersistentVolumeClaim, ("pvc",)),
    Kind("ReplicationController", "v1", "replicationcontrollers", apps_pb2.ReplicationController, ("rc",)),
    Kind("ReplicaSet", "apps/v1", "replicasets", apps_pb2.ReplicaSet, ("rs",), old_versions=(_EXT, _APPS2)),
    Kind("Deployment", "apps/v1", "deployments", apps_pb2.Deployment, ("deploy",),
         old_versions=(_EXT, _APPS1, _APPS2)),
    Kind("DaemonSet", "apps/v1", "daemonsets", apps_pb2.DaemonSet, ("ds",), old_versions=(_EXT, _APPS2)),
    Kind("StatefulSet", "apps/v1", "statefulsets", apps_pb2.StatefulSet, ("sts",), old_versions=(_APPS1, _APPS2)),
    Kind("ControllerRevision", "apps/v1", "controllerrevisions", apps_pb2.ControllerRevision),
    Kind("Job", "batch/v1", "jobs", batch_pb2.Job),
    Kind("CronJob", "batch/v1", "cronjobs", batch_pb2.CronJob, ("cj",), old_versions=("batch/v1beta1",)),
    Kind("Service", "v1", "services", net_pb2.Service, ("svc",)),
    Kind("Endpoints", "v1", "endpoints", net_pb2.Endpoints, ("ep",)),
    Kind("EndpointSlice", "discovery.k8s.io/v1", "endpointslices", net_pb2.EndpointSlice),
    Kind("AddressReservation", "mesh/v1", "addressreservations", net_pb2.AddressReservation),
    Kind("RangeAllocation", "mesh/v1", "rangeallocations", net_pb2.RangeAllocation, (), False, why_not=_OWN),
    Kind("Ingress", "networking.k8s.io/v1", "ingresses", net_pb2.Ingress, ("ing",),
         old_versions=(_EXT, "networking.k8s.io/v1beta1")),
    Kind("IngressClass", "networking.k8s.io/v1", "ingressclasses", net_pb2.IngressClass, (), False,
         ("networking.k8s.io/v1beta1",)),
    Kind("HorizontalPodAutoscaler", "autoscaling/v2", "horizontalpodautoscalers",
         policy_pb2.HorizontalPodAutoscaler, ("hpa",), old_versions=("autoscaling/v1", "autoscaling/v2beta2")),
    Kind("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets", policy_pb2.PodDisruptionBudget, ("pdb",)),
    Kind("PriorityClass", "scheduling.k8s.io/v1", "priorityclasses", policy_pb2.PriorityClass, ("pc",), False),
    Kind("Role", "rbac.authorization.k8s.io/v1", "roles", auth_pb2.Role),
    Kind("RoleBinding", "rbac.authorization.k8s.io/v1", "rolebindings", auth_pb2.RoleBinding),
)  # fmt: skip

_BY_NAME = {k.name: k for k in KINDS}
_BY_WORD = {word.lower(): k for k in KINDS for word in (k.name, k.plural, *k.short_names)}
_BY_MESSAGE = {k.message.DESCRIPTOR.full_name: k for k in KINDS}


def kind_named(name: str) -> Kind:
    """The kind of exactly this name, as a manifest spells it; raises NotFound."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise NotFound(otherkinds.missing(name, _BY_NAME)) from None


def kind_for_word(word: str) -> Kind:
    """The kind that a person means by "po", "pods", "Pod" or "pod"; raises NotFound."""
    try:
        return _BY_WORD[word.lower()]
    except KeyError:
        words = [k.plural if word.lower().endswith("s") else k.name.lower() for k in served_kinds()]
        raise NotFound(otherkinds.missing(word, words)) from None


def kind_of(obj: Object) -> Kind:
    """The kind of an object, by its message type."""
    return _BY_MESSAGE[obj.DESCRIPTOR.full_name]


def key_of(obj: Object) -> Key:
    """The object's key; the namespace of a cluster-scoped kind is empty whatever the metadata says."""
    kind = kind_of(obj)
    return Key(kind.name, obj.metadata.namespace if kind.namespaced else "", obj.metadata.name)


def revision_of(obj: Object) -> int:
    """The store's revision of the object's last write; 0 when it never was in a store."""
    return int(obj.metadata.resource_version or 0)


def pack(obj: Object) -> Any:
    """The object as it travels."""
    box = Any()
    box.Pack(obj)
    return box


def unpack(box: Any) -> Object:
    """The object that travelled; raises Invalid for a type that is no kind or bytes that are no such object."""
    kind = _BY_MESSAGE.get(box.TypeName())
    if kind is None:
        raise Invalid(f'"{box.type_url}" is not the type of an object')
    obj = kind.message()
    try:
        unpacked = box.Unpack(obj)
    except Exception as error:  # protobuf raises its own DecodeError
        raise Invalid(f"cannot read a {kind.name}: {error}") from error
    if not unpacked:
        raise Invalid(f"cannot read a {kind.name}")
    return obj


def served_kinds() -> Iterator[Kind]:
    """The kinds whose objects are accepted."""
    return (k for k in KINDS if k.served)
