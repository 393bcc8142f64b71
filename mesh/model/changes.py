"""Merging what a user wrote into what is there: three-way merge for apply, and JSON merge patch (RFC 7386).

Rule: works on plain values and returns new ones; lists merge by the merge_key of rules.proto, any other is replaced.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor

from mesh.model.fields import Field, Many, Shape, fields_of

_ASSUMED = {"protocol": "TCP"}  # parts of a merge key that a manifest may leave out


def three_way(last: Any, live: Any, new: Any, descriptor: Descriptor) -> dict[str, Any]:
    """`live` as `new` wants it: what `new` says is set, what `last` said and `new` no longer says is removed.

    What only `live` has (set by others, or defaults) stays. `last` may be empty.
    """
    return _merge_message(last or {}, live or {}, new or {}, fields_of(descriptor))


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


def _merge_message(
    last: Mapping[str, Any], live: Mapping[str, Any], new: Mapping[str, Any], fields: Mapping[str, Field]
) -> dict[str, Any]:
    result = {k: v for k, v in live.items() if k in new or k not in last}
    for key, value in new.items():
        field = fields.get(key)
        if field is None or key not in live:
            result[key] = value
        else:
            result[key] = _merge_field(last.get(key), live[key], value, field)
    return result


def _merge_field(last: Any, live: Any, new: Any, field: Field) -> Any:
    if field.many is Many.MAP:
        last_map = last or {}
        return {**{k: v for k, v in live.items() if k not in last_map}, **new}
    if field.many is Many.LIST:
        if field.type is None or not field.merge_keys:
            return new
        return _merge_list(last or [], live, new, field)
    if field.shape is Shape.MESSAGE and field.type is not None:
        return _merge_message(last or {}, live, new, fields_of(field.type))
    return new


def _merge_list(last: Sequence[Any], live: Sequence[Any], new: Sequence[Any], field: Field) -> list[Any]:
    """Elements of `new` in its order, merged with their namesakes; then what only `live` has and `last` had not."""
    keys = field.merge_keys
    if any(len({_key(e, keys) for e in elements}) < len(elements) for elements in (live, new)):
        return list(new)  # elements that share a key (an environment variable set twice) cannot be told apart
    by_last = {_key(e, keys): e for e in last}
    by_live = {_key(e, keys): e for e in live}
    type_ = fields_of(field.type) if field.type is not None else {}
    merged = [_merge_message(by_last.get(k, {}), by_live.get(k, {}), e, type_) for e in new for k in [_key(e, keys)]]
    wanted = {_key(e, keys) for e in new}
    return merged + [e for k, e in by_live.items() if k not in wanted and k not in by_last]


def _key(element: Mapping[str, Any], keys: Sequence[str]) -> tuple[Any, ...]:
    return tuple(element.get(k, _ASSUMED.get(k)) for k in keys)
