"""What Kubernetes fills in where a pod's manifest says nothing, as `get -o yaml` shows it (I1, R2, L1, E10).

Rule: fills gaps in place and changes nothing that is said, but for the form of quantities; doing it twice is once.
"""

from collections.abc import MutableMapping

from google.protobuf.message import Message

from mesh.model import quantity
from mesh.model.fields import has, part
from mesh.model.pods import DEFAULT_GRACE, OWN_RESOURCES, containers, containers_requests
from mesh.v1.core_pb2 import Container, PodSpec, ResourceRequirements, Volume

TERMINATION_LOG = "/dev/termination-log"
SCHEDULER = "default-scheduler"
_MODE = 0o644


def fill(spec: PodSpec) -> None:
    """Completes a pod's spec in place. Quantities that cannot be read stay for the rules to refuse."""
    _set(spec, restart_policy="Always", dns_policy="ClusterFirst", scheduler_name=SCHEDULER)
    if not spec.HasField("termination_grace_period_seconds"):
        spec.termination_grace_period_seconds = DEFAULT_GRACE
    if not spec.HasField("enable_service_links"):
        spec.enable_service_links = True
    spec.security_context.SetInParent()
    for container in containers(spec):
        _fill_container(container, host_network=spec.host_network)
    for volume in spec.volumes:
        _fill_volume(volume)
    _fill_own_resources(spec)
    _round(spec.overhead)


def pull_policy(image: str) -> str:
    """Always for the tag `latest` or none, else IfNotPresent; a digest is IfNotPresent (I1)."""
    if "@" in image:
        return "IfNotPresent"
    _, colon, tag = image.rpartition("/")[2].partition(":")
    return "Always" if not colon or tag == "latest" else "IfNotPresent"


def _fill_container(container: Container, *, host_network: bool) -> None:
    _set(
        container,
        termination_message_path=TERMINATION_LOG,
        termination_message_policy="File",
        image_pull_policy=pull_policy(container.image),
    )
    container.resources.SetInParent()
    _fill_resources(container.resources)
    for port in container.ports:
        _set(port, protocol="TCP")
        if host_network and not port.HasField("host_port"):
            port.host_port = port.container_port  # (E12)
    for env in container.env:
        if env.value_from.HasField("field_ref"):
            _set(env.value_from.field_ref, api_version="v1")


def _fill_resources(resources: ResourceRequirements) -> None:
    for name, limit in resources.limits.items():
        if name not in resources.requests:
            resources.requests[name] = limit  # (R2)
    _round(resources.limits)
    _round(resources.requests)


def _fill_own_resources(spec: PodSpec) -> None:
    """Beside a limit of the whole pod, what its containers ask for together is its request, else the limit is (R2)."""
    own = spec.resources
    if own.limits:
        for name, amount in containers_requests(spec).items():
            if name in OWN_RESOURCES and name not in own.requests:
                own.requests[name] = quantity.told(name, amount)
        _fill_resources(own)
    elif own.requests:
        _round(own.requests)


def _round(amounts: MutableMapping[str, str]) -> None:
    for name in list(amounts):
        try:
            amounts[name] = quantity.rounded_to_milli(amounts[name])
        except ValueError:
            continue


def _fill_volume(volume: Volume) -> None:
    if not any(field.name != "name" for field, _ in volume.ListFields()):
        volume.empty_dir.SetInParent()
    if volume.HasField("host_path") and not volume.host_path.HasField("type"):
        volume.host_path.type = ""
    if volume.HasField("image"):
        _set(volume.image, pull_policy=pull_policy(volume.image.reference))
    for name in ("secret", "config_map", "downward_api", "projected"):
        source = part(volume, name)
        if source is not None and not has(source, "default_mode"):
            _set(source, default_mode=_MODE)


def _set(message: Message, **values: str | int) -> None:
    for name, value in values.items():
        if not getattr(message, name):
            setattr(message, name, value)
