"""`mesh explain`: what the fields of a kind are, from the descriptors that meshd itself checks by."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from mesh.cli import complete
from mesh.cli.session import Verb

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

    from mesh.model.fields import Field
    from mesh.model.kinds import Kind


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a path leads: the field there, None for the kind itself, and the message with its children."""

    kind: "Kind"
    path: tuple[str, ...]
    field: "Field | None"
    message: "Descriptor | None"
    owner: "Descriptor"


@click.command("explain", cls=Verb, short_help="Explain the fields of a kind.")
@click.argument("path", metavar="KIND[.FIELD…]", shell_complete=complete.kinds)
@click.option("--recursive", is_flag=True, help="The fields of the fields too.")
def command(path: str, recursive: bool) -> None:
    """Explain the fields of a kind.

    \b
    mesh explain pod                              mesh explain pod.spec.containers
    mesh explain pod.spec.containers.resources    mesh explain configmap --recursive
    """
    place = _find(path)
    click.echo(f"KIND:       {place.kind.name}\nVERSION:    {place.kind.api_version}\n")
    if not place.kind.served:
        click.echo(f"NOT SERVED: {place.kind.why_not}\n")
    if place.field is not None:
        click.echo(f"FIELD: {place.path[-1]} <{type_of(place.field)}>{_required(place.field)}\n")
    text = _text(place)
    if text:
        click.echo(f"DESCRIPTION:\n    {text}\n")
    if place.message is not None:
        click.echo("FIELDS:")
        _fields(place.message, "  ", recursive, ())


def _find(path: str) -> _Place:
    from mesh.errors import NotFound
    from mesh.model.fields import fields_of
    from mesh.model.kinds import kind_for_word

    word, *names = path.split(".")
    kind = kind_for_word(word)
    message: Descriptor | None = kind.message.DESCRIPTOR
    place = _Place(kind, (), None, message, kind.message.DESCRIPTOR)
    for index, name in enumerate(names):
        fields = fields_of(message) if message is not None else {}
        if message is None or name not in fields:
            where = ".".join([word, *names[:index]])
            raise NotFound(f'{where} has no field "{name}"' + _hint(where, name, list(fields)))
        place = _Place(kind, tuple(names[: index + 1]), fields[name], fields[name].type, message)
        message = place.message
    return place


def _hint(where: str, name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    if near:
        return f'; did you mean "{near[0]}"?'
    if not known:
        return "; it has no fields of its own"
    return f"; `mesh explain {where}` lists its fields" if len(known) > 12 else f"; it has {', '.join(known)}"


def type_of(field: "Field") -> str:
    """A field's type as kubectl writes it: string, integer, []Container, map[string]string."""
    from mesh.model.fields import Many, Shape

    names = {
        Shape.TEXT: "string", Shape.BYTES: "base64", Shape.BOOLEAN: "boolean", Shape.WHOLE: "integer",
        Shape.NUMBER: "number", Shape.TIME: "time", Shape.PORT_OR_NAME: "integer or string",
    }  # fmt: skip
    one = field.type.name if field.type is not None else names[field.shape]
    return {Many.ONE: one, Many.LIST: f"[]{one}", Many.MAP: f"map[string]{one}"}[field.many]


def rules_of(field: "Field") -> str:
    """What a value must be like beside its type, in words; empty when anything goes."""
    from mesh.v1 import rules_pb2

    rules, parts = field.rules, []
    if rules.allowed:
        parts.append("one of " + ", ".join(rules.allowed))
    if rules.HasField("min") and rules.HasField("max"):
        parts.append(f"{rules.min} to {rules.max}")
    elif rules.HasField("min"):
        parts.append(f"at least {rules.min}")
    elif rules.HasField("max"):
        parts.append(f"at most {rules.max}")
    if rules.format:
        parts.append("form: " + rules_pb2.Format.Name(rules.format).lower().replace("_", " "))
    if rules.merge_key:
        parts.append(f"elements are told apart by {rules.merge_key.replace(',', ' and ')}")
    return "; ".join(parts)


def _required(field: "Field") -> str:
    return " -required-" if field.rules.required else ""


def _text(place: _Place) -> str:
    from mesh.cli.comments import comment_of_message

    if place.field is None:
        return comment_of_message(place.owner)
    return "\n    ".join(_lines(place.owner, place.field))


def _lines(message: "Descriptor", field: "Field") -> list[str]:
    """What there is to say of a field: its meaning, its rules, whether it works yet."""
    from mesh.cli.comments import comment_of_field
    from mesh.cli.fieldwords import words_of
    from mesh.model.support import TABLE

    said = comment_of_field(message, field.name) or words_of(message.name, field.json)
    support = TABLE.get(message.name, {}).get(field.json)
    note = ""
    if support is not None and support.state != "honoured":
        some = " (some values are fine)" if support.accepts is not None else ""
        note = f"{support.state}{some}: {support.why}"
    return [line for line in (said, rules_of(field), note) if line]


def _fields(message: "Descriptor", indent: str, recursive: bool, above: tuple[str, ...]) -> None:
    from mesh.model.fields import fields_of

    for name, field in fields_of(message).items():
        click.echo(f"{indent}{name}\t<{type_of(field)}>{_required(field)}")
        if not recursive:
            for text in _lines(message, field):
                click.echo(f"{indent}    {text}")
        elif field.type is not None and field.type.full_name not in above:
            _fields(field.type, indent + "  ", recursive, (*above, message.full_name))
