"""What files a volume's content amounts to: ConfigMaps, Secrets, the pod's own fields, projections of them (V1, V4).

Rule: pure. Equal content has equal revisions, so whoever writes can tell by the revision alone that nothing changed.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from mesh.model import podtokens
from mesh.model.references import secrets_of
from mesh.v1.core_pb2 import (
    ConfigMap,
    DownwardAPIVolumeFile,
    KeyToPath,
    Pod,
    PodSpec,
    ServiceAccountTokenProjection,
    Volume,
    VolumeProjection,
)
from nodeagent import fieldrefs
from nodeagent.fieldrefs import Around
from nodeagent.secrets import NONE, Secrets

MODE = 0o644  # (V4)
_PRIVATE = 0o600
GROUP_READS = 0o440  # what fsGroup adds to files that containers can only read


class Missing(Exception):  # noqa: N818 - a fact about a volume, told to the user
    """Something that is not optional is not there; in words."""


@dataclass(frozen=True, slots=True)
class File:
    """One file: its bytes and its mode."""

    data: bytes = field(repr=False)
    mode: int = MODE


@dataclass(frozen=True, slots=True)
class Content:
    """The files of a volume by relative path, owned by `group`; or, in `missing`, why they can't be told now. What is
    `secret` is written to memory that no disk ever holds, or not at all."""

    files: Mapping[str, File] = field(default_factory=dict)
    group: int | None = None
    missing: str = ""
    secret: bool = False

    @property
    def revision(self) -> str:
        """20 hexadecimal digits over all of it, "" while something is missing."""
        if self.missing:
            return ""
        digest = hashlib.sha256(f"{self.group}".encode())
        for path in sorted(self.files):
            file = self.files[path]
            digest.update(f"\0{path}\0{file.mode}\0{len(file.data)}\0".encode())
            digest.update(file.data)
        return digest.hexdigest()[:20]


def has_content(volume: Volume) -> bool:
    """Whether the agent writes the volume's files; containers can only read those."""
    return any(volume.HasField(kind) for kind in ("config_map", "secret", "downward_api", "projected"))


def in_memory(volume: Volume) -> bool:
    """Whether its files lie in memory and on no disk (V3): of all volumes with content only ConfigMaps do not."""
    return has_content(volume) and not volume.HasField("config_map")


def secrets_in(volume: Volume) -> frozenset[str]:
    """Names of the Secrets that a volume shows."""
    return secrets_of(PodSpec(volumes=[volume]))


def contents_of(
    pod: Pod, configs: Mapping[str, ConfigMap], around: Around, secrets: Secrets = NONE
) -> dict[str, Content]:
    """The content of each of the pod's volumes that has one; `configs` are the ConfigMaps that there are, by name."""
    return {v.name: content_of(pod, v, configs, around, secrets) for v in pod.spec.volumes if has_content(v)}


def content_of(
    pod: Pod, volume: Volume, configs: Mapping[str, ConfigMap], around: Around, secrets: Secrets = NONE
) -> Content:
    """One volume's. Of two sources of a projection that say the same path the later one wins."""
    context = pod.spec.security_context
    group = context.fs_group if context.HasField("fs_group") else None
    try:
        files = dict(_files(pod, volume, configs, around, secrets))
    except Missing as missing:
        return Content(group=group, missing=str(missing))
    hidden = bool(secrets_in(volume)) or any(podtokens.wishes_in(volume))
    if group is not None:
        files = {path: File(file.data, file.mode | GROUP_READS) for path, file in files.items()}
    parents = {str(parent) for path in files for parent in PurePosixPath(path).parents}
    both = sorted(parents & files.keys())
    if both:
        return Content(group=group, missing=f'"{both[0]}" would be a file and a directory')
    return Content(files, group, secret=hidden)


def _files(
    pod: Pod, volume: Volume, configs: Mapping[str, ConfigMap], around: Around, secrets: Secrets
) -> Iterator[tuple[str, File]]:  # fmt: skip
    if volume.HasField("config_map"):
        source = volume.config_map
        yield from _of_config_map(source.name, source.items, source.optional, _mode(source), configs)
    elif volume.HasField("secret"):
        of = volume.secret
        yield from _of_secret(of.secret_name, of.items, of.optional, _mode(of), secrets)
    elif volume.HasField("downward_api"):
        yield from _of_pod(pod, volume.downward_api.items, _mode(volume.downward_api), around)
    else:
        mode = _mode(volume.projected)
        for projection in volume.projected.sources:
            if projection.HasField("secret"):
                one = projection.secret
                yield from _of_secret(one.name, one.items, one.optional, mode, secrets)
            else:
                yield from _projected(pod, projection, mode, configs, around, secrets)


def _projected(
    pod: Pod, projection: VolumeProjection, mode: int, configs: Mapping[str, ConfigMap], around: Around,
    secrets: Secrets,
) -> Iterator[tuple[str, File]]:  # fmt: skip
    if projection.HasField("config_map"):
        source = projection.config_map
        yield from _of_config_map(source.name, source.items, source.optional, mode, configs)
    elif projection.HasField("downward_api"):
        yield from _of_pod(pod, projection.downward_api.items, mode, around)
    elif projection.HasField("service_account_token"):
        yield _token(pod, projection.service_account_token, mode, secrets)
    else:
        kind = next((f.json_name for f, _ in projection.ListFields()), "this source")
        raise Missing(f"{kind} is not honoured yet")


def _token(
    pod: Pod, projection: ServiceAccountTokenProjection, mode: int, secrets: Secrets
) -> tuple[str, File]:  # fmt: skip
    """The token as it is now; 0600 where a group is given the volume, which then reads it too (E14)."""
    name = podtokens.name_of(pod.metadata.uid, podtokens.wish_of(projection))
    values = secrets.get(name)
    if values is None:
        account = podtokens.account_of(pod.spec)
        raise Missing(f'the token of service account "{account}" {secrets.away.get(name, "is not here yet")}')
    private = pod.spec.security_context.HasField("fs_group")
    return _tidy(projection.path), File(values[podtokens.KEY], _PRIVATE if private else mode)


def _of_config_map(
    name: str, items: Iterable[KeyToPath], optional: bool, mode: int, configs: Mapping[str, ConfigMap]
) -> Iterator[tuple[str, File]]:
    config = configs.get(name)
    if config is None:
        if not optional:
            raise Missing(f'configmap "{name}" not found')
        return
    values = {**{k: v.encode() for k, v in config.data.items()}, **config.binary_data}
    yield from _chosen(f'configmap "{name}"', values, items, optional, mode)


def _of_secret(
    name: str, items: Iterable[KeyToPath], optional: bool, mode: int, secrets: Secrets
) -> Iterator[tuple[str, File]]:
    """One that is not here, though it may exist, is waited for even when it is optional."""
    values = secrets.get(name)
    if values is not None:
        yield from _chosen(f'secret "{name}"', values, items, optional, mode)
    elif not optional or name in secrets.away:
        raise Missing(secrets.why(name))


def _chosen(
    what: str, values: Mapping[str, bytes], items: Iterable[KeyToPath], optional: bool, mode: int
) -> Iterator[tuple[str, File]]:
    wanted = list(items)
    if not wanted:
        yield from ((key, File(value, mode)) for key, value in values.items())
    for item in wanted:
        if item.key in values:
            yield _tidy(item.path), File(values[item.key], item.mode if item.HasField("mode") else mode)
        elif not optional:
            raise Missing(f'{what} has no key "{item.key}"')


def _of_pod(
    pod: Pod, items: Iterable[DownwardAPIVolumeFile], mode: int, around: Around
) -> Iterator[tuple[str, File]]:  # fmt: skip
    for item in items:
        if item.HasField("resource_field_ref"):
            subject = item.resource_field_ref.resource
            text = fieldrefs.resource(pod, item.resource_field_ref, "", around.allocatable)
        else:
            subject = item.field_ref.field_path
            text = fieldrefs.pod_field(pod, subject, around)
        if text is None:
            raise Missing(f'"{subject}" can\'t be referred to')
        yield _tidy(item.path), File(text.encode(), item.mode if item.HasField("mode") else mode)


def _tidy(path: str) -> str:
    return str(PurePosixPath(path))


def _mode(source: object) -> int:
    has: Callable[[str], bool] = source.HasField  # type: ignore[attr-defined]  # three messages with this one field
    return int(source.default_mode) if has("default_mode") else MODE  # type: ignore[attr-defined]
