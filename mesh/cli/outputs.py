"""What -o asks for: objects as a table, names, YAML, JSON, or a JSONPath template filled in.

Rule: what a program reads (json, yaml, name, jsonpath) holds nothing but the answer; remarks go to standard error.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from mesh.cli import printers, tables
from mesh.cli.printers import Look, Table
from mesh.cli.targets import ref
from mesh.errors import Invalid
from mesh.model import manifest
from mesh.model.kinds import Kind, Object, kind_of
from mesh.sdk import jsonpath

FORMATS = "wide|name|yaml|json|jsonpath=TEMPLATE|jsonpath-file=FILE|custom-columns=TITLE:PATH,…"


@dataclass(frozen=True, slots=True)
class Format:
    """A parsed -o; `name` is "", "wide", "name", "yaml", "json", "jsonpath" or "custom-columns"."""

    name: str
    nodes: tuple[jsonpath.Node, ...] = ()
    columns: tuple[tuple[str, tuple[jsonpath.Node, ...]], ...] = ()

    @property
    def table(self) -> bool:
        """Whether objects are shown in a table."""
        return self.name in ("", "wide")


def parse(text: str) -> Format:
    """What -o says; raises Invalid."""
    name, separator, rest = text.partition("=")
    if name == "jsonpath" and separator:
        return Format(name, jsonpath.parse(rest))
    if name == "custom-columns" and separator:
        return Format(name, columns=_columns(rest))
    if name == "jsonpath-file" and separator:
        try:
            with click.open_file(rest) as file:
                return Format("jsonpath", jsonpath.parse(file.read().strip()))
        except OSError as error:
            raise Invalid(f"cannot read {rest}: {error.strerror}") from error
    if separator or name not in ("", "wide", "name", "yaml", "json"):
        raise Invalid(f'there is no output format "{text}": say {FORMATS}')
    return Format(name)


def _columns(text: str) -> tuple[tuple[str, tuple[jsonpath.Node, ...]], ...]:
    """Titles and paths of "NAME:.metadata.name,IP:.status.podIP"; raises Invalid."""
    found = []
    for part in text.split(","):
        title, colon, path = part.partition(":")
        if not title or not colon or not path:
            raise Invalid(f'"{part}" is no column: say TITLE:PATH, such as NAME:.metadata.name')
        bare = path.removeprefix("{").removesuffix("}")
        found.append((title, jsonpath.parse("{" + (bare if bare.startswith((".", "[")) else f".{bare}") + "}")))
    return tuple(found)


def _rows(form: Format, values: Sequence[dict[str, Any]]) -> str:
    """A table of the columns asked for."""
    found = [[jsonpath.find(nodes, value) for _, nodes in form.columns] for value in values]
    rows = tuple(tuple(",".join(map(jsonpath.text_of, cell)) or "<none>" for cell in row) for row in found)
    table = Table(tuple(title for title, _ in form.columns), rows)
    return "".join(line.rstrip() + "\n" for line in tables.lines_of(table, tables.widths_of(table)))


def documents(form: Format, objects: Sequence[Object], *, single: bool, show: bool = False) -> str:
    """The objects in a format that is no table; `single` says that one was asked for by name. Values of Secrets are
    hidden unless `show`."""
    if form.name == "name":
        return "".join(f"{ref(kind_of(o), o.metadata.name)}\n" for o in objects)
    values = [manifest.to_dict(o) if show else hidden(manifest.to_dict(o)) for o in objects]
    if form.name == "custom-columns":
        return _rows(form, values)
    value: dict[str, Any] = {"apiVersion": "v1", "items": values, "kind": "List", "metadata": {"resourceVersion": ""}}
    if single and len(values) == 1:
        value = values[0]
    if form.name == "json":
        return _json(value)
    if form.name == "yaml":
        return manifest.to_yaml(value)
    return jsonpath.render(form.nodes, value)


def hidden(value: dict[str, Any]) -> dict[str, Any]:
    """A manifest without values of Secrets: what stands for them is no base64, so that nobody applies it by mistake."""
    if value.get("kind") != "Secret" or not value.get("data"):
        return value
    return {**value, "data": dict.fromkeys(value["data"], "(hidden: mesh get secret --show)")}


def sort_key(template: str) -> Callable[[Object], tuple[int, Any]]:
    """How --sort-by orders objects; those without the field come first."""
    nodes = jsonpath.parse(template)

    def key(obj: Object) -> tuple[int, Any]:
        found = jsonpath.find(nodes, manifest.to_dict(obj))
        if not found:
            return (0, "")
        value = found[0]
        return (1, value) if isinstance(value, int | float) and not isinstance(value, bool) else (2, str(value))

    return key


def show_table(kind: Kind, objects: Sequence[Object], look: Look, *, titles: bool, color: bool) -> None:
    """Prints objects of one kind as a table."""
    tables.show(printers.table(kind, objects, time.time(), look), titles=titles, color=color)


def _json(value: dict[str, Any]) -> str:
    import json

    return json.dumps(value, indent=4, ensure_ascii=False) + "\n"
