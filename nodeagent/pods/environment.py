"""What a container's process is told: its environment, command and arguments (E1 to E6).

Rule: pure; every value is resolved here, at the last moment before the container is created, and frozen then (E6). What
comes from a Secret is never in it: a stand-in is, a word that says nothing (`nodeagent.secrets.Veil`), also in whatever
refers to it; the container's process alone is told the value.
"""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from mesh.v1.core_pb2 import ConfigMap, Container, EnvFromSource, EnvVar, Pod
from nodeagent import envfile, fieldrefs
from nodeagent.fieldrefs import Around
from nodeagent.runtime.port import RuntimeFailure
from nodeagent.secrets import NONE, Secrets, Veil

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")


File = tuple[str, str]  # a volume's name, a path in it


def files_of(container: Container) -> frozenset[File]:
    """The files that a container's environment refers to."""
    references = (v.value_from.file_key_ref for v in container.env if v.value_from.HasField("file_key_ref"))
    return frozenset((reference.volume_name, reference.path) for reference in references)


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` by its value; an unknown name stays as it is, `$$` is `$`, and so `$$(NAME)` is literal (E2)."""

    def replaced(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return values.get(match[1], match[0])

    return _REFERENCE.sub(replaced, text)


def expand_strictly(text: str, values: Mapping[str, str], container: Container, what: str) -> str:
    """As `expand`; an unknown name is a RuntimeFailure(CreateContainerConfigError) (V14)."""
    for match in _REFERENCE.finditer(text):
        if match[0] != "$$" and match[1] not in values:
            raise _refused(container, f'{what} "{text}": there is no environment variable {match[1]}')
    return expand(text, values)


def environment(  # noqa: PLR0913, PLR0917 - what an environment is made of
    pod: Pod, container: Container, around: Around, configs: Mapping[str, ConfigMap] = MappingProxyType({}),
    secrets: Secrets = NONE, veil: Veil | None = None, services: Mapping[str, str] = MappingProxyType({}),
    files: Mapping[File, str] = MappingProxyType({}),
) -> dict[str, str]:  # fmt: skip
    """The environment: Services, envFrom, then env; later entries win, and see only earlier ones (E2 to E4, E7).

    `configs` are the ConfigMaps that there are, by name; `veil` gathers what stands for values of Secrets; `services`
    is what Services give; `files` are the texts of those of `files_of` that there are.

    Raises:
        RuntimeFailure: CreateContainerConfigError for a reference that can't be resolved.
    """
    values: dict[str, str] = dict(services)
    hidden = _Hidden(container, secrets, veil or Veil(""))
    for source in container.env_from:
        if source.HasField("secret_ref"):
            values.update(hidden.all_of(source))
        else:
            values.update(_all_of(container, source, configs))
    for variable in container.env:
        if not variable.HasField("value_from"):
            values[variable.name] = expand(variable.value, values)
            continue
        if variable.value_from.HasField("secret_key_ref"):
            value = hidden.key(variable)
        elif variable.value_from.HasField("file_key_ref"):
            value = _in_file(container, variable, files)
        else:
            value = _referenced(pod, container, variable, around, configs)
        if value is not None:
            values[variable.name] = value
    for name, value in values.items():
        if "\0" in value:
            raise _refused(container, f"environment variable {name} has a zero byte, which no variable can have")
    return values


def _all_of(
    container: Container, source: EnvFromSource, configs: Mapping[str, ConfigMap]
) -> Iterator[tuple[str, str]]:  # fmt: skip
    reference = source.config_map_ref
    config = configs.get(reference.name)
    if config is None:
        if not reference.optional:
            raise _refused(container, f'configmap "{reference.name}" not found')
        return
    for key, value in config.data.items():
        yield source.prefix + key, value


def _referenced(
    pod: Pod, container: Container, variable: EnvVar, around: Around, configs: Mapping[str, ConfigMap]
) -> str | None:
    """The value, None where an optional one is not there."""
    source, subject = variable.value_from, f"environment variable {variable.name}"
    if source.HasField("config_map_key_ref"):
        return _key(container, variable, configs)
    if source.HasField("resource_field_ref"):
        selector = source.resource_field_ref
        value = fieldrefs.resource(pod, selector, container.name, around.allocatable)
        if value is None:
            raise _refused(container, f'{subject}: "{selector.resource}" is no resource that can be referenced')
        return value
    if source.HasField("field_ref"):
        path = source.field_ref.field_path
        value = fieldrefs.pod_field(pod, path, around)
        if value is None:
            raise _refused(container, f'{subject}: "{path}" is no field that can be referenced')
        return value
    kind = next((f.json_name for f, _ in source.ListFields()), "valueFrom")
    raise _refused(container, f"{subject}: {kind} is not honoured yet")


def _key(container: Container, variable: EnvVar, configs: Mapping[str, ConfigMap]) -> str | None:
    reference = variable.value_from.config_map_key_ref
    config = configs.get(reference.name)
    if config is not None and reference.key in config.data:
        return config.data[reference.key]
    if reference.optional:
        return None
    if config is None:
        raise _refused(container, f'configmap "{reference.name}" not found')
    where = f"{config.metadata.namespace}/{reference.name}"
    raise _refused(container, f"couldn't find key {reference.key} in ConfigMap {where}")


def _in_file(container: Container, variable: EnvVar, files: Mapping[File, str]) -> str | None:
    reference = variable.value_from.file_key_ref
    where = f'file "{reference.path}" of volume "{reference.volume_name}"'
    text = files.get((reference.volume_name, reference.path))
    try:
        values = envfile.parse(text or "")
    except ValueError as error:
        raise _refused(container, f"{where}: {error}") from error
    if reference.key in values:
        return values[reference.key]
    if reference.optional:
        return None
    raise _refused(container, f"{where} is not there" if text is None else f'{where} has no "{reference.key}"')


LONGEST = 128 * 1024 - 1  # bytes of one variable: what the kernel takes


class _Hidden:
    """Values of Secrets, veiled."""

    def __init__(self, container: Container, secrets: Secrets, veil: Veil) -> None:
        self._container = container
        self._secrets = secrets
        self._veil = veil

    def all_of(self, source: EnvFromSource) -> Iterator[tuple[str, str]]:
        reference = source.secret_ref
        values = self._values(reference.name, reference.optional)
        for key in sorted(values or ()):
            yield source.prefix + key, self._stand_in(reference.name, key, (values or {})[key])

    def key(self, variable: EnvVar) -> str | None:
        reference = variable.value_from.secret_key_ref
        values = self._values(reference.name, reference.optional)
        if values is not None and reference.key in values:
            return self._stand_in(reference.name, reference.key, values[reference.key])
        if reference.optional:
            return None
        raise _refused(self._container, f'secret "{reference.name}" has no key "{reference.key}"')

    def _values(self, name: str, optional: bool) -> Mapping[str, bytes] | None:
        """One that is not here, though it may exist, is waited for even when it is optional."""
        values = self._secrets.get(name)
        if values is None and (not optional or name in self._secrets.away):
            raise _refused(self._container, self._secrets.why(name))
        return values

    def _stand_in(self, name: str, key: str, value: bytes) -> str:
        what = f'key "{key}" of secret "{name}"'
        try:
            text = value.decode()
        except UnicodeDecodeError:
            raise _refused(self._container, f"{what} is no text (UTF-8), as a variable must be; mount it") from None
        if "\0" in text:
            raise _refused(self._container, f"{what} has a zero byte, which no variable can have; mount it")
        if len(value) > LONGEST:
            why = f"{what} has {len(value)} bytes, and a variable can't have more than {LONGEST}; mount it"
            raise _refused(self._container, why)
        return self._veil.put(text)


def _refused(container: Container, why: str) -> RuntimeFailure:
    return RuntimeFailure("CreateContainerConfigError", f"cannot create container {container.name}: {why}")
