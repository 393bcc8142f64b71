"""What differs between two states of an object, field by field, for people.

Rule: pure; what the service itself keeps (revision, generation, the last applied manifest) is no difference; values of
Secrets are never shown.
"""

from collections.abc import Iterator
from typing import Any

from mesh.model import manifest
from mesh.model.kinds import Object

_SERVICE_KEEPS = frozenset((
    "metadata.resourceVersion", "metadata.generation", "metadata.uid", "metadata.creationTimestamp",
    'metadata.annotations["mesh/last-applied-configuration"]',
))  # fmt: skip
_LONGEST = 60
_IDENTITIES = ("name", "mountPath", "containerPort", "key", "ip", "type", "uid")


def differences(before: Object, after: Object) -> list[str]:
    """Lines such as "spec.containers[app].image: a -> b"."""
    secret = before.DESCRIPTOR.name == "Secret"
    found = _compared("", manifest.to_dict(before), manifest.to_dict(after))
    return [_line(path, old, new, secret) for path, old, new in found if path not in _SERVICE_KEEPS]


def _line(path: str, old: Any, new: Any, secret: bool) -> str:
    hide = secret and path.startswith(("data", "stringData"))
    was, is_ = ("***" if hide else _short(v) for v in (old, new))
    if old is None:
        return f"+ {path}: {is_}"
    return f"- {path}: {was}" if new is None else f"~ {path}: {was} -> {is_}"


def _short(value: Any) -> str:
    import json

    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text.replace("\n", "\\n")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _compared(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _compared(_joined(path, key), old.get(key), new.get(key))
        return
    identity = _identity(old, new)
    if identity:
        olds, news = ({item[identity]: item for item in items} for items in (old, new))
        for key in dict.fromkeys((*olds, *news)):
            yield from _compared(f"{path}[{key}]", olds.get(key), news.get(key))
        return
    yield path, old, new


def _joined(path: str, key: str) -> str:
    plain = key.replace("-", "").replace("_", "").isalnum()
    return f"{path}.{key}" if path and plain else (key if plain else f'{path}["{key}"]')


def _identity(old: Any, new: Any) -> str:
    """The field that tells the elements of two lists of mappings apart; empty when there is none."""
    if not (isinstance(old, list) and isinstance(new, list)):
        return ""
    items = [*old, *new]
    for name in _IDENTITIES:
        if all(isinstance(i, dict) and isinstance(i.get(name), str | int) for i in items) and all(
            len({i[name] for i in side}) == len(side) for side in (old, new)
        ):
            return name
    return ""
