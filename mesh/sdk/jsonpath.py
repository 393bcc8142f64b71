"""kubectl's JSONPath templates over plain dicts and lists: {.a.b[0]}, [*], ..x, ['a.b'], [1:3], [?(@.t=="x")], range.

Rule: pure; a path that leads nowhere yields nothing, as `kubectl get -o jsonpath` has it; a template that can't be
read raises Invalid with the place.
"""

import json
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mesh.errors import Invalid

Step = Callable[[Any], Iterator[Any]]
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_FIELD = re.compile(r"((?:\\.|[^\s.\[\]{}'\"\\])+)")
_FILTER = re.compile(r"^@(?P<path>.*?)\s*(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<value>.+))?$")


@dataclass(frozen=True, slots=True)
class Text:
    """Words of the template itself."""

    text: str


@dataclass(frozen=True, slots=True)
class Path:
    """A path; its results are written with spaces between."""

    steps: tuple[Step, ...]

    def find(self, value: Any) -> list[Any]:
        """What the path leads to."""
        found = [value]
        for step in self.steps:
            found = [result for item in found for result in step(item)]
        return found


@dataclass(frozen=True, slots=True)
class Range:
    """A part of the template, repeated for each result of a path."""

    path: Path
    body: tuple["Node", ...]


Node = Text | Path | Range


def parse(template: str) -> tuple[Node, ...]:
    """The template's parts; a bare path ("status.phase") may leave its braces out."""
    if "{" not in template:
        template = "{." + template.lstrip(".") + "}"
    nodes, rest = _nodes(template, 0, inside=False)
    if rest != len(template):
        raise Invalid(f'cannot read the JSONPath "{template}": an "end" without "range"')
    return nodes


def find(nodes: Sequence[Node], value: Any) -> list[Any]:
    """Every result of the template's paths, as values."""
    out: list[Any] = []
    for node in nodes:
        if isinstance(node, Path):
            out += node.find(value)
        elif isinstance(node, Range):
            for item in node.path.find(value):
                out += find(node.body, item)
    return out


def render(nodes: Sequence[Node], value: Any) -> str:
    """The template filled in."""
    out = []
    for node in nodes:
        if isinstance(node, Text):
            out.append(node.text)
        elif isinstance(node, Path):
            out.append(" ".join(text_of(v) for v in node.find(value)))
        else:
            out += [render(node.body, item) for item in node.path.find(value)]
    return "".join(out)


def text_of(value: Any) -> str:
    """A result as kubectl prints it: text as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _nodes(template: str, at: int, inside: bool) -> tuple[tuple[Node, ...], int]:
    nodes: list[Node] = []
    while at < len(template):
        if template[at] != "{":
            end = template.find("{", at)
            end = len(template) if end < 0 else end
            nodes.append(Text(template[at:end]))
            at = end
            continue
        word, after = _braces(template, at)
        if word == "end":
            return tuple(nodes), after if inside else at
        if word.startswith("range") and word[5:6] in (" ", ".", "["):
            body, after = _nodes(template, after, inside=True)
            nodes.append(Range(_path(word[5:].strip(), template), body))
        elif word[:1] in ('"', "'"):
            nodes.append(Text(_literal(word, template)))
        else:
            nodes.append(_path(word, template))
        at = after
    if inside:
        raise Invalid(f'cannot read the JSONPath "{template}": a "range" without "end"')
    return tuple(nodes), at


def _braces(template: str, at: int) -> tuple[str, int]:
    """What stands between the braces at `at`, and where the template goes on."""
    quote = ""
    for index in range(at + 1, len(template)):
        sign = template[index]
        if quote:
            quote = "" if sign == quote and template[index - 1] != "\\" else quote
        elif sign in "\"'":
            quote = sign
        elif sign == "}":
            return template[at + 1 : index].strip(), index + 1
    raise Invalid(f'cannot read the JSONPath "{template}": a "{{" without "}}"')


def _path(text: str, template: str) -> Path:
    steps: list[Step] = []
    at = 1 if text[:1] in ("$", "@") else 0
    while at < len(text):
        if text[at] == "[":
            end = _bracket_end(text, at, template)
            steps.append(_subscript(text[at + 1 : end].strip(), template))
            at = end + 1
            continue
        deep = text.startswith("..", at)
        at += 2 if deep else text[at] == "."
        if deep:
            steps.append(_everything_below)
        match = _FIELD.match(text, at)
        if match:
            name = match[1]
            steps.append(_every if name == "*" else _named(re.sub(r"\\(.)", r"\1", name)))
            at = match.end()
        elif at < len(text) and text[at] != "[":
            raise Invalid(f'cannot read the JSONPath "{template}": unexpected "{text[at:]}"')
    return Path(tuple(steps))


def _bracket_end(text: str, at: int, template: str) -> int:
    depth, quote = 0, ""
    for index in range(at, len(text)):
        sign = text[index]
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign in "[]":
            depth += 1 if sign == "[" else -1
            if depth == 0:
                return index
    raise Invalid(f'cannot read the JSONPath "{template}": a "[" without "]"')


def _subscript(text: str, template: str) -> Step:
    if text == "*":
        return _every
    if text.startswith("?(") and text.endswith(")"):
        return _filter(text[2:-1].strip(), template)
    if re.fullmatch(r"-?\d*:-?\d*(:-?\d+)?", text):
        part = slice(*(int(n) if n else None for n in text.split(":")))
        return lambda value: iter(value[part] if isinstance(value, list) else ())
    return _union(
        [p.strip() for p in text.split(",")] if "'" not in text and '"' not in text else _quoted(text), template
    )


def _quoted(text: str) -> list[str]:
    return re.findall(r"'[^']*'|\"[^\"]*\"|[^\s,]+", text)


def _union(parts: list[str], template: str) -> Step:
    steps: list[Step] = []
    for part in parts:
        if re.fullmatch(r"-?\d+", part):
            steps.append(_indexed(int(part)))
        elif part[:1] in ("'", '"'):
            steps.append(_named(_literal(part, template)))
        else:
            raise Invalid(f'cannot read the JSONPath "{template}": "[{part}]" is no index, name or filter')
    return lambda value: (result for step in steps for result in step(value))


def _filter(text: str, template: str) -> Step:
    match = _FILTER.match(text)
    if not match:
        raise Invalid(f'cannot read the JSONPath "{template}": a filter must begin with "@"')
    path = _path(match["path"].strip(), template)
    compare = _OPERATORS[match["op"]] if match["op"] else None
    wanted = _value(match["value"].strip(), template) if match["op"] else None

    def keeps(item: Any) -> bool:
        found = path.find(item)
        try:
            return bool(found) if compare is None else any(compare(f, wanted) for f in found)
        except TypeError:
            return False  # a text is not smaller than a number

    return lambda value: (item for item in _every(value) if keeps(item))


def _value(text: str, template: str) -> Any:
    if text[:1] in ("'", '"'):
        return _literal(text, template)
    try:
        return json.loads(text)
    except ValueError:
        raise Invalid(f'cannot read the JSONPath "{template}": "{text}" is no value') from None


def _literal(text: str, template: str) -> str:
    if len(text) < 2 or text[-1] != text[0]:
        raise Invalid(f'cannot read the JSONPath "{template}": a quotation without its end')
    if text[0] == "'":
        text = '"' + text[1:-1].replace('"', '\\"') + '"'
    try:
        return str(json.loads(text))
    except ValueError:
        return text[1:-1]


def _named(name: str) -> Step:
    return lambda value: iter((value[name],) if isinstance(value, dict) and name in value else ())


def _indexed(index: int) -> Step:
    return lambda value: iter((value[index],) if isinstance(value, list) and -len(value) <= index < len(value) else ())


def _every(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _everything_below(value: Any) -> Iterator[Any]:
    yield value
    for item in _every(value):
        yield from _everything_below(item)
