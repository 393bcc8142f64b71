"""Merging what a user wrote into what is there: three-way merge for apply, and JSON merge patch (RFC 7386).

Rule: works on plain values and returns new ones; lists merge by the merge_key of rules.proto, any other is replaced.
What was last applied is read off an annotation that anyone may write: only what has the shape of a manifest counts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor

from mesh.model.fields import Field, Many, Shape, fields_of, merge_key

# A choice with what belongs to it: who chooses anew loses what belonged to the old choice (Kubernetes' retainKeys).
_CHOICES = frozenset(f"mesh.v1.{name}" for name in (
    "DeploymentStrategy", "DaemonSetUpdateStrategy", "StatefulSetUpdateStrategy", "Volume",
))  # fmt: skip


def three_way(last: Any, live: Any, new: Any, descriptor: Descriptor) -> dict[str, Any]:
    """`live` as `new` wants it: what `new` says is set, what `last` said and `new` no longer says is removed.

    What only `live` has (set by others, or defaults) stays. `last` may be empty.
    """
    return _merge_message(last, live or {}, new or {}, descriptor)


def merge_patch(target: Any, patch: Any) -> Any:
    """The target after a JSON merge patch: null removes, mappings merge, anything else replaces (RFC 7386)."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def _merge_message(last: Any, live: Mapping[str, Any], new: Mapping[str, Any], type_: Descriptor) -> dict[str, Any]:
    said = last if isinstance(last, Mapping) else {}
    fields = fields_of(type_)
    result = {k: v for k, v in live.items() if k in new or k not in said}
    for key, value in new.items():
        field = fields.get(key)
        if field is None or key not in live:
            result[key] = value
        else:
            result[key] = _merge_field(said.get(key), live[key], value, field)
    if type_.full_name in _CHOICES and any(result[key] != live.get(key) for key in new):
        return {key: result[key] for key in new}
    return result


def _merge_field(last: Any, live: Any, new: Any, field: Field) -> Any:
    if field.many is Many.MAP:
        said = last if isinstance(last, Mapping) else {}
        return {**{k: v for k, v in live.items() if k not in said}, **new}
    if field.many is Many.LIST:
        if field.type is None or not field.merge_keys:
            return new
        return _merge_list(last, live, new, field.type, field.merge_keys)
    if field.shape is Shape.MESSAGE and field.type is not None:
        return _merge_message(last, live, new, field.type)
    return new


def _merge_list(
    last: Any, live: Sequence[Any], new: Sequence[Any], type_: Descriptor, keys: Sequence[str]
) -> list[Any]:
    """Elements of `new` in its order, merged with their namesakes; then what only `live` has and `last` had not."""
    if any(len({merge_key(e, keys) for e in elements}) < len(elements) for elements in (live, new)):
        return list(new)  # elements that share a key (an environment variable set twice) cannot be told apart
    said = [e for e in last if isinstance(e, Mapping)] if isinstance(last, list) else []
    by_last = {merge_key(e, keys): e for e in said if not any(isinstance(e.get(k), dict | list) for k in keys)}
    by_live = {merge_key(e, keys): e for e in live}
    merged = [_merge_message(by_last.get(k), by_live.get(k, {}), e, type_) for e in new for k in [merge_key(e, keys)]]
    wanted = {merge_key(e, keys) for e in new}
    return merged + [e for k, e in by_live.items() if k not in wanted and k not in by_last]
