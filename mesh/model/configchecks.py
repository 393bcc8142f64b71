"""What must hold of a pod's configuration: environment, and volumes made of ConfigMaps and its own fields (E4, E5, V4).

Rule: pure questions of one container or volume. Whether a ConfigMap is there is no question: it may come later.
"""

from collections.abc import Collection, Iterable, Iterator

from mesh.errors import Violation
from mesh.model import fieldpaths, formats
from mesh.model.rules import join
from mesh.v1.core_pb2 import (
    Container,
    DownwardAPIVolumeFile,
    KeyToPath,
    ProjectedVolumeSource,
    ResourceFieldSelector,
    Volume,
)


def exactly_one(what: str, given: Iterable[str]) -> str:
    """The reason when there is none or more than one of these."""
    names = list(given)
    return f"must have exactly one {what}, has {' and '.join(names) or 'none'}"


# ---- environment ----------------------------------------------------------------------------------------------------


def check_env(container: Container, names: Collection[str], path: str) -> Iterator[Violation]:
    """A container's env and envFrom; `names` are those of all containers of its pod."""
    yield from _check_env_from(container, path)
    for index, env in enumerate(container.env):
        where = f"{path}.env[{index}]"
        if not env.HasField("value_from"):
            continue
        source, where_from = env.value_from, f"{where}.valueFrom"
        if env.value:
            yield Violation(where_from, "must be absent when value is given")
        sources = [field.json_name for field, _ in source.ListFields()]
        if len(sources) != 1:
            yield Violation(where_from, exactly_one("source", sources))
        if reason := fieldpaths.refused(source.field_ref.field_path, fieldpaths.OF_ENVIRONMENT):
            yield Violation(f"{where_from}.fieldRef.fieldPath", reason)
        if source.HasField("resource_field_ref"):
            yield from _check_resource(source.resource_field_ref, names, f"{where_from}.resourceFieldRef")
        if source.HasField("config_map_key_ref") and not source.config_map_key_ref.name:
            yield Violation(f"{where_from}.configMapKeyRef.name", "is required")
        if source.HasField("secret_key_ref") and not source.secret_key_ref.name:
            yield Violation(f"{where_from}.secretKeyRef.name", "is required")


def check_env_files(container: Container, volumes: Collection[Volume], path: str) -> Iterator[Violation]:
    """Files of variables lie in an emptyDir of the pod (E5)."""
    scratch = {volume.name for volume in volumes if volume.HasField("empty_dir")}
    for index, env in enumerate(container.env):
        reference = env.value_from.file_key_ref
        if reference.volume_name and reference.volume_name not in scratch:
            where = f"{path}.env[{index}].valueFrom.fileKeyRef.volumeName"
            yield Violation(where, f'there is no emptyDir "{reference.volume_name}" in spec.volumes')


def _check_env_from(container: Container, path: str) -> Iterator[Violation]:
    for index, source in enumerate(container.env_from):
        where = f"{path}.envFrom[{index}]"
        sources = [field.json_name for field, _ in source.ListFields() if field.name != "prefix"]
        if len(sources) != 1:
            yield Violation(where, exactly_one("source", sources))
        if source.prefix and (reason := formats.env_name(source.prefix)):
            yield Violation(f"{where}.prefix", reason)
        if source.HasField("config_map_ref") and not source.config_map_ref.name:
            yield Violation(f"{where}.configMapRef.name", "is required")
        if source.HasField("secret_ref") and not source.secret_ref.name:
            yield Violation(f"{where}.secretRef.name", "is required")


def _check_resource(selector: ResourceFieldSelector, names: Collection[str], path: str) -> Iterator[Violation]:
    known = fieldpaths.RESOURCES
    if selector.resource and selector.resource not in known:
        yield Violation(f"{path}.resource", f'must be one of {", ".join(known)}, is "{selector.resource}"')
    elif reason := fieldpaths.divisor_refused(selector.resource, selector.divisor):
        yield Violation(f"{path}.divisor", reason)
    if selector.container_name and selector.container_name not in names:
        yield Violation(f"{path}.containerName", f'there is no container "{selector.container_name}"')


# ---- volumes --------------------------------------------------------------------------------------------------------


def check_volume(volume: Volume, names: Collection[str], path: str) -> Iterator[Violation]:
    """A volume that has content; `names` are those of all containers of its pod."""
    if volume.HasField("config_map"):
        if not volume.config_map.name:
            yield Violation(f"{path}.configMap.name", "is required")
        yield from _check_keys(volume.config_map.items, f"{path}.configMap")
    if volume.HasField("secret"):
        if not volume.secret.secret_name:
            yield Violation(f"{path}.secret.secretName", "is required")
        yield from _check_keys(volume.secret.items, f"{path}.secret")
    if volume.HasField("downward_api"):
        yield from _check_fields(volume.downward_api.items, names, f"{path}.downwardAPI")
    if volume.HasField("projected"):
        yield from _check_projected(volume.projected, names, f"{path}.projected")


def _check_projected(projected: ProjectedVolumeSource, names: Collection[str], path: str) -> Iterator[Violation]:
    taken: dict[str, str] = {}
    for index, source in enumerate(projected.sources):
        where = f"{path}.sources[{index}]"
        kinds = [field.json_name for field, _ in source.ListFields()]
        if len(kinds) != 1:
            yield Violation(where, exactly_one("source", kinds))
        if source.HasField("config_map"):
            if not source.config_map.name:
                yield Violation(f"{where}.configMap.name", "is required")
            yield from _check_keys(source.config_map.items, f"{where}.configMap")
        if source.HasField("secret"):
            if not source.secret.name:
                yield Violation(f"{where}.secret.name", "is required")
            yield from _check_keys(source.secret.items, f"{where}.secret")
        yield from _check_fields(source.downward_api.items, names, f"{where}.downwardAPI")
        paths = {"configMap": [i.path for i in source.config_map.items]}
        paths["secret"] = [i.path for i in source.secret.items]
        paths["downwardAPI"] = [i.path for i in source.downward_api.items]
        told = [(f"{k}.items[{n}].path", p) for k, found in paths.items() for n, p in enumerate(found)]
        if source.HasField("service_account_token"):
            told.append(("serviceAccountToken.path", source.service_account_token.path))
            if reason := _path(source.service_account_token.path):
                yield Violation(f"{where}.serviceAccountToken.path", reason)
        for place, to in told:
            here = join(where, place)
            first = taken.setdefault(to, here)
            if to and first != here:
                yield Violation(here, f'"{to}" is {first} too')


def _check_keys(items: Iterable[KeyToPath], path: str) -> Iterator[Violation]:
    for index, item in enumerate(items):
        if reason := _path(item.path):
            yield Violation(f"{path}.items[{index}].path", reason)


def _check_fields(items: Iterable[DownwardAPIVolumeFile], names: Collection[str], path: str) -> Iterator[Violation]:
    for index, item in enumerate(items):
        where = f"{path}.items[{index}]"
        if reason := _path(item.path):
            yield Violation(f"{where}.path", reason)
        kinds = [f for f, there in _sources(item) if there]
        if len(kinds) != 1:
            yield Violation(where, exactly_one("of fieldRef and resourceFieldRef", kinds))
        if reason := fieldpaths.refused(item.field_ref.field_path, fieldpaths.OF_VOLUME):
            yield Violation(f"{where}.fieldRef.fieldPath", reason)
        if item.HasField("resource_field_ref"):
            if not item.resource_field_ref.container_name:
                yield Violation(f"{where}.resourceFieldRef.containerName", "is required in a volume")
            yield from _check_resource(item.resource_field_ref, names, f"{where}.resourceFieldRef")


def _sources(item: DownwardAPIVolumeFile) -> Iterator[tuple[str, bool]]:
    yield "fieldRef", item.HasField("field_ref")
    yield "resourceFieldRef", item.HasField("resource_field_ref")


def _path(path: str) -> str:
    """Names that begin with two dots are the volume's own (V5)."""
    if path.startswith(".."):
        return f'must not begin with "..", is "{path}"'
    return "must name a file" if path and not path.strip("/.") else ""
