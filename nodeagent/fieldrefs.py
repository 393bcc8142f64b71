"""What fieldRef and resourceFieldRef stand for: a pod's own fields, and what its containers may use (E5).

Rule: pure. Environment and volumes ask here; each says in its own words what can't be told.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mesh.model import quantity
from mesh.model.digest import LAST_APPLIED
from mesh.model.fieldpaths import KEYED
from mesh.model.pods import container_named, own_limits
from mesh.v1.core_pb2 import Pod, ResourceFieldSelector

_NAMES = {"\\": "\\\\", '"': '\\"', "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t",
          "\v": "\\v"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Allocatable:
    """What of the host its pods may use: thousandths of a CPU, bytes of memory and of disk."""

    cpu: int = 0
    memory: int = 0
    storage: int = 0


@dataclass(frozen=True, slots=True)
class Around:
    """What surrounds a pod: its addresses, and what its host can give it."""

    host_ip: str = ""
    pod_ip: str = ""
    allocatable: Allocatable = field(default_factory=Allocatable)


def pod_field(pod: Pod, path: str, around: Around) -> str | None:
    """The text of a field, "" for a label or annotation that is not there, None for what can't be referred to."""
    meta = pod.metadata
    keyed = KEYED.fullmatch(path)
    if keyed:
        return (meta.labels if keyed[1] == "labels" else meta.annotations).get(keyed[2], "")
    fields = {
        "metadata.name": meta.name,
        "metadata.namespace": meta.namespace,
        "metadata.uid": meta.uid,
        "metadata.labels": lines(meta.labels),
        "metadata.annotations": lines({k: v for k, v in meta.annotations.items() if k != LAST_APPLIED}),
        "spec.nodeName": pod.spec.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name or "default",
        "status.hostIP": around.host_ip,
        "status.hostIPs": around.host_ip,
        "status.podIP": around.pod_ip,
        "status.podIPs": around.pod_ip,
    }
    return fields.get(path)


def lines(table: Mapping[str, str]) -> str:
    """All labels or annotations as a file shows them: key="value", one a line, sorted, escaped as Go does."""
    return "\n".join(f'{key}="{_escaped(table[key])}"' for key in sorted(table))


def _escaped(text: str) -> str:
    return "".join(_NAMES.get(char) or (char if char.isprintable() else _code(ord(char))) for char in text)


def _code(point: int) -> str:
    if point < 0x80:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def resource(pod: Pod, selector: ResourceFieldSelector, container_name: str, allocatable: Allocatable) -> str | None:
    """An amount in units of the divisor, rounded up; a limit that is not set is the whole pod's, else what the host
    could give.

    None for a container or a resource that is not there.
    """
    container = container_named(pod.spec, selector.container_name or container_name)
    group, _, name = selector.resource.partition(".")
    unset = {"cpu": allocatable.cpu, "memory": allocatable.memory, "ephemeral-storage": allocatable.storage}
    unset.update(own_limits(pod.spec))
    if container is None or group not in ("limits", "requests") or name not in unset:
        return None
    of: Any = container.resources.limits if group == "limits" else container.resources.requests
    text = of.get(name) or ("" if group == "limits" else container.resources.limits.get(name, ""))
    amount = quantity.amount(name, text) if text else unset[name] if group == "limits" else 0
    divisor = quantity.amount(name, selector.divisor or "1") or quantity.amount(name, "1")
    return str(-(-amount // divisor))
