"""Fields that this release does not know, in messages that another release has sent.

Rule: pure. Such fields are kept wherever an object is passed on or stored, for a newer release knows them; users may
not add them, for nobody here would heed them.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from mesh.model.fields import copy_of


def unknown_field(message: Message) -> str:
    """Where the first field is that is not known here, as "spec.containers: field 99"; empty: there is none."""
    known = copy_of(message)
    known.DiscardUnknownFields()
    return "" if known.ByteSize() == message.ByteSize() else _found(message, ())


def _found(message: Message, path: tuple[str, ...]) -> str:
    here = UnknownFieldSet(message)
    if len(here):
        return f"{'.'.join(path) or 'the object'}: field {here[0].field_number}"
    for field, value in message.ListFields():
        for one in _messages(value):
            if found := _found(one, (*path, field.json_name)):
                return found
    return ""


def _messages(value: Any) -> list[Message]:
    """What of a field's value are messages: itself, those of a list, those of a map."""
    if isinstance(value, Message):
        return [value]
    if isinstance(value, str | bytes | int | float):
        return []
    held = value.values() if isinstance(value, Mapping) else value
    return [one for one in held if isinstance(one, Message)]
