"""Writing a pod's own conditions: those that its readiness gates name (P22), and nothing else of a status.

Rule: pure; conditions are merged by type, and the time of one moves only with its status (S2).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from mesh.admission.draft import subject_of
from mesh.errors import Invalid, Violation
from mesh.model import gates
from mesh.model.conditions import find, set_condition
from mesh.model.fields import copy_of
from mesh.model.kinds import Object
from mesh.v1.core_pb2 import Pod

_FIELDS = ("type", "status", "reason", "message")
_WHERE = "status.conditions"
_LONGEST = 32768  # bytes of a message


def patch(changes: Mapping[str, Any], old: Object, subresource: str, now: int) -> Object:
    """The pod with these conditions, and with Ready as it follows; `old` itself when they hold already.

    `now` is nanoseconds since the epoch. Raises Invalid.
    """
    if subresource != "status" or not isinstance(old, Pod):
        why = "only the status of a Pod can be patched by itself"
        raise Invalid.of(subject_of(old), [Violation("subresource", why)])
    said = _conditions(changes, subject_of(old))
    if wrong := [v for index, one in enumerate(said) for v in _wrong(one, f"{_WHERE}[{index}]", old)]:
        raise Invalid.of(subject_of(old), wrong)
    pod = copy_of(old)
    for one in said:
        set_condition(
            pod.status.conditions, one["type"], one["status"], now=now,
            reason=one.get("reason") or "", message=one.get("message") or "",
        )  # fmt: skip
    gates.judge(pod, find(old.status.conditions, "Ready"), now)
    return old if pod == old else pod


def _conditions(changes: Mapping[str, Any], subject: str) -> list[Any]:
    """What is asked for: status.conditions and no other field."""
    status = changes.get("status")
    found = status.get("conditions") if isinstance(status, dict) else None
    if set(changes) != {"status"} or not isinstance(status, dict) or set(status) != {"conditions"}:
        raise Invalid.of(subject, [Violation("status", "a patch of the status says status.conditions, nothing else")])
    if not isinstance(found, list) or not found:
        raise Invalid.of(subject, [Violation(_WHERE, "must be a list of conditions")])
    return found


def _wrong(one: Any, path: str, pod: Pod) -> Iterator[Violation]:
    if not isinstance(one, dict):
        yield Violation(path, "must be a mapping of fields")
        return
    for name in sorted(set(one) - set(_FIELDS)):
        yield Violation(f"{path}.{name}", f"may not be written: {', '.join(_FIELDS)} may")
    for name in ("reason", "message"):
        text = one.get(name) or ""
        if not isinstance(text, str) or len(text.encode()) > _LONGEST:
            yield Violation(f"{path}.{name}", f"must be a text of at most {_LONGEST} bytes")
    if one.get("status") not in ("True", "False", "Unknown"):
        yield Violation(f"{path}.status", 'must be "True", "False" or "Unknown", as text')
    allowed = gates.types_of(pod)
    if not isinstance(one.get("type"), str) or one["type"] not in allowed:
        named = ", ".join(sorted(allowed)) or "it has none"
        yield Violation(f"{path}.type", f"must be one of the pod's readinessGates: {named}")
