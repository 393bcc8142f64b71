"""Messages into plain values, YAML and JSON, in Kubernetes' key order.

Rule: what is set is written and nothing else, so that reading it again gives an equal message.
"""

import base64
import json
import re
from typing import Any

import yaml
from google.protobuf.message import Message

from mesh.model.fields import Field, Many, Shape, fields_of
from mesh.model.times import format_rfc3339
from mesh.model.yamltext import resolve

_DATE = re.compile(r"\d{4}-\d\d?-\d\d?(?:$|[Tt \t])", re.ASCII)
_BREAKS = "\r\x85\u2028\u2029\ufeff"  # line breaks to some readers and not to others
_FIRST = ("apiVersion", "kind", "metadata")


def to_dict(message: Message) -> dict[str, Any]:
    """What a message holds, by JSON names: apiVersion, kind, metadata, spec, status, as kubectl orders them."""
    result: dict[str, Any] = {}
    for field in fields_of(message.DESCRIPTOR).values():
        value = getattr(message, field.name)
        if field.many is Many.LIST:
            if value:
                result[field.json] = [_single(field, element) for element in value]
        elif field.many is Many.MAP:
            if value:
                result[field.json] = {key: _single(field, value[key]) for key in sorted(value)}
        elif message.HasField(field.name):
            result[field.json] = _single(field, value)
    return result


def to_json(obj: Message, *, indent: int | None = 4) -> str:
    """The message as JSON, `indent` None for one line."""
    return json.dumps(_sorted(to_dict(obj)), indent=indent, ensure_ascii=False)


def to_yaml(obj: Message | dict[str, Any]) -> str:
    """The message, or what `to_dict` returned, as YAML that kubectl would read as the same."""
    value = to_dict(obj) if isinstance(obj, Message) else obj
    return yaml.dump(
        _sorted(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=2**31 - 1
    )


def _single(field: Field, value: Any) -> Any:
    if field.shape is Shape.MESSAGE:
        return to_dict(value)
    if field.shape is Shape.BYTES:
        return base64.b64encode(value).decode()
    if field.shape is Shape.TIME:
        return format_rfc3339(value)
    if field.shape is Shape.PORT_OR_NAME:
        which = value.WhichOneof("kind")
        return getattr(value, which) if which else 0
    return value


def _sorted(value: Any, *, top: bool = True) -> Any:
    """Keys as kubectl prints them: alphabetical; at the top apiVersion, kind and metadata come first."""
    if isinstance(value, dict):
        names = sorted(value)
        if top:
            names = [n for n in _FIRST if n in value] + [n for n in names if n not in _FIRST]
        return {n: _sorted(value[n], top=False) for n in names}
    return [_sorted(v, top=False) for v in value] if isinstance(value, list) else value


class _Dumper(yaml.SafeDumper):
    """Quotes whatever kubectl or a YAML 1.1 reader would take for something else than a text."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=_style(text))


def _style(text: str) -> str | None:
    """Quotes for what a plain scalar would not give back, a literal block for lines, None where PyYAML may choose."""
    if any(c in _BREAKS for c in text) or _DATE.match(text) or not isinstance(resolve(text), str):
        return '"'
    plain_lines = "\n" in text and not text.startswith((" ", "\n", "\t")) and " \n" not in text
    return "|" if plain_lines else None


_Dumper.add_representer(str, _represent_text)
