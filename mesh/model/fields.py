"""The fields of messages as manifests see them: by JSON name, with their kind and their rules of rules.proto.

Rule: computed once per message type from its descriptor; the only module that looks at descriptors' details.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from mesh.v1 import rules_pb2

M = TypeVar("M", bound=Message)

TIMESTAMP = "google.protobuf.Timestamp"
INT_OR_STRING = "mesh.v1.IntOrString"
_ASSUMED = {"protocol": "TCP"}  # parts of a merge key that a manifest may leave out


class Shape(Enum):
    """What a value is, apart from being one, a list or a map."""

    TEXT = "a text"
    BYTES = "a base64 text"
    BOOLEAN = "true or false"
    WHOLE = "a whole number"
    NUMBER = "a number"
    TIME = "a time as in 2026-01-31T12:00:00Z"
    PORT_OR_NAME = "a whole number or a text"
    MESSAGE = "a mapping"


class Many(Enum):
    """How many values a field holds."""

    ONE = 0
    LIST = 1
    MAP = 2


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `type` is the message type of a MESSAGE; `bounds` those of the integer type of a WHOLE."""

    name: str
    json: str
    shape: Shape
    many: Many
    rules: rules_pb2.Rules
    type: Descriptor | None = None
    bounds: tuple[int, int] = (0, 0)

    @property
    def merge_keys(self) -> tuple[str, ...]:
        """JSON names that identify an element of this list; none when the list is replaced whole."""
        return tuple(self.rules.merge_key.split(",")) if self.rules.merge_key else ()


_F = FieldDescriptor
_SHAPES = {
    _F.TYPE_STRING: Shape.TEXT,
    _F.TYPE_BYTES: Shape.BYTES,
    _F.TYPE_BOOL: Shape.BOOLEAN,
    _F.TYPE_INT32: Shape.WHOLE,
    _F.TYPE_INT64: Shape.WHOLE,
    _F.TYPE_UINT32: Shape.WHOLE,
    _F.TYPE_UINT64: Shape.WHOLE,
    _F.TYPE_FLOAT: Shape.NUMBER,
    _F.TYPE_DOUBLE: Shape.NUMBER,
}
_BOUNDS = {
    _F.TYPE_INT32: (-(2**31), 2**31 - 1),
    _F.TYPE_INT64: (-(2**63), 2**63 - 1),
    _F.TYPE_UINT32: (0, 2**32 - 1),
    _F.TYPE_UINT64: (0, 2**64 - 1),
}


@cache
def fields_of(descriptor: Descriptor) -> dict[str, Field]:
    """The fields of a message type by JSON name, in the order of the proto file."""
    return {field.json_name: _field(field) for field in descriptor.fields}


def merge_key(element: Mapping[str, Any], keys: Sequence[str]) -> tuple[Any, ...]:
    """What tells this element of a list, as in a manifest, from the list's others: its values of these merge keys."""
    return tuple(element.get(key, _ASSUMED.get(key)) for key in keys)


def copy_of(message: M) -> M:
    """An equal message that may be changed."""
    made = type(message)()
    made.CopyFrom(message)
    return made


def has(message: Message, name: str) -> bool:
    """Whether the message's type has the singular field of this proto name and it is set."""
    return name in message.DESCRIPTOR.fields_by_name and message.HasField(name)


def part(message: Message, name: str) -> Message | None:
    """The message in the field of this proto name, or None when it is not set."""
    value = getattr(message, name) if has(message, name) else None
    return value if isinstance(value, Message) else None


def transfer(source: Message, target: Message, *names: str) -> None:
    """Makes fields of `target`, by their proto names and no maps, as they are in `source`: absent when absent."""
    for name in names:
        target.ClearField(name)
        field = source.DESCRIPTOR.fields_by_name.get(name)
        if field is not None and field.is_repeated:
            getattr(target, name).extend(getattr(source, name))
            continue
        if not has(source, name):
            continue
        value = getattr(source, name)
        if isinstance(value, Message):
            getattr(target, name).CopyFrom(value)
        else:
            setattr(target, name, value)


def _field(field: FieldDescriptor) -> Field:
    rules = field.GetOptions().Extensions[rules_pb2.rules]
    many, value = Many.ONE, field
    if field.is_repeated:
        many = Many.LIST
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            many, value = Many.MAP, field.message_type.fields_by_name["value"]
    shape, kind = _SHAPES.get(value.type), value.message_type
    if shape is None and kind is not None:
        shape = {TIMESTAMP: Shape.TIME, INT_OR_STRING: Shape.PORT_OR_NAME}.get(kind.full_name, Shape.MESSAGE)
    bounds = _BOUNDS.get(value.type, (0, 0))
    if shape is None:
        raise TypeError(f"{field.full_name}: objects have no fields of this type")
    return Field(field.name, field.json_name, shape, many, rules, kind if shape is Shape.MESSAGE else None, bounds)
