"""YAML and JSON texts to plain values, as kubectl reads them: YAML 1.1 as go-yaml v2 has it.

Rules: yes, no, on, off, y and n are booleans; 0600 is octal; 1:30 and 2026-01-31 stay texts; a key given twice is
refused; what aliases unfold to, nesting and size are bounded, so no text can exhaust the reader.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

TEXT_LIMIT = 32 * 1024 * 1024
ALIAS_LIMIT = 1536 * 1024  # characters and nodes that the aliases of one document may unfold to
DEPTH_LIMIT = 100

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TRUE, _FALSE = ("y", "yes", "true", "on"), ("n", "no", "false", "off")
_BOOLEANS = {
    spelled: value
    for words, value in ((_TRUE, True), (_FALSE, False))
    for word in words
    for spelled in (word, word.capitalize(), word.upper())
}
_NULLS = ("", "~", "null", "Null", "NULL")
_INTEGER = re.compile(r"([+-]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TAG = "tag:yaml.org,2002:"
_DIGITS = 400  # of a number: any longer is a text


class MalformedError(ValueError):
    """The text is no YAML or JSON that is accepted; the message says where and why."""

    def __init__(self, document: int, reason: str) -> None:
        super().__init__(reason)
        self.document = document


@dataclass(frozen=True, slots=True)
class Scalar:
    """A boolean or number, with the text it was written as."""

    value: bool | int | float
    text: str


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not been read; `key` waits for its value."""

    into: dict[str, Any] | list[Any]
    anchor: str | None
    mark: Any
    key: str | None = None
    merged: list[dict[str, Any]] = field(default_factory=list)
    weight: int = 1


def plain(value: Any) -> Any:
    """The value without the texts that its scalars were written as."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value.value if isinstance(value, Scalar) else value


def documents(text: str) -> Iterator[Any]:
    """The documents of a text in order, None for an empty one; raises MalformedError.

    A text that begins with `{` or `[` and is JSON is read as JSON: several documents may follow each other.
    """
    if len(text) > TEXT_LIMIT:
        raise MalformedError(1, f"the text is too large: {len(text)} characters, at most {TEXT_LIMIT}")
    text = text.removeprefix("\ufeff")
    if text.lstrip()[:1] in ("{", "[") and (found := _json_documents(text)) is not None:
        yield from found
    else:
        yield from _Reader().documents(text)


# ---- JSON ---------------------------------------------------------------------------------------------------------


def _json_documents(text: str) -> list[Any] | None:
    decoder = json.JSONDecoder(
        object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_integer, parse_float=_finite
    )
    found: list[Any] = []
    at = 0
    try:
        while at < len(text):
            rest = re.compile(r"\s*").match(text, at)
            at = rest.end() if rest else at
            if at == len(text):
                break
            value, at = decoder.raw_decode(text, at)
            _check_depth(value, len(found) + 1)
            found.append(value)
    except json.JSONDecodeError:
        return None  # perhaps YAML in its flow style; if not, that reader says what is wrong
    except RecursionError:
        raise MalformedError(len(found) + 1, f"is nested too deeply: at most {DEPTH_LIMIT} levels") from None
    except _JSONError as error:
        raise MalformedError(len(found) + 1, str(error)) from None
    return found


class _JSONError(ValueError):
    pass


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise _JSONError(f'the key "{key}" is given twice')
        result[key] = value
    return result


def _constant(text: str) -> Any:
    raise _JSONError(f"{text} is no number of JSON")


def _integer(text: str) -> int:
    if len(text) > _DIGITS:
        raise _JSONError("a number has too many digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _JSONError(f"{text[:20]} is too large a number")
    return value


def _check_depth(value: Any, document: int) -> None:
    level: list[Any] = [value]
    for _ in range(DEPTH_LIMIT + 1):
        level = [c for v in level for c in (v.values() if isinstance(v, dict) else v if isinstance(v, list) else ())]
        if not level:
            return
    raise MalformedError(document, f"is nested too deeply: at most {DEPTH_LIMIT} levels")


# ---- YAML ---------------------------------------------------------------------------------------------------------


class _Reader:
    """Builds values from YAML's events, so that bounds hold before anything is built."""

    def __init__(self) -> None:
        self.number = 0
        self.root: Any = None
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.unfolded = 0

    def documents(self, text: str) -> Iterator[Any]:
        try:
            for event in yaml.parse(text, Loader=_Loader):
                if isinstance(event, yaml.DocumentStartEvent):
                    self.number += 1
                    self.root, self.anchors, self.unfolded = None, {}, 0
                elif isinstance(event, yaml.DocumentEndEvent):
                    yield self.root
                else:
                    self._event(event)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            at = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
            said = "; ".join(filter(None, [error.context, error.problem]))
            raise MalformedError(max(self.number, 1), f"is not YAML: {said}{at}{_advice(text, error)}") from None
        except yaml.YAMLError as error:
            said = str(error).splitlines()[0] if str(error) else "it cannot be read"
            raise MalformedError(max(self.number, 1), f"is not YAML: {said}") from None

    def _event(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event, self)
            self._remember(event.anchor, value, 1 + len(event.value))
            self._add(value, 1 + len(event.value), event)
        elif isinstance(event, yaml.AliasEvent):
            value, weight = self._alias(event)
            self._add(value, weight, event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._open(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            done = self.stack.pop()
            value = _merged(done)
            self._remember(done.anchor, value, done.weight)
            self._add(value, done.weight, event)

    def _open(self, event: Any) -> None:
        if len(self.stack) >= DEPTH_LIMIT:
            raise self.refusal(event, f"is nested too deeply: at most {DEPTH_LIMIT} levels")
        mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", _TAG + ("map" if mapping else "seq")):
            raise self.refusal(event, f'the tag "{event.tag}" is not accepted')
        if self.stack and isinstance(self.stack[-1].into, dict) and self.stack[-1].key is None:
            raise self.refusal(event, "a key must be a text, not a mapping or list")
        self.stack.append(_Open({} if mapping else [], event.anchor, event.start_mark))

    def _alias(self, event: Any) -> tuple[Any, int]:
        if event.anchor not in self.anchors:
            raise self.refusal(event, f'the alias "*{event.anchor}" names no anchor before it')
        value, weight = self.anchors[event.anchor]
        self.unfolded += weight
        if self.unfolded > ALIAS_LIMIT:
            raise self.refusal(event, "its aliases unfold to more than 1.5 MiB")
        return value, weight

    def _remember(self, anchor: str | None, value: Any, weight: int) -> None:
        if anchor:
            self.anchors[anchor] = (value, weight)

    def _add(self, value: Any, weight: int, event: Any) -> None:
        if not self.stack:
            self.root = value
            return
        top = self.stack[-1]
        top.weight += weight
        if isinstance(top.into, list):
            top.into.append(value)
        elif top.key is None:
            top.key = self._key(value, event)
            if top.key in top.into and not _is_merge(event):
                raise self.refusal(event, f'the key "{top.key}" is given twice')
        else:
            key, top.key = top.key, None
            if key is _MERGE:
                top.merged.extend(self._to_merge(value, event))
            else:
                top.into[key] = value

    def _key(self, value: Any, event: Any) -> str:
        if _is_merge(event):
            return _MERGE
        if isinstance(value, str):
            return value
        if isinstance(value, Scalar):
            return str(value.value).lower() if isinstance(value.value, bool) else str(value.value)
        raise self.refusal(event, "a key must be a text, not null, a mapping or a list")

    def _to_merge(self, value: Any, event: Any) -> list[dict[str, Any]]:
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(v, dict) for v in values):
            raise self.refusal(event, '"<<" merges mappings only')
        return values

    def refusal(self, event: Any, reason: str) -> MalformedError:
        """The error for what is wrong at an event."""
        return MalformedError(self.number, f"{reason} (line {event.start_mark.line + 1})")


_MERGE = "".join(("<", "<"))  # an object of its own: a quoted "<<" is an ordinary key


def _is_merge(event: Any) -> bool:
    return isinstance(event, yaml.ScalarEvent) and event.value == "<<" and bool(event.implicit[0])


def _merged(done: _Open) -> Any:
    if not isinstance(done.into, dict) or not done.merged:
        return done.into
    result = dict(done.into)
    for mapping in done.merged:  # an earlier one wins over a later one, the mapping itself over all
        for key, value in mapping.items():
            result.setdefault(key, value)
    return result


def _scalar(event: Any, reader: _Reader) -> Any:
    text, tag = event.value, event.tag
    if tag is None or tag == "!":
        return text if tag == "!" or not event.implicit[0] else resolve(text)
    name = tag.removeprefix(_TAG)
    if name == "str":
        return text
    if name == "binary":
        try:
            return base64.b64decode("".join(text.split()), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise reader.refusal(event, "!!binary is not base64 of a text") from None
    value = resolve(text)
    if name == "float" and isinstance(value, Scalar) and not isinstance(value.value, bool):
        return Scalar(float(value.value), text)
    wanted = {"int": int, "float": float, "bool": bool, "null": type(None)}.get(name)
    if wanted is None:
        raise reader.refusal(event, f'the tag "{tag}" is not accepted')
    if type(value.value if isinstance(value, Scalar) else value) is not wanted:
        raise reader.refusal(event, f'"{text}" is not of the type that its tag !!{name} says')
    return value


def resolve(text: str) -> str | Scalar | None:
    """What a plain (unquoted) scalar means: None, a text, or a boolean or number."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return Scalar(_BOOLEANS[text], text)
    if text[0] not in "+-.0123456789" or len(text) > _DIGITS or _NOT_FINITE.fullmatch(text):
        return text
    digits = text if text[0] == "." else text.replace("_", "")
    if match := _INTEGER.fullmatch(digits):
        sign, *bases = match.groups()
        value = next(int(d, base) for d, base in zip(bases, (16, 2, 8, 10), strict=True) if d is not None)
        if value < 2**64:
            return Scalar(-value if sign == "-" else value, text)
    if _FLOAT.fullmatch(digits) and abs(value_of := float(digits)) != float("inf"):
        return Scalar(value_of, text)
    return text


def _advice(text: str, error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark
    line = next(iter(text.split("\n")[mark.line : mark.line + 1]), "") if mark else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "; indent with spaces, not tabs"
    if "mapping values are not allowed" in str(error.problem):
        return "; check the indentation, and quote a value that contains a colon"
    if "{{" in text:
        return "; is this a template that was not rendered?"
    return ""
