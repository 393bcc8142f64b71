"""Patches as kubectl writes them: strategic (lists merge by their keys) and JSON (RFC 6902); a patch from a change.

Rule: works on plain values and returns new ones; what does not fit is an Invalid that names the place.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from google.protobuf.descriptor import Descriptor

from mesh.errors import Invalid
from mesh.model.annotations import counted
from mesh.model.fields import Field, Many, fields_of, merge_key

_HOW = "$patch"
_RETAIN, _DELETE = "$retainKeys", "$deleteFromPrimitiveList"
_ORDER = "$setElementOrder"  # is kept without being said


def strategic(target: Any, patch: Mapping[str, Any], descriptor: Descriptor) -> dict[str, Any]:
    """The target after a strategic merge patch: as a merge patch, but that elements of lists are known by their keys.

    `$patch: delete` in an element or mapping takes it away, `$patch: replace` takes the mapping or list as it is
    written; `$retainKeys` names what stays of a mapping, `$deleteFromPrimitiveList/NAME` what goes of a plain list.
    Raises Invalid for any other directive.
    """
    return _message(target, patch, fields_of(descriptor))


def _message(target: Any, patch: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, Any]:
    if patch.get(_HOW) == "replace":
        return {k: v for k, v in patch.items() if k != _HOW}
    result = _directed(dict(target) if isinstance(target, Mapping) else {}, patch)
    for key, value in patch.items():
        field = fields.get(key)
        if key.startswith("$"):
            continue
        if value is None or (isinstance(value, Mapping) and value.get(_HOW) == "delete"):
            result.pop(key, None)
        elif field is not None and field.many is Many.LIST and field.merge_keys and isinstance(value, list):
            result[key] = _list(result.get(key) or [], value, field)
        elif isinstance(value, Mapping):
            below = fields_of(field.type) if field is not None and field.type is not None else {}
            result[key] = _message(result.get(key), value, below if field and field.many is Many.ONE else {})
        else:
            result[key] = value
    return result


def _directed(held: dict[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """What is held, after the directives that stand beside a mapping's fields."""
    for key, value in patch.items():
        what, _, name = key.partition("/")
        if not key.startswith("$") or what == _ORDER or (key, value) == (_HOW, "merge"):
            continue
        if what not in (_RETAIN, _DELETE) or not isinstance(value, list):
            known = f"{_HOW}: replace or delete, {_RETAIN}: [NAME…], {_DELETE}/NAME: [VALUE…]"
            raise Invalid(f"the patch's {key}: {value} can't be followed there; it may say {known}")
        if what == _RETAIN:
            held = {k: v for k, v in held.items() if k in value}
        elif isinstance(held.get(name), list):
            held[name] = [element for element in held[name] if element not in value]
    return held


def _list(target: Sequence[Any], patch: Sequence[Any], field: Field) -> list[Any]:
    if any(isinstance(e, Mapping) and e == {_HOW: "replace"} for e in patch):
        return [e for e in patch if e != {_HOW: "replace"}]
    if not all(isinstance(e, Mapping) for e in (*target, *patch)):
        return list(patch)
    below = fields_of(field.type) if field.type is not None else {}
    result = [dict(e) for e in target]
    for element in patch:
        wanted = merge_key(element, field.merge_keys)
        at = next((i for i, held in enumerate(result) if merge_key(held, field.merge_keys) == wanted), None)
        if element.get(_HOW) == "delete":
            result = [e for i, e in enumerate(result) if i != at]
        elif at is None:
            result.append(_message({}, element, below))
        else:
            result[at] = _message(result[at], element, below)
    return result


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
        source = operation.get("from")
        if what in ("move", "copy") and (not isinstance(source, str) or (source and not source.startswith("/"))):
            raise Invalid(f'{where} of the patch needs a from such as "/metadata/labels/app"')
        result = _operate(result, str(what), path, operation, where)
    if not isinstance(result, Mapping):
        raise Invalid("the patch leaves no object: its path must name a field of it")
    return result


def _operate(document: Any, what: str, path: str, operation: Mapping[str, Any], where: str) -> Any:
    if what == "test":
        if _at(document, path, where) != operation["value"]:
            raise Invalid(f'{where} of the patch does not hold: "{path}" is {_at(document, path, where)!r}')
        return document
    if what in ("move", "copy"):
        source: str = operation["from"]
        value = deepcopy(_at(document, source, where))
        if what == "move":
            if path.startswith(f"{source}/"):
                raise Invalid(f'{where} of the patch can\'t move "{source}" into itself')
            _change(document, source, "remove", None, where)
        return _change(document, path, "add", value, where)
    if what not in ("add", "remove", "replace"):
        raise Invalid(f'{where} of the patch: op must be add, remove, replace, move, copy or test, not "{what}"')
    return _change(document, path, what, deepcopy(operation.get("value")), where)


def _steps(path: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")[1:]]


def _place(step: str) -> int:
    """The place in a list that a step of a path names; -1 for none."""
    number = counted(step)
    return -1 if number is None else number


def _at(document: Any, path: str, where: str) -> Any:
    for step in _steps(path):
        if isinstance(document, Mapping) and step in document:
            document = document[step]
        elif isinstance(document, list) and 0 <= (at := _place(step)) < len(document):
            document = document[at]
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
        at = len(holder) if last == "-" else _place(last)
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
