"""Objects for tests, in one line each."""

from mesh.admission.config import INITIAL_NAMESPACES
from mesh.v1.core_pb2 import ConfigMap, Container, Namespace, Pod, PodSpec, ResourceRequirements
from mesh.v1.meta_pb2 import ObjectMeta


def pod(name: str, namespace: str = "default", cpu: str = "", **spec: object) -> Pod:
    """A pod of one container that a host would accept."""
    container = Container(name="main", image="example:1", image_pull_policy="IfNotPresent")
    if cpu:
        container.resources.CopyFrom(ResourceRequirements(requests={"cpu": cpu}))
    return Pod(
        api_version="v1",
        kind="Pod",
        metadata=ObjectMeta(name=name, namespace=namespace),
        spec=PodSpec(containers=[container], **spec),  # type: ignore[arg-type]
    )


def namespace(name: str) -> Namespace:
    """A namespace."""
    return Namespace(api_version="v1", kind="Namespace", metadata=ObjectMeta(name=name))


def namespaces() -> list[Namespace]:
    """Those that every mesh has."""
    return [namespace(name) for name in INITIAL_NAMESPACES]


def config_map(name: str, namespace: str = "default", **data: str) -> ConfigMap:
    """A ConfigMap with these values."""
    return ConfigMap(api_version="v1", kind="ConfigMap", metadata=ObjectMeta(name=name, namespace=namespace), data=data)
