"""DaemonSets: one pod on every node that will have it (C10).

Rule: pure; a pod is made for its node by node affinity and bound by the scheduler as any other. A pod that failed is
made again after 1 s, doubling to 15 min: how often it has failed is written on its successor.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from mesh.controllers import revisions
from mesh.controllers.children import Step, claim, fresh_name, may_be_orphaned, owners_named, pod_from
from mesh.model import fit
from mesh.model.annotations import counted
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.pods import is_deleting, is_ready, is_terminal
from mesh.model.times import SECOND, from_timestamp
from mesh.model.workloads import REVISION_HASH, available_in, is_active, is_available, share
from mesh.reconcile.plan import NOTHING, Plan
from mesh.store.port import Event
from mesh.v1.apps_pb2 import DaemonSet
from mesh.v1.core_pb2 import Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, Toleration
from mesh.view import View

FAILURES = "mesh/failures"  # annotation: how many pods before this one failed on its node, one after the other
_ALL = Key("DaemonSet", "", "")
_BURST = 250
_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_OF_HOST_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")


class DaemonSets:
    """A key without a name stands for all of them: a node has changed, or an orphan has come."""

    name = "daemonsets"

    def keys(self, event: Event) -> Iterable[Key]:
        """The set of the event."""
        key = event.key
        if key.kind == "DaemonSet":
            return (key,) if event.object is not None else ()
        if key.kind == "Node":
            return (_ALL,) if _eligibility(event.object) != _eligibility(event.previous) else ()
        if key.kind not in ("Pod", "ControllerRevision"):
            return ()
        found = [Key(kind, key.namespace, name) for kind, name in owners_named(event, ("DaemonSet",))]
        return [*found, _ALL] if may_be_orphaned(event) else found

    def reconcile(self, key: Key, view: View, now_ns: int) -> Plan:
        """The next step of one set, or of all."""
        if key != _ALL:
            held = view.get(key)
            return _reconcile(held, view, now_ns, orphans=False) if isinstance(held, DaemonSet) else NOTHING
        plans = [
            _reconcile(held, view, now_ns, orphans=True)
            for held in view.of_kind("DaemonSet")
            if isinstance(held, DaemonSet)
        ]
        writes = {write.key: write for plan in plans for write in plan.writes}
        return Plan(list(writes.values()), min((p.requeue_after for p in plans if p.requeue_after), default=None))


def _reconcile(held: DaemonSet, view: View, now: int, *, orphans: bool) -> Plan:
    step = Step(view, now)
    pods = claim(held, step, orphans=orphans or held.status.observed_generation != held.metadata.generation)
    known = revisions.look(held, step)
    if step.writes or (known.update is None and held.metadata.HasField("deletion_timestamp")):
        return Plan(step.writes)
    look = _Look(held, pods, known, step)
    if not held.metadata.HasField("deletion_timestamp"):
        look.manage()
        if not step.writes and held.spec.update_strategy.type == "RollingUpdate":
            look.roll()
        if not step.writes:
            revisions.forget(held, known, {revisions.revision_name(held, p) for p in pods}, step)
    wanted = look.status()
    step.put(held, wanted)
    step.look_in(available_in(pods, held.spec.min_ready_seconds, now))
    return Plan(step.writes, step.again)


@dataclass(slots=True)
class _Look:
    """One look at one set: its pods by node, and which nodes should have one."""

    held: DaemonSet
    pods: list[Pod]
    known: revisions.Revisions
    step: Step
    wanted: list[Node] = field(init=False)
    kept: set[str] = field(init=False)
    on: dict[str, list[Pod]] = field(init=False)

    def __post_init__(self) -> None:
        probe = self._pod("probe", "")
        nodes = [n for n in self.step.view.nodes() if not n.metadata.HasField("deletion_timestamp")]
        self.wanted = [n for n in nodes if _should_run(probe, n)]
        self.kept = {n.metadata.name for n in nodes if _may_stay(probe, n)}
        self.on = {}
        for pod in self.pods:
            self.on.setdefault(node_of(pod), []).append(pod)

    # ---- one on each node

    def manage(self) -> None:
        """Makes what is missing, removes what is failed, doubled or misplaced."""
        made = 0
        for node in self.wanted:
            name = node.metadata.name
            here = [p for p in self.on.get(name, []) if not is_deleting(p)]
            failed = [p for p in here if is_terminal(p)]
            alive = [p for p in here if not is_terminal(p)]
            if alive:
                for extra in self._doubled(alive):
                    self.step.remove(self.held, extra)
                for old in failed:
                    self.step.remove(self.held, old)
            elif self._may_begin(name, failed) and made < _BURST:
                made += 1
                for old in failed:
                    self.step.remove(self.held, old)
                if not self._make(name, failures=_failures(failed)):
                    self.step.look_in(10.0)
                    return
        for name, pods in self.on.items():
            if name not in self.kept:
                for pod in pods:
                    self.step.remove(self.held, pod)

    def _may_begin(self, node: str, failed: list[Pod]) -> bool:
        """Whether the node's pod is really gone, and the back-off of one that failed is over."""
        if any(is_deleting(p) and not is_terminal(p) for p in self.on.get(node, [])):
            return False
        if not failed:
            return True
        pause = min(1 << min(_failures(failed) - 1, 10), 900)
        left = pause - (self.step.now - max(_ended(p) for p in failed)) / SECOND
        if left > 0:
            self.step.look_in(left)
        return left <= 0

    def _doubled(self, alive: list[Pod]) -> list[Pod]:
        """All but one of several pods; a surge may have one of the old template and one of the new."""
        new = [p for p in alive if self._is_new(p)]
        old = [p for p in alive if not self._is_new(p)]
        surge = self.held.spec.update_strategy.type == "RollingUpdate" and bool(self._surge())
        if surge and new and old:
            return [*new[1:], *old[1:]]
        return sorted(alive, key=lambda p: (not p.spec.node_name, not is_ready(p)))[1:]

    def _make(self, node: str, failures: int = 0) -> bool:
        pod = self._pod(fresh_name(self.held, self.step.view, node), node)
        if failures:
            pod.metadata.annotations[FAILURES] = str(failures)
        return self.step.make(self.held, pod)

    def _pod(self, name: str, node: str) -> Pod:
        update = self.known.update
        label = update.metadata.labels[REVISION_HASH] if update is not None else ""
        pod = pod_from(self.held.spec.template, self.held, name, {REVISION_HASH: label})
        effects = [*_TOLERATED, *([_OF_HOST_NETWORK] if pod.spec.host_network else [])]
        fresh = (Toleration(key=key, operator="Exists", effect=effect) for key, effect in effects)
        pod.spec.tolerations.extend(t for t in fresh if t not in pod.spec.tolerations)
        if node:
            affinity = pod.spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution
            match = NodeSelectorRequirement(key="metadata.name", operator="In", values=[node])
            del affinity.node_selector_terms[:]
            affinity.node_selector_terms.append(NodeSelectorTerm(match_fields=[match]))
        return pod

    # ---- rolling

    def roll(self) -> None:
        """Replaces pods of old templates: the broken at once, others as far as few enough are missing."""
        if self._surge():
            self._roll_by_surge()
            return
        allowed = self._unavailable_allowed()
        healthy: list[Pod] = []
        for node in self.wanted:
            alive = [p for p in self.on.get(node.metadata.name, []) if is_active(p)]
            if not alive or not any(self._is_available(p) for p in alive):
                allowed -= 1
                for pod in alive:
                    if not self._is_new(pod):
                        self.step.remove(self.held, pod)
            else:
                healthy += [p for p in alive if not self._is_new(p)]
        for pod in healthy[: max(0, allowed)]:
            self.step.remove(self.held, pod)

    def _roll_by_surge(self) -> None:
        room = self._surge()
        waiting: list[str] = []
        for node in self.wanted:
            alive = [p for p in self.on.get(node.metadata.name, []) if is_active(p)]
            new = [p for p in alive if self._is_new(p)]
            old = [p for p in alive if not self._is_new(p)]
            if new and old:
                if any(self._is_available(p) for p in new) or not self._is_available(old[0]):
                    self.step.remove(self.held, old[0])
                else:
                    room -= 1
            elif old and not self._is_available(old[0]):
                self._make(node.metadata.name)
            elif old:
                waiting.append(node.metadata.name)
        for name in waiting[: max(0, room)]:
            self._make(name)

    def _surge(self) -> int:
        return share(self.held.spec.update_strategy.rolling_update.max_surge, len(self.wanted), up=True)

    def _unavailable_allowed(self) -> int:
        rolling = self.held.spec.update_strategy.rolling_update
        return share(rolling.max_unavailable, len(self.wanted), up=True)

    def _is_new(self, pod: Pod) -> bool:
        update = self.known.update
        return update is not None and revisions.revision_name(self.held, pod) == update.metadata.name

    def _is_available(self, pod: Pod) -> bool:
        return is_available(pod, self.held.spec.min_ready_seconds, self.step.now)

    # ---- status

    def status(self) -> DaemonSet:
        """The set with its counts."""
        wanted = copy_of(self.held)
        status, names = wanted.status, {n.metadata.name for n in self.wanted}
        alive = {n: [p for p in pods if not is_terminal(p)] for n, pods in self.on.items()}
        here = {n: pods for n, pods in alive.items() if n in names and pods}
        status.desired_number_scheduled = len(names)
        status.current_number_scheduled = len(here)
        status.number_misscheduled = sum(bool(pods) for n, pods in alive.items() if n not in names)
        status.number_ready = sum(any(is_ready(p) for p in pods) for pods in here.values())
        status.number_available = sum(any(self._is_available(p) for p in pods) for pods in here.values())
        status.number_unavailable = len(names) - status.number_available
        status.updated_number_scheduled = sum(any(self._is_new(p) for p in pods) for pods in here.values())
        status.observed_generation = self.held.metadata.generation
        if self.known.collisions:
            status.collision_count = self.known.collisions
        return wanted


def node_of(pod: Pod) -> str:
    """The node that a DaemonSet's pod is on or meant for; empty when it is bound to none."""
    if pod.spec.node_name:
        return pod.spec.node_name
    terms = pod.spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution.node_selector_terms
    names = [v for t in terms for f in t.match_fields if f.key == "metadata.name" for v in f.values]
    return names[0] if names else ""


def _should_run(probe: Pod, node: Node) -> bool:
    return not (fit.node_name(probe, node) or fit.affinity(probe, node) or fit.taints(probe, node))


def _may_stay(probe: Pod, node: Node) -> bool:
    """Whether a pod that is there already stays: only a NoExecute taint drives it away."""
    hard = copy_of(node)
    kept = [t for t in node.spec.taints if t.effect == "NoExecute"]
    del hard.spec.taints[:]
    hard.spec.taints.extend(kept)
    return _should_run(probe, hard)


def _eligibility(node: object) -> object:
    """What of a node decides whether it has a pod."""
    if not isinstance(node, Node):
        return None
    taints = sorted((t.key, t.value, t.effect) for t in node.spec.taints)
    return dict(node.metadata.labels), taints, node.metadata.HasField("deletion_timestamp")


def _failures(failed: list[Pod]) -> int:
    counts = [counted(p.metadata.annotations.get(FAILURES)) or 0 for p in failed]
    return max(counts) + 1 if failed else 0


def _ended(pod: Pod) -> int:
    ends = [from_timestamp(s.state.terminated.finished_at) for s in pod.status.container_statuses]
    return max([*ends, from_timestamp(pod.metadata.creation_timestamp)])
