"""Patches as kubectl writes them: strategic (lists merge by their keys) and JSON (RFC 6902); a patch from a change.

Rule: works on plain values and returns new ones; what does not fit is an Invalid that names the place.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from google.protobuf.descriptor import Descriptor

from mesh.errors import Invalid
from mesh.model.fields import Field, Many, fields_of

_ASSUMED = {"protocol": "TCP"}  # parts of a merge key that a manifest may leave out
_HOW = "$patch"


def strategic(target: Any, patch: Mapping[str, Any], descriptor: Descriptor) -> dict[str, Any]:
    """The target after a strategic merge patch: as a merge patch, but that elements of lists are known by their keys.

    `$patch: delete` in an element takes it away, `$patch: replace` takes the mapping or list as it is written.
    """
    return _message(target, patch, fields_of(descriptor))


def _message(target: Any, patch: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, Any]:
    if patch.get(_HOW) == "replace":
        return {k: v for k, v in patch.items() if k != _HOW}
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        field = fields.get(key)
        if value is None:
            result.pop(key, None)
        elif field is not None and field.many is Many.LIST and field.merge_keys and isinstance(value, list):
            result[key] = _list(result.get(key) or [], value, field)
        elif isinstance(value, Mapping):
            below = fields_of(field.type) if field is not None and field.type is not None else {}
            result[key] = _message(result.get(key), value, below if field and field.many is Many.ONE else {})
        else:
            result[key] = value
    return result


def _list(target: Sequence[Any], patch: Sequence[Any], field: Field) -> list[Any]:
    if any(isinstance(e, Mapping) and e == {_HOW: "replace"} for e in patch):
        return [e for e in patch if e != {_HOW: "replace"}]
    if not all(isinstance(e, Mapping) for e in (*target, *patch)):
        return list(patch)
    below = fields_of(field.type) if field.type is not None else {}
    result = [dict(e) for e in target]
    for element in patch:
        wanted = _key(element, field.merge_keys)
        at = next((i for i, held in enumerate(result) if _key(held, field.merge_keys) == wanted), None)
        if element.get(_HOW) == "delete":
            result = [e for i, e in enumerate(result) if i != at]
        elif at is None:
            result.append(_message({}, element, below))
        else:
            result[at] = _message(result[at], element, below)
    return result


def _key(element: Mapping[str, Any], keys: Sequence[str]) -> tuple[Any, ...]:
    return tuple(element.get(k, _ASSUMED.get(k)) for k in keys)


# ---- JSON Patch (RFC 6902) ----------------------------------------------------------------------------------------


def json_patch(target: Any, operations: Sequence[Any]) -> Any:
    """The target after the operations, all of them or none; raises Invalid."""
    result = deepcopy(target)
    for number, operation in enumerate(operations):
        where = f"operation {number}"
        if not isinstance(operation, Mapping):
            raise Invalid(f"{where} of the patch must be a mapping with op and path")
        what, path = operation.get("op"), operation.get("path")
        if not isinstance(path, str) or (path and not path.startswith("/")):
            raise Invalid(f'{where} of the patch needs a path such as "/spec/replicas"')
        if what in ("add", "replace", "test") and "value" not in operation:
            raise Invalid(f"{where} of the patch needs a value")
        result = _operate(result, str(what), path, operation, where)
    return result


def _operate(document: Any, what: str, path: str, operation: Mapping[str, Any], where: str) -> Any:
    if what == "test":
        if _at(document, path, where) != operation["value"]:
            raise Invalid(f'{where} of the patch does not hold: "{path}" is {_at(document, path, where)!r}')
        return document
    if what in ("move", "copy"):
        source = str(operation.get("from"))
        value = deepcopy(_at(document, source, where))
        if what == "move":
            _change(document, source, "remove", None, where)
        return _change(document, path, "add", value, where)
    if what not in ("add", "remove", "replace"):
        raise Invalid(f'{where} of the patch: op must be add, remove, replace, move, copy or test, not "{what}"')
    return _change(document, path, what, deepcopy(operation.get("value")), where)


def _steps(path: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]


def _at(document: Any, path: str, where: str) -> Any:
    for step in _steps(path):
        if isinstance(document, Mapping) and step in document:
            document = document[step]
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            raise Invalid(f'{where} of the patch: there is nothing at "{path}"')
    return document


def _change(document: Any, path: str, what: str, value: Any, where: str) -> Any:
    if not path:
        return value
    *above, last = _steps(path)
    holder = _at(document, "".join(f"/{s.replace('~', '~0').replace('/', '~1')}" for s in above), where)
    if what != "add":
        _at(document, path, where)
    if isinstance(holder, list):
        at = len(holder) if last == "-" else int(last) if last.isdecimal() else -1
        if not 0 <= at <= len(holder):
            raise Invalid(f'{where} of the patch: there is no place "{path}"')
        holder[at : at + (what != "add")] = [] if what == "remove" else [value]
    elif not isinstance(holder, dict):
        raise Invalid(f'{where} of the patch: there is no place "{path}"')
    elif what == "remove":
        del holder[last]
    else:
        holder[last] = value
    return document


def difference(before: Any, after: Any) -> Any:
    """The merge patch (RFC 7386) that makes `after` of `before`."""
    if not (isinstance(before, Mapping) and isinstance(after, Mapping)):
        return after
    changed = {k: difference(before.get(k), v) for k, v in after.items() if k not in before or before[k] != v}
    return {**changed, **{k: None for k in before if k not in after}}
