"""What hosts say of pods, as values: what containers use, and the metrics that pods tell.

Rule: pure. Amounts are integers of 10⁻⁹; a counter becomes what it grows by in a second, between two looks at it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mesh.exposition.reading import Sample
from mesh.model.selectors import matches
from mesh.v1.meta_pb2 import LabelSelector
from mesh.v1.stats_pb2 import Summary

NANO = 10**9
Place = tuple[str, str]  # a pod's namespace and name
Series = tuple[str, str, frozenset[tuple[str, str]]]  # namespace, metric, labels
Usage = Mapping[str, Mapping[str, int]]  # by container, by resource


@dataclass(frozen=True, slots=True)
class Readings:
    """What was measured; `usage` is by the pod's uid, `metrics` what pods told, `silent` why hosts did not answer."""

    usage: Mapping[str, Usage] = field(default_factory=dict)
    metrics: Mapping[Place, Mapping[Series, int]] = field(default_factory=dict)
    silent: tuple[str, ...] = ()

    def metric(self, place: Place, name: str, selector: LabelSelector) -> int | None:
        """A pod's metric, the sum of its series that the selector takes; None when it tells none."""
        chosen = [
            value
            for (_, told, labels), value in self.metrics.get(place, {}).items()
            if told == name and matches(selector, dict(labels))
        ]
        return sum(chosen) if chosen else None


@dataclass(frozen=True, slots=True)
class Seen:
    """Counters as they were at a time, in nanoseconds."""

    at: int = 0
    counters: Mapping[Series, float] = field(default_factory=dict)


def usage_of(summary: Summary) -> dict[str, Usage]:
    """What the containers of a host's pods use; a container without a figure is left out."""
    found: dict[str, Usage] = {}
    for pod in summary.pods:
        containers: dict[str, dict[str, int]] = {}
        for container in pod.containers:
            used = {}
            if container.cpu.HasField("usage_nano_cores"):
                used["cpu"] = container.cpu.usage_nano_cores
            if container.memory.HasField("working_set_bytes"):
                used["memory"] = container.memory.working_set_bytes * NANO
            containers[container.name] = used
        found[pod.pod_ref.uid] = containers
    return found


def metrics_of(samples: Iterable[Sample], before: Seen, now: int) -> tuple[dict[Place, dict[Series, int]], Seen]:
    """What pods tell, by pod, and the counters to measure the next growth by."""
    found: dict[Place, dict[Series, int]] = {}
    counters: dict[Series, float] = {}
    seconds = (now - before.at) / NANO
    for sample in samples:
        series = sample.labels.get("namespace", ""), sample.name, frozenset(sample.labels.items())
        value = sample.value
        if sample.counter:
            counters[series] = value
            if series not in before.counters or seconds <= 0:
                continue
            grown = value - before.counters[series]
            value = (grown if grown >= 0 else value) / seconds  # its program has started again
        place = series[0], sample.labels.get("pod", "")
        found.setdefault(place, {})[series] = round(value * NANO)
    return found, Seen(now, counters)
