"""Readiness of nodes: what silence means, and the taints that follow from a node's conditions (N1, N2, N4).

Rule: pure. Ready is the host's own word as long as it speaks; here it only becomes Unknown. Taints of these keys are
ours alone: they follow the conditions, whoever wrote them. NoSchedule comes at once; NoExecute, which drives pods away
(`evictions`), comes to one host of a zone after the other, and to none while the trouble is likely our own. A host
whose agent is silent while the host itself answers (`Reachable`) is spared for a time: it is Ray that is away, not it.
"""

from collections.abc import Iterable

from mesh.model import fit
from mesh.model.conditions import find, is_true, set_condition
from mesh.model.hosts import REACHABLE, SKEW
from mesh.model.keys import Key
from mesh.model.kinds import key_of, revision_of
from mesh.model.times import SECOND, from_timestamp, whole_seconds
from mesh.reconcile.plan import NOTHING, Plan
from mesh.reconcile.record import record
from mesh.store.port import Event, Write
from mesh.v1.core_pb2 import Node, Taint
from mesh.view import View

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = fit.UNREACHABLE_TAINT
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"  # somebody has confirmed that the host is off (N5)
ZONE = "topology.kubernetes.io/zone"
EVERYONE = Key("Nodes", "", "all")
# N4: seconds between two hosts of a zone whose pods are driven away; the same where most of the zone is down, and there
# only if the zone is a large one.
PACE, SLOW_PACE, LARGE, MOST_DOWN, FEW = 10, 100, 50, 0.55, 2
SPARED = 300.0  # seconds that a host keeps its pods whose agent is silent while the host answers
_SAID = {True: ("True", "HostAnswers"), False: ("False", "HostDoesNotAnswer"), None: ("Unknown", "NotAsked")}
# A condition that is true keeps new pods away, and no more (N2).
_PRESSURES = {
    "MemoryPressure": fit.MEMORY_PRESSURE_TAINT,
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
    SKEW: "mesh/version-skew",
}
_OURS = (NOT_READY, UNREACHABLE, *_PRESSURES.values())


def silent(name: str, view: View, now_ns: int, answers: bool | None = None) -> list[Write]:
    """Every condition of a node that no longer answers becomes Unknown (N1), and Reachable says whether the host itself
    `answers` (None: nobody asks it); nothing when all that is said already."""
    held = view.node(name)
    if held is None:
        return []
    node = Node()
    node.CopyFrom(held)
    if answers is not None or find(node.status.conditions, REACHABLE) is not None:
        status, reason = _SAID[answers]
        set_condition(node.status.conditions, REACHABLE, status, now=now_ns, reason=reason)
    if ready_of(held) == "Unknown":
        return [] if node == held else [Write(key_of(node), node, revision_of(held))]
    if find(node.status.conditions, "Ready") is None:
        node.status.conditions.add(type="Ready")
    for condition in node.status.conditions:
        if condition.status != "Unknown" and condition.type != REACHABLE:
            condition.status = "Unknown"
            condition.reason = "NodeStatusUnknown"
            condition.message = "The host's agent stopped answering."
            condition.last_transition_time.CopyFrom(whole_seconds(now_ns))
    _taint(node, now_ns)
    told = record(view, node, "NodeNotReady", f"Node {name} status is now: NodeNotReady", now_ns, warning=True)
    return [Write(key_of(node), node, revision_of(held)), *told]


class Nodes:
    """Makes the taints of nodes say what their conditions say; the key EVERYONE stands for all of them together.
    `spared`: seconds, see SPARED."""

    name = "nodes"

    def __init__(self, spared: float = SPARED) -> None:
        self._spared = spared

    def keys(self, event: Event) -> Iterable[Key]:
        """The node that the event is about, and everyone when that may change whose turn it is."""
        if event.key.kind != "Node":
            return ()
        own = (event.key,) if event.object is not None else ()
        return (*own, EVERYONE) if _standing(event.object) != _standing(event.previous) else own

    def reconcile(self, key: Key, view: View, now_ns: int) -> Plan:
        """The taints of one node, and word of a node that is ready again; or the next node to be emptied."""
        if key == EVERYONE:
            return _drive_away(view, now_ns, self._spared)
        held = view.node(key.name)
        if held is None:
            return NOTHING
        node = Node()
        node.CopyFrom(held)
        _taint(node, now_ns, spared=_left(node, self._spared, now_ns) > 0)
        returned = ready_of(held) == "True" and _blocked(held) and not _blocked(node)
        if returned:
            _without(node, OUT_OF_SERVICE)  # it is back, whoever said that it was off
        if node == held:
            return NOTHING
        writes = [Write(key, node, revision_of(held))]
        if returned:
            writes += record(view, node, "NodeReady", f"Node {key.name} status is now: NodeReady", now_ns)
        return Plan(writes)


def ready_of(node: Node) -> str:
    """The status of Ready; a node that says nothing of it is not ready."""
    condition = find(node.status.conditions, "Ready")
    return condition.status if condition is not None else "False"


def _standing(node: object) -> object:
    if not isinstance(node, Node):
        return None
    answers = is_true(node.status.conditions, REACHABLE)
    return ready_of(node), node.metadata.labels.get(ZONE, ""), _driven(node), answers


def _left(node: Node, spared: float, now_ns: int) -> float:
    """For how many seconds more a silent host that answers keeps its pods; 0: it does not."""
    if ready_of(node) != "Unknown" or not is_true(node.status.conditions, REACHABLE):
        return 0.0
    return max(0.0, (_lost(node)[0] - now_ns) / SECOND + spared)


def _blocked(node: Node) -> bool:
    """It bears a taint of a node that is not ready."""
    return any(t.key in (NOT_READY, UNREACHABLE) for t in node.spec.taints)


def _driven(node: Node) -> int:
    """Since when the node's pods are driven away because it is not ready; 0: they are not."""
    since = [_since(t) for t in node.spec.taints if t.key in (NOT_READY, UNREACHABLE) and t.effect == "NoExecute"]
    return max(since, default=0)


def _since(taint: Taint) -> int:
    return max(from_timestamp(taint.time_added), 1)


def _without(node: Node, key: str) -> None:
    kept = [t for t in node.spec.taints if t.key != key]
    if len(kept) != len(node.spec.taints):
        copies = [Taint.FromString(t.SerializeToString()) for t in kept]
        del node.spec.taints[:]
        node.spec.taints.extend(copies)


def _taint(node: Node, now_ns: int, *, spared: bool = False) -> None:
    """What the conditions say; NoExecute stays or goes here, and comes by `_drive_away`."""
    wanted = _wanted(node, spared)
    held = {(t.key, t.effect): t for t in node.spec.taints if t.key in _OURS}
    if sorted(wanted) == sorted(held):
        return
    ours = [held.get(w) or Taint(key=w[0], effect=w[1], time_added=whole_seconds(now_ns)) for w in wanted]
    fresh = [t for t in node.spec.taints if t.key not in _OURS] + ours
    copies = [Taint.FromString(t.SerializeToString()) for t in fresh]
    del node.spec.taints[:]
    node.spec.taints.extend(copies)


def _wanted(node: Node, spared: bool) -> list[tuple[str, str]]:
    key = _key_of(node)
    effects = ("NoSchedule", "NoExecute") if _driven(node) and not spared else ("NoSchedule",)
    return [
        *((key, effect) for effect in effects if key),
        *((taint, "NoSchedule") for name, taint in _PRESSURES.items() if is_true(node.status.conditions, name)),
    ]


def _key_of(node: Node) -> str:
    return {"True": "", "Unknown": UNREACHABLE}.get(ready_of(node), NOT_READY)


# ---- one after the other (N4)


def _drive_away(view: View, now_ns: int, spared: float) -> Plan:
    """NoExecute for the next nodes that are not ready, as fast as their zones allow."""
    zones: dict[str, list[Node]] = {}
    for node in view.nodes():
        zones.setdefault(node.metadata.labels.get(ZONE, ""), []).append(node)
    if all(_down(node) for nodes in zones.values() for node in nodes):
        return NOTHING  # there is nowhere to go, and it may be us who hear nothing
    writes: list[Write] = []
    again: list[float] = []
    for nodes in zones.values():
        pace = pace_of(len(nodes), sum(_down(n) for n in nodes))
        undriven = [n for n in nodes if _down(n) and not _driven(n)]
        waiting = sorted((n for n in undriven if not _left(n, spared, now_ns)), key=_lost)
        again += [left for n in undriven if (left := _left(n, spared, now_ns))]
        if not waiting or pace is None:
            continue
        left = (max(map(_driven, nodes)) + pace * SECOND - now_ns) / SECOND
        if left > 0:
            again.append(left)
            continue
        writes.append(_driven_away(waiting[0], now_ns))
        again += [float(pace)] if waiting[1:] else []
    return Plan(writes, min(again, default=None))


def pace_of(nodes: int, down: int) -> int | None:
    """Seconds between two nodes of a zone; None: no node of it now (N4)."""
    if down > FEW and down >= MOST_DOWN * nodes and down < nodes:
        return SLOW_PACE if nodes > LARGE else None
    return PACE


def _down(node: Node) -> bool:
    return ready_of(node) != "True"


def _lost(node: Node) -> tuple[int, str]:
    ready = find(node.status.conditions, "Ready")
    return (from_timestamp(ready.last_transition_time) if ready is not None else 0), node.metadata.name


def _driven_away(held: Node, now_ns: int) -> Write:
    node = Node()
    node.CopyFrom(held)
    node.spec.taints.add(key=_key_of(node), effect="NoExecute", time_added=whole_seconds(now_ns))
    return Write(key_of(held), node, revision_of(held))
