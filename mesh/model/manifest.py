"""Manifests: YAML and JSON texts to objects and back. Reading files is the CLI's; this module takes texts.

Rule: strict and complete. One Invalid lists everything that is wrong with a text, each with source, document number,
field path and reason; nothing of a text with a violation is returned.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mesh.errors import Invalid, Violation
from mesh.model import kinds, oldversions, otherkinds, reading, rules
from mesh.model.kinds import Kind, Object
from mesh.model.writing import to_dict, to_json, to_yaml
from mesh.model.yamltext import MalformedError, documents, plain

__all__ = ["OBJECT_LIMIT", "Item", "Loaded", "from_dict", "load", "to_dict", "to_json", "to_yaml"]

OBJECT_LIMIT = 1536 * 1024  # bytes of one object, as etcd bounds a request
_REPORTED = 30  # violations that the message of one Invalid lists; `violations` has them all
_READ_ONLY = ("selfLink", "managedFields")


@dataclass(frozen=True, slots=True)
class Item:
    """An object, and the number of the document it was in, counted from 1."""

    object: Object
    document: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a text holds, in order; warnings are sentences that name source and document."""

    items: tuple[Item, ...]
    warnings: tuple[str, ...]

    @property
    def objects(self) -> tuple[Object, ...]:
        """The objects alone, in order."""
        return tuple(item.object for item in self.items)


@dataclass(slots=True)
class _Findings:
    """What reading one text found so far."""

    source: str
    items: list[Item] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def wrong(self, document: int, found: list[Violation]) -> None:
        self.violations += found
        self.lines += [f"{self._place(document)}: {violation}" for violation in found]

    def warn(self, document: int, warnings: list[str]) -> None:
        self.warnings += [f"{self._place(document)}: {warning}" for warning in warnings]

    def _place(self, document: int) -> str:
        return f"{self.source}, document {document}" if document else self.source

    def error(self) -> Invalid:
        more = len(self.lines) - _REPORTED
        tail = [f"{self.source}: and {more} more"] if more > 0 else []
        return Invalid("\n".join(self.lines[:_REPORTED] + tail), self.violations)


def load(text: str, source: str, *, default_namespace: str = "") -> Loaded:
    """The objects of a manifest: documents, `kind: List` and typed lists such as PodList unfolded.

    Objects of namespaced kinds without a namespace get `default_namespace`. Raises Invalid, naming every violation.
    """
    found = _Findings(source)
    try:
        for number, document in enumerate(documents(text), start=1):
            if document is not None:
                _document(document, number, default_namespace, found)
    except MalformedError as error:
        found.wrong(error.document, [Violation("", str(error))])
    if found.violations:
        raise found.error()
    return Loaded(tuple(found.items), tuple(found.warnings))


def from_dict(value: Mapping[str, Any], source: str, *, default_namespace: str = "") -> Object:
    """The one object that a mapping describes; raises Invalid, naming every violation."""
    found = _Findings(source)
    _object(value, 0, "", default_namespace, found)
    if found.violations:
        raise found.error()
    return found.items[0].object


def _document(value: Any, number: int, namespace: str, found: _Findings) -> None:
    for path, element in _unfolded(value, number, found):
        _object(element, number, path, namespace, found)


def _unfolded(value: Any, number: int, found: _Findings) -> Iterator[tuple[str, Any]]:
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or not kind.endswith("List") or "items" not in value:
        yield "", value
        return
    element_kind = kind.removesuffix("List")
    unknown = [n for n in value if n not in ("apiVersion", "kind", "metadata", "items")]
    if unknown:
        found.wrong(number, [Violation(n, "unknown field") for n in unknown])
    if value["items"] is not None and not isinstance(value["items"], list):
        found.wrong(number, [Violation("items", "must be a list")])
        return
    for index, item in enumerate(value["items"] or ()):
        if element_kind and isinstance(item, dict):  # the elements of a typed list may leave out what they are
            item = {"apiVersion": value.get("apiVersion"), "kind": element_kind, **item}  # noqa: PLW2901
        yield f"items[{index}]", item


def _object(value: Any, number: int, path: str, namespace: str, found: _Findings) -> None:
    kind, wrong = _kind(value, path)
    if kind is None:
        found.wrong(number, wrong)
        return
    value, warnings = _without_read_only(value)
    value, converted = oldversions.convert(kind, value)
    obj = kind.message()
    wrong = reading.read(value, obj, path)
    if kind.name == "Secret":
        wrong = [_without_value(v) for v in wrong]
    obj.api_version, obj.kind = kind.api_version, kind.name
    if kind.namespaced and namespace and not obj.metadata.namespace:
        obj.metadata.namespace = namespace
    reported = {v.field for v in wrong}
    broken = (Violation(rules.join(path, v.field), v.reason) for v in rules.check_object(obj))
    wrong += [v for v in broken if v.field not in reported]
    if not wrong and (size := obj.ByteSize()) > OBJECT_LIMIT:
        wrong = [Violation(path, f"{kind.name} is too large: {size} bytes, at most {OBJECT_LIMIT} (1.5 MiB)")]
    name = f'{kind.name} "{obj.metadata.name or obj.metadata.generate_name}"'
    found.warn(number, [f"{name}: {warning}" for warning in warnings + converted])
    found.wrong(number, wrong)
    found.items.append(Item(obj, number))


def _kind(value: Any, path: str) -> tuple[Kind | None, list[Violation]]:
    """The kind that a mapping says it is, or what is wrong with what it says."""
    if not isinstance(value, dict | Mapping):
        return None, [Violation(path, "must be a mapping with apiVersion, kind and metadata")]
    missing = [n for n in ("apiVersion", "kind") if value.get(n) in (None, "")]
    if missing:
        return None, [Violation(rules.join(path, n), "is required") for n in missing]
    name, version = plain(value["kind"]), plain(value["apiVersion"])
    known = {k.name: k for k in kinds.KINDS}
    if not isinstance(name, str) or name not in known:
        return None, [Violation(rules.join(path, "kind"), otherkinds.missing(str(name), known))]
    kind = known[name]
    if version != kind.api_version and version not in kind.old_versions:
        reason = f'a {name} has the apiVersion "{kind.api_version}", is "{version}"'
        return None, [Violation(rules.join(path, "apiVersion"), reason)]
    return kind, []


def _without_value(violation: Violation) -> Violation:
    """Values of Secrets are not repeated, not even where they are wrong."""
    if "ata." not in violation.field and "ata[" not in violation.field:
        return violation
    wanted, told, _ = violation.reason.partition(", is ")
    return Violation(violation.field, f"{wanted}: write it in quotes" if told else wanted)


def _without_read_only(value: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    metadata = value.get("metadata")
    dropped = [n for n in _READ_ONLY if isinstance(metadata, Mapping) and n in metadata]
    if not dropped or not isinstance(metadata, Mapping):
        return value, []
    kept = {n: v for n, v in metadata.items() if n not in dropped}
    return {**value, "metadata": kept}, [f"metadata.{n} is not kept and was left out" for n in dropped]
