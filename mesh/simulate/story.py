"""What happens, in words: a line for each change that somebody would want to know of.

Rule: pure; lines of one moment that say the same of pods of one owner are one line.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mesh.model.conditions import find
from mesh.model.kinds import Object, kind_of
from mesh.model.pods import is_deleting, is_ready, is_terminal
from mesh.model.times import SECOND
from mesh.model.workloads import controller_of
from mesh.store.port import Event
from mesh.v1.apps_pb2 import Deployment
from mesh.v1.core_pb2 import Node, Pod

NAMES = 3  # that a line names before it only counts


@dataclass(frozen=True, slots=True)
class Line:
    """At so many seconds after the beginning, `what` happens to `who`; `many` of them at once."""

    at: float
    who: str
    what: str
    many: int = 1


class Story:
    """Takes commits, keeps lines."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._found: dict[tuple[float, str, str], list[str]] = {}

    def look(self, events: Sequence[Event], now: int) -> None:
        """One commit."""
        for event in events:
            for what in _changes(event):
                obj = event.object if event.object is not None else event.previous
                if obj is not None:
                    at = round((now - self._start) / SECOND, 1)
                    self._found.setdefault((at, _group(obj), what), []).append(_name(obj))

    def say(self, now: int, who: str, what: str) -> None:
        """A line of its own."""
        self._found.setdefault((round((now - self._start) / SECOND, 1), who, what), []).append(who)

    def lines(self) -> list[Line]:
        """Everything so far, in order."""
        return [
            Line(at, ", ".join(names) if len(names) <= NAMES else f"{len(names)} pods of {group}", what, len(names))
            for (at, group, what), names in self._found.items()
        ]


def _group(obj: Object) -> str:
    owner = controller_of(obj.metadata)
    return f"{owner.kind.lower()}/{owner.name}" if owner is not None else _name(obj)


def _name(obj: Object) -> str:
    return f"{kind_of(obj).name.lower()}/{obj.metadata.name}"


def _changes(event: Event) -> Iterator[str]:
    now, before = event.object, event.previous
    if isinstance(now, Node) or isinstance(before, Node):
        yield from _of_node(now, before)
    elif isinstance(now, Pod) or isinstance(before, Pod):
        yield from _of_pod(now if isinstance(now, Pod) else None, before if isinstance(before, Pod) else None)
    elif isinstance(now, Deployment) and isinstance(before, Deployment):
        if now.status.available_replicas != before.status.available_replicas:
            yield f"{now.status.available_replicas} of {now.spec.replicas} available"
    elif event.key.kind in ("Event", "ControllerRevision", "EndpointSlice", "PodDisruptionBudget"):
        return
    elif before is None:
        yield "made"
    elif now is None:
        yield "removed"


def _of_node(now: object, before: object) -> Iterator[str]:
    if not isinstance(now, Node) or not isinstance(before, Node):
        yield "comes" if isinstance(now, Node) else "leaves"
        return
    ready = [find(n.status.conditions, "Ready") for n in (now, before)]
    said = [c.status if c is not None else "False" for c in ready]
    if said[0] != said[1]:
        yield {"True": "is Ready", "False": "is not Ready"}.get(said[0], "is silent: Unknown")
    if now.spec.unschedulable != before.spec.unschedulable:
        yield "is cordoned" if now.spec.unschedulable else "is open again"
    old = {(t.key, t.effect) for t in before.spec.taints}
    for taint in now.spec.taints:
        if taint.effect == "NoExecute" and (taint.key, taint.effect) not in old:
            yield f"drives its pods away ({taint.key})"


def _of_pod(now: Pod | None, before: Pod | None) -> Iterator[str]:
    if now is None:
        yield "is gone" if before is not None and before.spec.node_name else "is gone, having had no host"
        return
    if before is None:
        yield "is made"
        before = Pod()
    if now.spec.node_name != before.spec.node_name:
        yield f"goes to {now.spec.node_name}"
    if is_deleting(now) and not is_deleting(before):
        why = find(now.status.conditions, "DisruptionTarget")
        yield f"is asked to go ({why.reason})" if why is not None else "is asked to go"
    if is_terminal(now) and not is_terminal(before):
        yield f"ends: {now.status.phase}"
    if is_ready(now) != is_ready(before) and not is_terminal(now):
        yield "is ready" if is_ready(now) else "is not ready"
    waits = why_waiting(now)
    if waits and waits != why_waiting(before):
        yield f"has no host: {waits}"


def why_waiting(pod: Pod) -> str:
    """Why no host will do; "" when one does, or nobody has looked."""
    said = find(pod.status.conditions, "PodScheduled")
    return said.message if said is not None and said.status == "False" and not pod.spec.node_name else ""


def spread(pods: Iterable[Pod]) -> dict[str, int]:
    """How many pods that are to serve each host has."""
    found: dict[str, int] = {}
    for pod in pods:
        if pod.spec.node_name and not is_deleting(pod) and not is_terminal(pod):
            found[pod.spec.node_name] = found.get(pod.spec.node_name, 0) + 1
    return found
