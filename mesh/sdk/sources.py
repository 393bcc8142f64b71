"""What a caller hands to `apply`: messages, YAML text, or the path of a file; made into complete objects.

Rule: the caller's messages are copied, never changed.
"""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from mesh.errors import Invalid
from mesh.model import manifest
from mesh.model.kinds import Object, kind_of

T = TypeVar("T", bound=Object)


def objects_of(what: str | Path | Object | Sequence[Object], namespace: str) -> tuple[list[Object], list[str]]:
    """The objects and the reader's warnings. Text with a line end, or that begins with "{", is YAML; else a path."""
    if isinstance(what, Path) or (isinstance(what, str) and "\n" not in what and not what.lstrip().startswith("{")):
        return _read(Path(what), namespace)
    if isinstance(what, str):
        loaded = manifest.load(what, "the text given", default_namespace=namespace)
        return list(loaded.objects), list(loaded.warnings)
    objects = [what] if isinstance(what, Message) else what
    return [complete(obj, namespace) for obj in objects], []


def complete(obj: T, namespace: str) -> T:
    """A copy that says its kind, its API version and, where it has one, its namespace."""
    kind, copy = kind_of(obj), deepcopy(obj)
    copy.kind, copy.api_version = kind.name, kind.api_version
    if kind.namespaced and not copy.metadata.namespace:
        copy.metadata.namespace = namespace
    return copy


def _read(path: Path, namespace: str) -> tuple[list[Object], list[str]]:
    try:
        text = path.expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise Invalid(f"cannot read {path}: {why}") from error
    loaded = manifest.load(text, str(path), default_namespace=namespace)
    return list(loaded.objects), list(loaded.warnings)
