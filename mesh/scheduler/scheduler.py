"""The scheduler: gives every pod that waits for a node its node, or says in words why there is none (K4, K5).

Rule: a controller with one key: all pending pods are placed in one pass and bound in one commit. It looks again when a
node or what takes room on one has changed, never by the clock. The Cluster that it keeps is the view's, event by event.
A pod on which a pass fails gets a key of its own, so that the others are placed without it.
"""

from collections.abc import Iterable, Sequence

from mesh.admission.admit import Stamp, bind, delete
from mesh.model.conditions import find, set_condition
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.kinds import Object, key_of, revision_of
from mesh.model.pods import effective_requests, is_terminal
from mesh.reconcile.plan import NOTHING, Plan
from mesh.reconcile.record import record
from mesh.scheduler.cluster import Cluster, Placed, eligibility
from mesh.scheduler.pipeline import Pass, Placement, Shape, gated, namespaces_of, pending
from mesh.scheduler.preempt import Eviction, find_room, may_preempt
from mesh.scheduler.scores import weights
from mesh.store.port import Event, Write
from mesh.v1.core_pb2 import Node, Pod
from mesh.view import View

ALL = Key("Scheduler", "", "all")
_MOST = 5000  # bindings of one commit


class Scheduler:
    """See the module."""

    name = "scheduler"

    def __init__(self) -> None:
        self._cluster = Cluster()
        self._shapes: tuple[int, dict[object, Shape]] = (0, {})
        self._apart: set[Key] = set()  # pods on which a pass has failed

    def keys(self, event: Event) -> Iterable[Key]:
        """The one key, when the event may change where a pod can go."""
        self._cluster.on((event,))
        return (ALL,) if _matters(event) else ()

    def reconcile(self, key: Key, view: View, now_ns: int) -> Plan:
        """Binds what can be placed; says of the rest why not, once per reason; makes room for who matters more."""
        held_back = [w for p in gated(view) for w in _gated(p, now_ns)] if key == ALL else []
        waiting = self._waiting(key, view)
        if not waiting:
            return Plan(held_back) if held_back else NOTHING
        if self._cluster.revision != view.revision:
            self._cluster = Cluster.of(view)
        run = Pass(self._cluster, namespaces_of(view), view, self._known())
        budgets = view.of_kind("PodDisruptionBudget")
        writes, apart = held_back, list[Key]()
        gone: set[Key] = set()
        for pod in waiting[:_MOST]:
            try:
                writes += _placed(pod, run, budgets, gone, now_ns)
            except Exception:
                if key != ALL:
                    raise
                apart.append(key_of(pod))
        self._apart = self._apart.union(apart) if key == ALL else self._apart - {key}
        again = 0.0 if len(waiting) > _MOST else None
        return Plan(writes, again if writes else None, apart) if writes or apart else NOTHING

    def _waiting(self, key: Key, view: View) -> list[Pod]:
        waiting = pending(view)
        if key != ALL:
            return [pod for pod in waiting if key_of(pod) == key]
        if self._apart:
            self._apart &= {key_of(pod) for pod in waiting}
            return [pod for pod in waiting if key_of(pod) not in self._apart]
        return waiting

    def _known(self) -> dict[object, Shape]:
        if self._shapes[0] != self._cluster.version:
            self._shapes = (self._cluster.version, {})
        return self._shapes[1]


def _placed(pod: Pod, run: Pass, budgets: Sequence[Object], gone: set[Key], now_ns: int) -> list[Write]:
    """What one pod's turn in a pass amounts to; `gone` are the pods that make room already."""
    view = run.view
    assert view is not None  # noqa: S101 - the scheduler's passes have one
    placement, eviction = run.place(pod), None
    if not placement.node and may_preempt(pod, run.cluster):
        eviction = find_room(pod, run, budgets)
    writes = _writes(placement, eviction, view, now_ns)
    if eviction is not None:
        writes += [w for w in _evictions(eviction, pod, view, now_ns) if w.key not in gone]
        gone |= {key_of(v) for v in eviction.victims}
    if not placement.node and (chosen := eviction.node if eviction else pod.status.nominated_node_name):
        _reserve(pod, chosen, run)
    return writes


def _reserve(pod: Pod, node: str, run: Pass) -> None:
    """Room that is being made for a pod is not given to one that matters less."""
    if (row := run.cluster.index.get(node)) is not None:
        requests = effective_requests(pod)
        run.take(Placed(pod, node, requests, weights(requests)), row)


def _gated(pod: Pod, now_ns: int) -> list[Write]:
    """Says once that the pod waits for its gates."""
    waiting = copy_of(pod)
    names = ", ".join(g.name for g in pod.spec.scheduling_gates)
    set_condition(waiting.status.conditions, "PodScheduled", "False", now=now_ns, reason="SchedulingGated",
                  message=f"Scheduling is blocked due to non-empty scheduling gates: {names}")  # fmt: skip
    return [] if waiting == pod else [Write(key_of(pod), waiting, revision_of(pod))]


def _writes(placement: Placement, eviction: Eviction | None, view: View, now_ns: int) -> list[Write]:
    pod = placement.pod
    name = f"{pod.metadata.namespace}/{pod.metadata.name}"
    if placement.node:
        bound = bind(pod, placement.node, now_ns)
        bound.status.ClearField("nominated_node_name")
        told = record(view, pod, "Scheduled", f"Successfully assigned {name} to {placement.node}", now_ns)
        return [Write(key_of(pod), bound, revision_of(pod)), *told]
    waiting = copy_of(pod)
    if eviction is not None:
        waiting.status.nominated_node_name = eviction.node
    set_condition(
        waiting.status.conditions,
        "PodScheduled",
        "False",
        now=now_ns,
        reason="Unschedulable",
        message=placement.why_not,
    )
    if waiting == pod:
        return []
    writes = [Write(key_of(pod), waiting, revision_of(pod))]
    said = find(pod.status.conditions, "PodScheduled")
    if said is None or said.message != placement.why_not:
        writes += record(view, pod, "FailedScheduling", placement.why_not, now_ns, warning=True)
    return writes


def _evictions(eviction: Eviction, pod: Pod, view: View, now_ns: int) -> list[Write]:
    writes: list[Write] = []
    for victim in eviction.victims:
        told = copy_of(victim)
        why = f"Preempted by pod {pod.metadata.uid} on node {eviction.node}"
        set_condition(told.status.conditions, "DisruptionTarget", "True", now=now_ns, reason="PreemptionByScheduler",
                      message=why)  # fmt: skip
        wanted = delete(told, None, view, Stamp(now_ns, "", "")).object
        writes.append(Write(key_of(victim), wanted, revision_of(victim)))
        writes += record(view, victim, "Preempted", why, now_ns)
    return writes


def _matters(event: Event) -> bool:
    now, before = event.object, event.previous
    if event.key.kind in ("PersistentVolume", "PersistentVolumeClaim"):
        return True
    if isinstance(now, Node) or isinstance(before, Node):
        return _of_node(now) != _of_node(before)
    if isinstance(now, Pod) and not now.spec.node_name:
        return not isinstance(before, Pod) or before.spec != now.spec
    if isinstance(before, Pod) and before.spec.node_name and not is_terminal(before):
        return not isinstance(now, Pod) or is_terminal(now) or before.metadata.labels != now.metadata.labels
    return False


def _of_node(node: object) -> object:
    """What of a node decides who may go there."""
    if not isinstance(node, Node):
        return None
    return eligibility(node), dict(node.status.allocatable) or dict(node.status.capacity)
