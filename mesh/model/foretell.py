"""What would become of an object as it is written, field by field: what `mesh check` says before anything is applied.

Rule: pure, and of the tables that admission asks (support.py, podchecks.py); the rules of the proto files were asked
when the manifest was read. What needs other objects of the mesh to be known is not known here.
"""

from collections.abc import Iterator

from google.protobuf.message import Message

from mesh.model import podchecks, poddefaults, support
from mesh.model.fields import Many, copy_of, fields_of
from mesh.model.kinds import Object, kind_of
from mesh.model.rules import join
from mesh.model.support import Finding
from mesh.model.workloads import claimed_volumes
from mesh.v1.apps_pb2 import StatefulSet
from mesh.v1.core_pb2 import PodSpec

REFUSED = "refused"


def foretell(obj: Object) -> list[Finding]:
    """The kind first, then the fields of every pod in it that are set, then what else is wrong with them."""
    kind = kind_of(obj)
    served = Finding("kind", "honoured") if kind.served else Finding("kind", REFUSED, f"{kind.name}: {kind.why_not}")
    found = [served]
    completed = copy_of(obj)
    claimed = claimed_volumes(obj) if isinstance(obj, StatefulSet) else ()
    for path, spec in _pod_specs(obj, ""):
        found += support.findings(spec, path)
    for path, spec in _pod_specs(completed, ""):
        poddefaults.fill(spec)
        found += [Finding(v.field, REFUSED, v.reason) for v in podchecks.check(spec, path, claimed)]
    return _once(found)


def _pod_specs(message: Message, path: str) -> Iterator[tuple[str, PodSpec]]:
    """The pods that an object is or makes: `spec`, `spec.template.spec`, `spec.jobTemplate.spec.template.spec`."""
    if isinstance(message, PodSpec):
        yield path, message
        return
    for field in fields_of(message.DESCRIPTOR).values():
        if field.type is not None and field.many is Many.ONE and message.HasField(field.name):
            yield from _pod_specs(getattr(message, field.name), join(path, field.json))


def _once(found: list[Finding]) -> list[Finding]:
    """One finding for each field: the first that refuses it, if any does."""
    first: dict[str, Finding] = {}
    for finding in found:
        known = first.setdefault(finding.field, finding)
        if finding.state == REFUSED and known.state != REFUSED:
            first[finding.field] = finding
    return list(first.values())
