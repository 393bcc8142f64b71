"""Checks any message against the rules of rules.proto: formats, allowed values, bounds, required fields.

Rule: every violation is reported, by its path as in a manifest: "spec.containers[0].ports[1].containerPort".
"""

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.message import Message

from mesh.errors import Violation
from mesh.model import formats
from mesh.model.fields import Field, Many, Shape, fields_of
from mesh.model.kinds import Kind, Object, kind_of
from mesh.v1 import rules_pb2


def check(message: Message, path: str = "") -> list[Violation]:
    """Everything in a message that breaks a rule of its fields."""
    return list(_check(message, path))


def check_object(obj: Object) -> list[Violation]:
    """`check`, and what holds for every object: its name and namespace (A1)."""
    return [*_check(obj, ""), *_identity(obj, kind_of(obj))]


def zero_bytes(message: Message, path: str) -> Iterator[Violation]:
    """The texts with a zero byte in them: programs, files and variables are told by texts that end at one."""
    for field in fields_of(message.DESCRIPTOR).values():
        value, where = getattr(message, field.name), join(path, field.json)
        if field.many is Many.LIST:
            found = [(f"{where}[{index}]", element) for index, element in enumerate(value)]
        elif field.many is Many.MAP:
            found = [(at_key(where, key), value[key]) for key in sorted(value)]
        else:
            found = [(where, value)] if field.shape is Shape.TEXT or message.HasField(field.name) else []
        for place, element in found:
            if isinstance(element, Message):
                yield from zero_bytes(element, place)
            elif isinstance(element, str) and "\0" in element:
                yield Violation(place, "must not have a zero byte in it")


def join(path: str, name: str) -> str:
    """The path of a field of what is at `path`."""
    return f"{path}.{name}" if path else name


def at_key(path: str, key: str) -> str:
    """The path of a map's value."""
    plain = key and all(c.isalnum() or c in "-_" for c in key)
    return join(path, key) if plain else f'{path}["{key}"]'


def _identity(obj: Object, kind: Kind) -> Iterator[Violation]:
    name, prefix = obj.metadata.name, obj.metadata.generate_name
    if not name and not prefix:
        yield Violation("metadata.name", "is required")
    check_name = formats.dns_label if kind.name in ("Namespace", "Service") else formats.dns_subdomain
    if name and not formats.dns_subdomain(name) and (reason := check_name(name)):
        yield Violation("metadata.name", reason)
    if prefix and (reason := check_name(f"{prefix}abcde")):
        yield Violation("metadata.generateName", reason)
    if kind.name == "CronJob" and len(name) > 52:
        yield Violation("metadata.name", f"must be no more than 52 characters, has {len(name)}")
    if obj.metadata.namespace and not kind.namespaced:
        yield Violation("metadata.namespace", f"must be absent: a {kind.name} is in no namespace")


def _check(message: Message, path: str) -> Iterator[Violation]:
    for field in fields_of(message.DESCRIPTOR).values():
        where = join(path, field.json)
        value = getattr(message, field.name)
        present = message.HasField(field.name) if field.many is Many.ONE else bool(value)
        if field.rules.required and not (present and (field.shape is not Shape.TEXT or value)):
            yield Violation(where, "is required")
        elif present:
            yield from _values(field, value, where)


def _values(field: Field, value: Any, path: str) -> Iterator[Violation]:
    if field.many is Many.LIST:
        for index, element in enumerate(value):
            yield from _value(field, element, f"{path}[{index}]")
    elif field.many is Many.MAP:
        yield from _map(field, value, path)
    else:
        yield from _value(field, value, path)


def _map(field: Field, value: Mapping[str, Any], path: str) -> Iterator[Violation]:
    form = field.rules.format
    for key in sorted(value):
        where = at_key(path, key)
        if form in (rules_pb2.LABELS, rules_pb2.ANNOTATIONS) and (reason := formats.label_key(key)):
            yield Violation(path, f"the key {reason}" if reason.startswith('"') else reason)
        if form == rules_pb2.LABELS and (reason := formats.label_value(value[key])):
            yield Violation(where, reason)
        if form == rules_pb2.CONFIG_KEYS and (reason := formats.config_key(key)):
            yield Violation(path, reason)
        yield from _value(field, value[key], where)
    if form == rules_pb2.ANNOTATIONS:
        size = sum(len(k.encode()) + len(v.encode()) for k, v in value.items())
        if size > formats.ANNOTATIONS_LIMIT:
            yield Violation(path, f"must be no more than 256 KiB in all, has {size} bytes")


def _value(field: Field, value: Any, path: str) -> Iterator[Violation]:
    if field.shape is Shape.MESSAGE:
        yield from _check(value, path)
    elif field.shape is Shape.TEXT:
        reason = _allowed(field, value)
        if not reason and (value or field.rules.required) and (form := formats.TEXTS.get(field.rules.format)):
            reason = form(value)
        if reason:
            yield Violation(path, reason)
    elif field.shape is Shape.WHOLE and (reason := _bounds(field, value)):
        yield Violation(path, reason)


def _allowed(field: Field, value: str) -> str:
    allowed = field.rules.allowed
    if not allowed or value in allowed:
        return ""
    names = [f'"{a}"' for a in allowed]
    near = next((f'; did you mean "{a}"?' for a in allowed if a.lower() == value.lower()), "")
    return f'must be {" or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))}, is "{value}"{near}'


def _bounds(field: Field, value: int) -> str:
    rules = field.rules
    low = rules.min if rules.HasField("min") else None
    high = rules.max if rules.HasField("max") else None
    if rules.format == rules_pb2.OCTAL_MODE:
        return "" if 0 <= value <= 0o777 else f"must be between 0 and 0777 (octal), is {value} (0{value:o} in octal)"
    if (low is None or value >= low) and (high is None or value <= high):
        return ""
    if high is None:
        return f"must be at least {low}, is {value}"
    return f"must be at most {high}, is {value}" if low is None else f"must be between {low} and {high}, is {value}"
