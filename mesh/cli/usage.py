"""Rows of `mesh top`: what pods and hosts use, in the units that kubectl shows.

Rule: pure; what is not known reads <unknown>, and never 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mesh.cli.sparks import spark
from mesh.model import quantity
from mesh.model.times import format_rfc3339
from mesh.v1.control_pb2 import HostUsage
from mesh.v1.core_pb2 import Node
from mesh.v1.stats_pb2 import CPUStats, MemoryStats

UNKNOWN = "<unknown>"
_MI = 1 << 20


@dataclass(frozen=True, slots=True)
class Used:
    """CPU in nanocores and memory in bytes, each None when not known."""

    cpu: int | None
    memory: int | None

    def __add__(self, other: "Used") -> "Used":
        return Used(_sum(self.cpu, other.cpu), _sum(self.memory, other.memory))

    @property
    def cpu_words(self) -> str:
        """ "12m"."""
        return UNKNOWN if self.cpu is None else f"{-(-self.cpu // 1_000_000)}m"

    @property
    def memory_words(self) -> str:
        """ "34Mi"."""
        return UNKNOWN if self.memory is None else f"{self.memory // _MI}Mi"

    def quantities(self) -> dict[str, str]:
        """As the metrics API writes it."""
        told = {"cpu": None if self.cpu is None else f"{self.cpu}n",
                "memory": None if self.memory is None else f"{self.memory // 1024}Ki"}  # fmt: skip
        return {name: text for name, text in told.items() if text is not None}


@dataclass(frozen=True, slots=True)
class Row:
    """A container, a pod (no container) or a host (no namespace)."""

    namespace: str
    name: str
    container: str
    used: Used


def pod_rows(hosts: Sequence[HostUsage], *, containers: bool) -> list[Row]:
    """One for each pod, or for each of its containers."""
    found = []
    for pod in (pod for host in hosts for pod in host.summary.pods):
        parts = [Row(pod.pod_ref.namespace, pod.pod_ref.name, c.name, _used(c.cpu, c.memory)) for c in pod.containers]
        if containers:
            found += parts
        else:
            used = Used(None, None)
            for part in parts:
                used += part.used
            found.append(Row(pod.pod_ref.namespace, pod.pod_ref.name, "", used))
    return found


def node_rows(hosts: Sequence[HostUsage]) -> list[Row]:
    """One for each host."""
    return [Row("", h.host, "", _used(h.summary.node.cpu, h.summary.node.memory)) for h in hosts]


def ordered(rows: Sequence[Row], by: str) -> list[Row]:
    """By name, or the biggest users of "cpu" or "memory" first."""
    named = sorted(rows, key=lambda r: (r.namespace, r.name, r.container))
    if not by:
        return named
    return sorted(named, key=lambda r: -((r.used.cpu if by == "cpu" else r.used.memory) or 0))


def lines(hosts: Sequence[HostUsage]) -> dict[tuple[str, str], tuple[str, str]]:
    """How CPU and memory went, by (namespace, pod), and of hosts by ("", host)."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for host in hosts:
        for series in host.history.series:
            key = (series.namespace, series.pod) if series.pod else ("", host.host)
            found.setdefault(key, {})[series.name] = spark(series.values)
    return {key: (of.get("cpu", ""), of.get("memory", "")) for key, of in found.items()}


def shares(row: Row, node: Node | None) -> tuple[str, str]:
    """How much of what the host can give is used, in words."""
    if node is None:
        return UNKNOWN, UNKNOWN
    room = node.status.allocatable
    cpu = quantity.amount("cpu", room["cpu"]) * 1_000_000 if "cpu" in room else 0
    memory = quantity.amount("memory", room["memory"]) if "memory" in room else 0
    return _share(row.used.cpu, cpu), _share(row.used.memory, memory)


def pod_documents(hosts: Sequence[HostUsage], rows: Sequence[Row]) -> dict[str, Any]:
    """A PodMetricsList of metrics.k8s.io, in the order of `rows`, which are pods."""
    stats = {(p.pod_ref.namespace, p.pod_ref.name): p for h in hosts for p in h.summary.pods}
    items = []
    for row in rows:
        pod = stats[row.namespace, row.name]
        parts = [{"name": c.name, "usage": _used(c.cpu, c.memory).quantities()} for c in pod.containers]
        meta = {"name": row.name, "namespace": row.namespace}
        items.append(_item("PodMetrics", meta, pod.cpu, {"containers": parts}))
    return _list("PodMetricsList", items)


def node_documents(hosts: Sequence[HostUsage], rows: Sequence[Row]) -> dict[str, Any]:
    """A NodeMetricsList of metrics.k8s.io, in the order of `rows`."""
    stats = {h.host: h.summary.node for h in hosts}
    items = [_item("NodeMetrics", {"name": r.name}, stats[r.name].cpu, {"usage": r.used.quantities()}) for r in rows]
    return _list("NodeMetricsList", items)


def _item(kind: str, metadata: Mapping[str, str], cpu: CPUStats, more: Mapping[str, Any]) -> dict[str, Any]:
    at = {"timestamp": format_rfc3339(cpu.time)} if cpu.HasField("time") else {}
    return {"apiVersion": "metrics.k8s.io/v1beta1", "kind": kind, "metadata": dict(metadata), **at, **more}


def _list(kind: str, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"apiVersion": "metrics.k8s.io/v1beta1", "kind": kind, "metadata": {}, "items": list(items)}


def _used(cpu: CPUStats, memory: MemoryStats) -> Used:
    return Used(
        cpu.usage_nano_cores if cpu.HasField("usage_nano_cores") else None,
        memory.working_set_bytes if memory.HasField("working_set_bytes") else None,
    )


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


def _share(used: int | None, room: int) -> str:
    return UNKNOWN if used is None or not room else f"{used * 100 // room}%"
