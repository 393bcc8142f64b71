"""What `mesh get` and `mesh describe` tell of HorizontalPodAutoscalers: each metric as now / wanted.

Rule: pure; kubectl's words where kubectl has them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from mesh.cli.columns import AGE, NAME, Column
from mesh.cli.poddetails import moment
from mesh.cli.sheets import Sheet

_UNKNOWN = "<unknown>"
_SOURCES = {
    "Object": "object", "Pods": "pods", "Resource": "resource", "ContainerResource": "container_resource",
    "External": "external",
}  # fmt: skip


def metrics(obj: Any) -> Iterator[tuple[str, str, str]]:
    """Of each metric: its words in a sheet, its name in a column, and now / wanted."""
    for wanted in obj.spec.metrics:
        source = getattr(wanted, _SOURCES[wanted.type])
        found = next((c for c in obj.status.current_metrics if _same(c, wanted)), None)
        current = getattr(found, _SOURCES[wanted.type]).current if found is not None else None
        words, name = _words(wanted, source)
        yield words, name, f"{_current(current, source.target)}/{_target(source.target)}"


def _same(current: Any, wanted: Any) -> bool:
    if current.type != wanted.type:
        return False
    mine, theirs = getattr(current, _SOURCES[wanted.type]), getattr(wanted, _SOURCES[wanted.type])
    if wanted.type in ("Resource", "ContainerResource"):
        return bool(mine.name == theirs.name and getattr(mine, "container", "") == getattr(theirs, "container", ""))
    return bool(mine.metric == theirs.metric and getattr(mine, "described_object", None) == getattr(
        theirs, "described_object", None))  # fmt: skip


def _words(wanted: Any, source: Any) -> tuple[str, str]:
    if wanted.type in ("Resource", "ContainerResource"):
        where = f"container {source.container} of pods" if wanted.type == "ContainerResource" else "pods"
        share = "  (as a percentage of request)" if source.target.type == "Utilization" else ""
        return f"resource {source.name} on {where}{share}", source.name
    name = source.metric.name
    if wanted.type == "Object":
        return f'"{name}" on {source.described_object.kind}/{source.described_object.name}', name
    return f'"{name}"' + (" on pods" if wanted.type == "Pods" else " (of the namespace)"), name


def _target(target: Any) -> str:
    if target.type == "Utilization":
        return f"{target.average_utilization}%"
    return f"{target.average_value} (avg)" if target.type == "AverageValue" else str(target.value)


def _current(current: Any, target: Any) -> str:
    if current is None:
        return _UNKNOWN
    if target.type == "Utilization":
        return f"{current.average_utilization}%"
    return str(current.average_value if target.type == "AverageValue" else current.value) or _UNKNOWN


def describe_autoscaler(sheet: Sheet, obj: Any) -> None:
    """Adds all of an autoscaler but its identity and events."""
    spec, status = obj.spec, obj.status
    sheet.add("CreationTimestamp", moment(obj.metadata.creation_timestamp))
    sheet.add("Reference", f"{spec.scale_target_ref.kind}/{spec.scale_target_ref.name}")
    told = Sheet()
    for words, _, values in metrics(obj):
        told.add(words, values.replace("/", " / ", 1))
    sheet.below("Metrics (current / target)", told)
    sheet.add("Min replicas", str(spec.min_replicas)).add("Max replicas", str(spec.max_replicas))
    if spec.HasField("behavior"):
        behavior = Sheet()
        for title, name in (("Scale Up", "scale_up"), ("Scale Down", "scale_down")):
            if spec.behavior.HasField(name):
                behavior.below(title, _rules(getattr(spec.behavior, name)))
        sheet.below("Behavior", behavior)
    pods = f"{status.current_replicas} current / {status.desired_replicas} desired"
    sheet.add(f"{spec.scale_target_ref.kind} pods", pods)
    if status.HasField("last_scale_time"):
        sheet.add("Last Scale Time", moment(status.last_scale_time))
    rows = [(c.type, c.status, c.reason, c.message) for c in status.conditions]
    if rows:
        sheet.columns("Conditions", ("Type", "Status", "Reason", "Message"), rows)


def _rules(rules: Any) -> Sheet:
    sheet = Sheet()
    if rules.HasField("stabilization_window_seconds"):
        sheet.add("Stabilization Window", f"{rules.stabilization_window_seconds} seconds")
    sheet.add("Select Policy", rules.select_policy or "Max")
    if rules.HasField("tolerance"):
        sheet.add("Tolerance", rules.tolerance)
    if rules.policies:
        lines = [f"{p.type}  Value: {p.value}  Period: {p.period_seconds} seconds" for p in rules.policies]
        sheet.many("Policies", lines)
    return sheet


def _targets(obj: Any, _now: float) -> str:
    found = [f"{name}: {values}" for _, name, values in metrics(obj)]
    more = f" + {len(found) - 2} more..." if len(found) > 2 else ""
    return ", ".join(found[:2]) + more or "<none>"


COLUMNS: Sequence[Column] = (
    NAME,
    Column("REFERENCE", lambda o, _: f"{o.spec.scale_target_ref.kind}/{o.spec.scale_target_ref.name}"),
    Column("TARGETS", _targets),
    Column("MINPODS", lambda o, _: str(o.spec.min_replicas)),
    Column("MAXPODS", lambda o, _: str(o.spec.max_replicas)),
    Column("REPLICAS", lambda o, _: str(o.status.current_replicas)),
    AGE,
)
