"""What a pod refers to by name: ConfigMaps and Secrets of its environment, its volumes and its pulls.

Rule: pure; only names are told, whether the objects are there is the business of who asks.
"""

from collections.abc import Iterator

from mesh.model.pods import containers
from mesh.v1.core_pb2 import Container, PodSpec


def config_maps_of(spec: PodSpec) -> frozenset[str]:
    """Names of the ConfigMaps, of the pod's namespace, that a pod refers to; optional ones too (E4, E5, V1)."""
    return frozenset(name for name in _config_maps(spec) if name)


def _config_maps(spec: PodSpec) -> Iterator[str]:
    for container in containers(spec):
        yield from (source.config_map_ref.name for source in container.env_from)
        yield from (variable.value_from.config_map_key_ref.name for variable in container.env)
    for volume in spec.volumes:
        yield volume.config_map.name
        yield from (source.config_map.name for source in volume.projected.sources)


def environment_secrets(container: Container) -> frozenset[str]:
    """Names of the Secrets that a container's environment refers to (E4, E5)."""
    names = [source.secret_ref.name for source in container.env_from]
    names += [variable.value_from.secret_key_ref.name for variable in container.env]
    return frozenset(name for name in names if name)


def secrets_of(spec: PodSpec) -> frozenset[str]:
    """Names of the Secrets, of the pod's namespace, that a pod refers to; optional ones too (V12, I4)."""
    return used_secrets_of(spec) | {reference.name for reference in spec.image_pull_secrets if reference.name}


def used_secrets_of(spec: PodSpec) -> frozenset[str]:
    """The same without those that images are pulled with: what the pod's processes see."""
    return frozenset(name for name in _secrets(spec) if name)


def _secrets(spec: PodSpec) -> Iterator[str]:
    for container in containers(spec):
        yield from environment_secrets(container)
    for volume in spec.volumes:
        yield volume.secret.secret_name
        yield from (source.secret.name for source in volume.projected.sources)
