"""Plain values (dicts, lists, texts, numbers) into messages, strictly, by walking descriptors.

Rule: an unknown field, a wrong type or a number out of range is a violation with its field path, never a guess;
null is as absent.
"""

import base64
import binascii
import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.message import Message

from mesh.errors import Violation
from mesh.model.fields import Field, Many, Shape, fields_of
from mesh.model.rules import at_key, join
from mesh.model.times import parse_rfc3339
from mesh.model.yamltext import Scalar
from mesh.v1 import rules_pb2
from mesh.v1.meta_pb2 import IntOrString


class _MisfitError(ValueError):
    """A value that does not fit its field."""


def read(value: Any, message: Message, path: str = "") -> list[Violation]:
    """Fills `message` from a mapping; returns what is wrong, in the order of the mapping."""
    return list(_message(value, message, path))


def _message(value: Any, message: Message, path: str) -> Iterator[Violation]:
    if not isinstance(value, Mapping):
        yield Violation(path, _wanted("a mapping", value))
        return
    message.SetInParent()  # `emptyDir: {}` is present
    fields = fields_of(message.DESCRIPTOR)
    for name, given in value.items():
        field = fields.get(name)
        if field is None:
            yield Violation(join(path, str(name)), _unknown(str(name), list(fields)))
        elif given is not None:
            yield from _field(field, given, message, join(path, name))


def _field(field: Field, value: Any, message: Message, path: str) -> Iterator[Violation]:
    if field.many is Many.LIST:
        yield from _list(field, value, getattr(message, field.name), path)
    elif field.many is Many.MAP:
        yield from _map(field, value, getattr(message, field.name), path)
    elif field.shape is Shape.MESSAGE:
        yield from _message(value, getattr(message, field.name), path)
    else:
        try:
            read_value = _single(field, value)
        except _MisfitError as error:
            yield Violation(path, str(error))
            return
        if isinstance(read_value, Message):
            getattr(message, field.name).CopyFrom(read_value)
        else:
            setattr(message, field.name, read_value)


def _list(field: Field, value: Any, into: Any, path: str) -> Iterator[Violation]:
    if not isinstance(value, list):
        yield Violation(path, _wanted("a list", value))
        return
    for index, element in enumerate(value):
        where = f"{path}[{index}]"
        if element is None:
            yield Violation(where, f"must be {field.shape.value}, is null: remove the empty element or fill it in")
        elif field.shape is Shape.MESSAGE:
            yield from _message(element, into.add(), where)
        else:
            try:
                into.append(_single(field, element))
            except _MisfitError as error:
                yield Violation(where, str(error))


def _map(field: Field, value: Any, into: Any, path: str) -> Iterator[Violation]:
    if not isinstance(value, Mapping):
        yield Violation(path, _wanted("a mapping", value))
        return
    for key, element in value.items():
        where = at_key(path, str(key))
        try:
            _unicode(str(key))
        except _MisfitError as error:
            yield Violation(path, f"a key {error}")
            continue
        if element is None:
            hint = ': write "" for an empty text' if field.shape is Shape.TEXT else ""
            yield Violation(where, f"must be {field.shape.value}, is null{hint}")
        elif field.shape is Shape.MESSAGE:
            yield from _message(element, into[key], where)
        else:
            try:
                single = _single(field, element)
            except _MisfitError as error:
                yield Violation(where, str(error))
                continue
            if isinstance(single, Message):
                into[key].CopyFrom(single)
            else:
                into[key] = single


def _single(field: Field, given: Any) -> Any:
    value = given.value if isinstance(given, Scalar) else given
    if field.shape is Shape.TEXT:
        return _text(field, value, given)
    if field.shape is Shape.BYTES:
        return _bytes(value, given)
    if field.shape is Shape.BOOLEAN:
        if not isinstance(value, bool):
            raise _MisfitError(_wanted("true or false", given))
        return value
    if field.shape is Shape.WHOLE:
        return _whole(value, given, field.bounds)
    if field.shape is Shape.NUMBER:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _MisfitError(_wanted("a number", given))
        return float(value)
    if field.shape is Shape.PORT_OR_NAME:
        return _port_or_name(value, given)
    return _time(value, given)


def _text(field: Field, value: Any, given: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and field.rules.format == rules_pb2.QUANTITY:
        return str(int(value)) if abs(value) < 2**53 and value == int(value) else str(value)
    if not isinstance(value, str):
        raise _MisfitError(_wanted("a text", given))
    return _unicode(value)


def _unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _MisfitError("must be Unicode text, has half of a surrogate pair") from None
    return text


def _bytes(value: Any, given: Any) -> bytes:
    if not isinstance(value, str):
        raise _MisfitError(_wanted("a base64 text", given))
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _MisfitError("must be base64; plain text goes into stringData, or data of a ConfigMap") from None


def _whole(value: Any, given: Any, bounds: tuple[int, int]) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _MisfitError(_wanted("a whole number", given))
    low, high = bounds
    if not low <= value <= high:
        raise _MisfitError(f"must be between {low} and {high}, is {value}")
    return value


def _port_or_name(value: Any, given: Any) -> IntOrString:
    if isinstance(value, str):
        return IntOrString(string_value=_unicode(value))
    try:
        return IntOrString(int_value=_whole(value, given, (-(2**31), 2**31 - 1)))
    except _MisfitError as error:
        raise _MisfitError(str(error).replace("a whole number,", "a whole number or a text,")) from None


def _time(value: Any, given: Any) -> Message:
    if not isinstance(value, str):
        raise _MisfitError(_wanted("a time as in 2026-01-31T12:00:00Z", given))
    try:
        return parse_rfc3339(value)
    except ValueError as error:
        raise _MisfitError(str(error)) from None


def _wanted(what: str, given: Any) -> str:
    """ "must be <what>, is <given>", with what to do when quotes are the matter."""
    value, text = (given.value, given.text) if isinstance(given, Scalar) else (given, None)
    described = _describe(value, text)
    if "text" in what and isinstance(value, bool | int | float):
        quoted = text if text is not None else str(value).lower() if isinstance(value, bool) else str(value)
        return f'must be {what}, is {described}: write it in quotes, "{quoted}"'
    if isinstance(value, str) and what in ("a whole number", "a number") and value.lstrip("-").isdigit():
        return f"must be {what}, is {described}: remove the quotes"
    if isinstance(value, str) and what == "true or false" and value.lower() in ("true", "false"):
        return f"must be {what}, is {described}: write {value.lower()} without quotes"
    return f"must be {what}, is {described}"


def _describe(value: Any, text: str | None) -> str:
    written = f" (written {text})" if text is not None and text != str(value) else ""
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}" + (
            f" (written {text})" if text not in (None, "true", "false") else ""
        )
    if isinstance(value, int | float):
        return f"the number {value}{written}"
    if isinstance(value, str):
        return f'the text "{value[:60]}{"…" if len(value) > 60 else ""}"'
    if value is None:
        return "null"
    return "a mapping" if isinstance(value, Mapping) else "a list"


def _unknown(name: str, known: list[str]) -> str:
    if near := nearest(name, known):
        return f'unknown field; did you mean "{near}"?'
    return "unknown field" + (f"; known here: {', '.join(known)}" if len(known) <= 12 else "")


def nearest(name: str, known: list[str]) -> str:
    """The known name that was probably meant, or ""."""
    by_lower = {k.lower(): k for k in known}
    plain = name.lower().replace("_", "").replace("-", "")
    close = difflib.get_close_matches(plain, by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else ""
