"""Label and field selectors: as messages, as texts ("a=b,c!=d,e in (x,y),!f"), and whether they match (A5).

Rule: an empty selector matches everything, an absent one (None) nothing.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from mesh.errors import Invalid, Violation
from mesh.model import formats
from mesh.model.fields import Many, Shape, fields_of
from mesh.model.kinds import Kind, Object
from mesh.v1.core_pb2 import NodeSelectorRequirement
from mesh.v1.meta_pb2 import LabelSelector, LabelSelectorRequirement

_SET = re.compile(r"\s*(\S+)\s+(in|notin)\s*\(([^()]*)\)\s*")
_EQUAL = re.compile(r"\s*([^\s!=]+)\s*(==|=|!=)\s*([^\s!=(),]*)\s*")
_EXISTS = re.compile(r"\s*(!?)\s*([^\s!=(),]+)\s*")


_LONGEST = 8192  # characters: reading one takes the square of its length


def matches(selector: LabelSelector | None, labels: Mapping[str, str]) -> bool:
    """Whether the labels satisfy every requirement of the selector."""
    if selector is None:
        return False
    equal = all(labels.get(key) == value for key, value in selector.match_labels.items())
    return equal and all(requirement_met(r, labels) for r in selector.match_expressions)


def requirement_met(requirement: LabelSelectorRequirement | NodeSelectorRequirement, labels: Mapping[str, str]) -> bool:
    """Whether the labels satisfy one requirement; Gt and Lt (of nodes) compare whole numbers."""
    key, values = requirement.key, requirement.values
    if requirement.operator == "In":
        return key in labels and labels[key] in values
    if requirement.operator == "NotIn":  # an absent label is not in any set
        return key not in labels or labels[key] not in values
    if requirement.operator == "Exists":
        return key in labels
    if requirement.operator == "DoesNotExist":
        return key not in labels
    try:
        have, wanted = int(labels.get(key, "")), int(values[0])
    except (IndexError, ValueError):
        return False
    return have > wanted if requirement.operator == "Gt" else have < wanted


def check(selector: LabelSelector, path: str) -> list[Violation]:
    """What is wrong with a selector beyond the rules of its fields (A5)."""
    wrong = []
    for index, requirement in enumerate(selector.match_expressions):
        where = f"{path}.matchExpressions[{index}].values"
        if requirement.operator in ("In", "NotIn") and not requirement.values:
            wrong.append(Violation(where, f'must have a value with operator "{requirement.operator}"'))
        if requirement.operator in ("Exists", "DoesNotExist") and requirement.values:
            wrong.append(Violation(where, f'must be absent with operator "{requirement.operator}"'))
        for number, value in enumerate(requirement.values):
            if reason := formats.label_value(value):
                wrong.append(Violation(f"{where}[{number}]", reason))
    return wrong


def parse_labels(text: str) -> LabelSelector:
    """The selector of a text as in `mesh get -l`; "" selects everything. Raises Invalid."""
    selector = LabelSelector()
    for part in _split(text):
        selector.match_expressions.append(_requirement(part, text))
    return selector


def format_labels(selector: LabelSelector) -> str:
    """The text of a selector, "<none>" of an empty one, as in tables."""
    parts = [f"{k}={v}" for k, v in sorted(selector.match_labels.items())]
    for r in selector.match_expressions:
        values = ",".join(r.values)
        parts.append(
            {"In": f"{r.key} in ({values})", "NotIn": f"{r.key} notin ({values})", "Exists": r.key}.get(
                r.operator, f"!{r.key}"
            )
        )
    return ",".join(parts) or "<none>"


def _requirement(part: str, text: str) -> LabelSelectorRequirement:
    requirement = LabelSelectorRequirement()
    if match := _SET.fullmatch(part):
        requirement.key, requirement.operator = match[1], "In" if match[2] == "in" else "NotIn"
        requirement.values.extend(sorted(v.strip() for v in match[3].split(",")))
    elif match := _EQUAL.fullmatch(part):
        requirement.key, requirement.operator = match[1], "NotIn" if match[2] == "!=" else "In"
        requirement.values.append(match[3])
    elif match := _EXISTS.fullmatch(part):
        requirement.key, requirement.operator = match[2], "DoesNotExist" if match[1] else "Exists"
    else:
        known = "a=b, a!=b, a in (b,c), a or !a"
        raise Invalid(f'cannot read the label selector "{text}": "{part.strip()}" is none of {known}')
    reason = formats.label_key(requirement.key) or next(filter(None, map(formats.label_value, requirement.values)), "")
    if reason:
        raise Invalid(f'cannot read the label selector "{text}": {reason}')
    return requirement


def _split(text: str) -> Iterable[str]:
    """The parts between commas that are not in parentheses."""
    if len(text) > _LONGEST:
        raise Invalid(f"cannot read a selector of {len(text)} characters: at most {_LONGEST}")
    if not text.strip():
        return []
    return re.split(r",(?![^()]*\))", text)


# ---- fields -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """One comparison of a field, by its path, with a text."""

    path: str
    value: str
    equal: bool = True


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """Comparisons that must all hold; none of them holds for everything."""

    requirements: tuple[FieldRequirement, ...] = ()

    def matches(self, obj: Object) -> bool:
        """Whether the object satisfies every comparison; an absent field is the empty text."""
        return all((field_text(obj, r.path) == r.value) is r.equal for r in self.requirements)


def parse_fields(text: str, kind: Kind | None = None) -> FieldSelector:
    """The selector of a text such as "status.phase!=Running,spec.nodeName=a"; raises Invalid.

    With `kind`, a path that objects of that kind don't have is refused.
    """
    found = []
    for part in _split(text):
        match = _EQUAL.fullmatch(part)
        if match is None:
            raise Invalid(f'cannot read the field selector "{text}": "{part.strip()}" is not as in a=b or a!=b')
        if kind is not None and not _exists(kind, match[1]):
            raise Invalid(f'cannot read the field selector "{text}": a {kind.name} has no field "{match[1]}"')
        found.append(FieldRequirement(match[1], match[3], match[2] != "!="))
    return FieldSelector(tuple(found))


def field_text(message: Message, path: str) -> str:
    """The field at a path of JSON names as a text, "" when it is absent."""
    value: Any = message
    for name in path.split("."):
        field = fields_of(value.DESCRIPTOR).get(name) if isinstance(value, Message) else None
        if field is None or field.many is not Many.ONE:
            return ""
        value = getattr(value, field.name)
    return str(value).lower() if isinstance(value, bool) else "" if isinstance(value, Message) else str(value)


def _exists(kind: Kind, path: str) -> bool:
    descriptor = kind.message.DESCRIPTOR
    *parents, last = path.split(".")
    for name in parents:
        field = fields_of(descriptor).get(name)
        if field is None or field.many is not Many.ONE or field.type is None:
            return False
        descriptor = field.type
    field = fields_of(descriptor).get(last)
    return field is not None and field.many is Many.ONE and field.shape in (Shape.TEXT, Shape.WHOLE, Shape.BOOLEAN)
