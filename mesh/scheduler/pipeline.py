"""Places every pending pod of a view in one pass: filter, score, choose; each choice counts for the next pod.

Rule: pure; the same view gives the same placements. Who asked for more priority, then who came first, goes first.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mesh.model import fit
from mesh.model.pods import effective_requests, is_deleting, is_terminal
from mesh.model.times import from_timestamp
from mesh.scheduler.filters import why_not
from mesh.scheduler.scores import least_allocated, tie_break, weights
from mesh.v1.core_pb2 import Node, Pod
from mesh.view import View

SCHEDULER = "default-scheduler"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a pod goes, or with an empty `node` in words why nowhere."""

    pod: Pod
    node: str
    why_not: str = ""


@dataclass(slots=True)
class _Room:
    """One node with what its pods take: `used` as they asked, `weight` as they count in comparisons."""

    node: Node
    allocatable: Mapping[str, int]
    used: dict[str, int]
    weight: Counter[str] = field(default_factory=Counter)

    def add(self, pod: Pod) -> None:
        """Counts one more pod."""
        self.used["pods"] = self.used.get("pods", 0) + 1
        for name, amount in effective_requests(pod).items():
            self.used[name] = self.used.get(name, 0) + amount
        self.weight.update(weights(pod))


def pending(view: View) -> list[Pod]:
    """The pods that wait for a node, in the order they are served."""
    waiting = [p for p in view.pods_on("") if _is_ours(p)]
    return sorted(waiting, key=lambda p: (-p.spec.priority, from_timestamp(p.metadata.creation_timestamp)))


def place(view: View) -> list[Placement]:
    """A placement for every pending pod."""
    waiting = pending(view)
    if not waiting:
        return []
    rooms = [_room(node, view) for node in view.nodes() if not node.metadata.HasField("deletion_timestamp")]
    return [_choose(pod, rooms) for pod in waiting]


def _choose(pod: Pod, rooms: Iterable[_Room]) -> Placement:
    against: Counter[str] = Counter()
    count, best = 0, None
    for room in rooms:
        count += 1
        reasons = why_not(pod, room.node, room.used)
        against.update(reasons)
        if reasons:
            continue
        score = least_allocated(pod, room.weight, room.allocatable)
        rank = (score, tie_break(pod, room.node.metadata.name))
        if best is None or rank > best[0]:
            best = (rank, room)
    if best is None:
        return Placement(pod, "", _explain(count, against))
    best[1].add(pod)
    return Placement(pod, best[1].node.metadata.name)


def _explain(nodes: int, against: Mapping[str, int]) -> str:
    """K4: "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable." """
    if not nodes:
        return "0/0 nodes are available: no host has joined yet."
    return f"0/{nodes} nodes are available: " + ", ".join(sorted(f"{n} {why}" for why, n in against.items())) + "."


def _room(node: Node, view: View) -> _Room:
    there = [p for p in view.pods_on(node.metadata.name) if not is_terminal(p)]
    room = _Room(node, fit.allocatable_of(node), fit.used_by(there))
    for pod in there:
        room.weight.update(weights(pod))
    return room


def _is_ours(pod: Pod) -> bool:
    return (
        not is_deleting(pod)
        and not is_terminal(pod)
        and not pod.spec.scheduling_gates
        and pod.spec.scheduler_name in ("", SCHEDULER)
    )
