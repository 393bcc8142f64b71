"""The questions: what if a host dies, is drained, or files are applied; and how everything stands in the end.

Rule: pure. The objects given are copied before anything is done; answers are values.
"""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mesh.admission.admit import Stamp, apply
from mesh.admission.evict import evict
from mesh.controllers.budgets import Budgets
from mesh.controllers.cronjob import CronJobs
from mesh.controllers.daemonset import DaemonSets
from mesh.controllers.deployment import Deployments
from mesh.controllers.evictions import DELAY, Evictions
from mesh.controllers.garbage import Garbage
from mesh.controllers.job import Jobs
from mesh.controllers.leftovers import Leftovers
from mesh.controllers.namespaces import Namespaces
from mesh.controllers.nodes import Nodes
from mesh.controllers.replicaset import ReplicaSets
from mesh.controllers.statefulset import StatefulSets
from mesh.controllers.unheard import Unheard
from mesh.controllers.volumes import Volumes
from mesh.errors import Conflict, NotFound
from mesh.model.fields import copy_of
from mesh.model.kinds import Object, key_of
from mesh.model.pods import is_deleting, is_mirror, is_ready, is_terminal
from mesh.model.times import SECOND
from mesh.model.workloads import controller_of
from mesh.reconcile.plan import Controller
from mesh.scheduler.scheduler import Scheduler
from mesh.simulate.hosts import Hosts, Pace
from mesh.simulate.machine import Machine
from mesh.simulate.story import Line, Story, spread, why_waiting
from mesh.store.port import Event, Snapshot
from mesh.v1.apps_pb2 import DaemonSet, Deployment, ReplicaSet, ReplicationController, StatefulSet
from mesh.v1.core_pb2 import Pod
from mesh.view import View

AGAIN = 5.0  # seconds until a drain asks again whom a budget held
_NAMESPACE = uuid.UUID("6d657368-7369-6d75-6c61-746500000000")


@dataclass(frozen=True, slots=True)
class Standing:
    """How one workload stands: pods that are ready of those that there should be."""

    name: str
    ready: int
    wanted: int


@dataclass(frozen=True, slots=True)
class End:
    """How everything stands in the end. `pods`: of each host before and after; `short`: workloads with too few;
    `waits`: pods that no host will have, and why; `stuck`: pods that still end; `lost`: pods that nobody makes again.
    """

    seconds: float
    pods: dict[str, tuple[int, int]]
    short: tuple[Standing, ...] = ()
    waits: tuple[tuple[str, str], ...] = ()
    stuck: tuple[tuple[str, str], ...] = ()
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The timeline and the end."""

    lines: tuple[Line, ...]
    end: End


@dataclass(slots=True)
class WhatIf:
    """One question to a copy of the objects; `now` is nanoseconds since the epoch. Ask once, then `answer`."""

    objects: Sequence[Object]
    now: int
    pace: Pace = field(default_factory=Pace)
    eviction: float = DELAY
    machine: Machine = field(init=False)
    hosts: Hosts = field(init=False)
    story: Story = field(init=False)
    _start: int = field(init=False)
    _before: dict[str, int] = field(init=False)
    _alone: dict[str, Pod] = field(init=False)  # pods that nobody makes again, by uid
    _errands: list[tuple[int, Callable[[], None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._start = self.now - self.now % SECOND  # taints are dated to the second
        view = View(
            Snapshot(max((int(o.metadata.resource_version or 0) for o in self.objects), default=1), self.objects)
        )
        self.machine = Machine(view, _everyone(self.eviction), self._start)
        self.hosts, self.story = Hosts(self.machine, self.pace), Story(self._start)
        pods = [p for p in view.pods() if not is_deleting(p)]
        self._before = spread(pods)
        self._alone = {p.metadata.uid: p for p in pods if controller_of(p.metadata) is None and not is_mirror(p)}
        self.machine.begin()
        self.hosts.begin()
        self.machine.watch = self._see

    def _see(self, events: Sequence[Event]) -> None:
        self.hosts.look(events)
        self.story.look(events, self.machine.now)

    # ---- questions

    def host_dies(self, name: str) -> None:
        """The host's power is off from now on; raises NotFound."""
        self._node(name)
        self.story.say(self._start, f"node/{name}", "dies")
        self.hosts.die(name)

    def drain(self, name: str) -> None:
        """As `mesh drain --ignore-daemonsets --force`; raises NotFound."""
        closed = copy_of(self._node(name))
        closed.spec.unschedulable = True  # type: ignore[union-attr] # a Node
        self.machine.put(closed)
        self._empty(name)

    def apply(self, objects: Sequence[Object]) -> None:
        """As `mesh apply`; raises as that does."""
        for number, obj in enumerate(objects):
            held = self.machine.view.get(key_of(obj))
            stamp = Stamp(self.machine.now, str(uuid.uuid5(_NAMESPACE, f"{key_of(obj)}/{number}")), "abcde")
            wanted = apply(obj, held, self.machine.view, stamp).object
            if wanted is not held:
                self.machine.put(wanted)

    # ---- the answer

    def answer(self, seconds: float = 600.0) -> Answer:
        """Lets so much time pass; it is over sooner when nothing is to happen any more."""
        end = self._start + round(seconds * SECOND)
        self.machine.settle()
        while (due := self._next()) is not None and due <= end:
            self.machine.move_to(due)
            self.hosts.act()
            self._run_errands()
            self.machine.settle()
        lines = self.story.lines()
        return Answer(tuple(lines), self._end(lines[-1].at if lines else 0.0))

    def _next(self) -> int | None:
        known = (self.machine.next_due(), self.hosts.next_due(), min((at for at, _ in self._errands), default=None))
        return min((at for at in known if at is not None), default=None)

    def _run_errands(self) -> None:
        due = [errand for at, errand in self._errands if at <= self.machine.now]
        self._errands = [(at, errand) for at, errand in self._errands if at > self.machine.now]
        for errand in due:
            errand()

    def _end(self, seconds: float) -> End:
        view = self.machine.view
        after = spread(view.pods())
        names = sorted(n.metadata.name for n in view.nodes())
        there = {p.metadata.uid: p for p in view.pods() if not is_deleting(p)}
        found = sorted(view.pods(), key=key_of)
        return End(
            seconds,
            {n: (self._before.get(n, 0), after.get(n, 0)) for n in names},
            tuple(s for s in _standings(view) if s.ready < s.wanted),
            tuple((_ref(p), why) for p in found if (why := why_waiting(p)) and not is_deleting(p)),
            tuple((_ref(p), p.spec.node_name) for p in found if is_deleting(p)),
            tuple(_ref(p) for uid, p in sorted(self._alone.items()) if uid not in there),
        )

    # ---- drain

    def _empty(self, name: str) -> None:
        again = False
        for pod in self.machine.view.pods_on(name):
            owner = controller_of(pod.metadata)
            if is_mirror(pod) or is_deleting(pod) or (owner is not None and owner.kind == "DaemonSet"):
                continue
            try:
                self.machine.commit(evict(pod, None, self.machine.view, Stamp(self.machine.now, "", "")))
            except Conflict as error:
                again = True
                self.story.say(self.machine.now, _ref(pod), f"has to wait: {error.message.partition(': ')[2]}")
        if again:
            self._errands.append((self.machine.now + round(AGAIN * SECOND), lambda: self._empty(name)))

    def _node(self, name: str) -> Object:
        held = self.machine.view.node(name)
        if held is None:
            raise NotFound(f'there is no Node "{name}"')
        return held


def _everyone(eviction: float) -> tuple[Controller, ...]:
    return (
        Scheduler(), Deployments(), ReplicaSets(), StatefulSets(), DaemonSets(), Jobs(), CronJobs(), Garbage(),
        Budgets(), Nodes(), Evictions(eviction), Unheard(eviction), Namespaces(), Leftovers(), Volumes(),
    )  # fmt: skip


def _standings(view: View) -> list[Standing]:
    found = []
    for kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController"):
        for held in view.of_kind(kind):
            if isinstance(held, ReplicaSet) and controller_of(held.metadata) is not None:
                continue
            if isinstance(held, Deployment | StatefulSet | ReplicaSet | ReplicationController):
                found.append(Standing(_ref(held), _ready(held, view), held.spec.replicas))
            elif isinstance(held, DaemonSet):
                found.append(Standing(_ref(held), _ready(held, view), held.status.desired_number_scheduled))
    return found


def _ready(held: Object, view: View) -> int:
    """Pods of a workload, or of its sets, that are ready, on hosts that are."""
    owners = [held, *(s for s in view.children(held.metadata.uid) if isinstance(s, ReplicaSet))]
    pods = [p for o in owners for p in view.children(o.metadata.uid) if isinstance(p, Pod)]
    return sum(is_ready(p) and not is_deleting(p) and not is_terminal(p) and not _is_silent(p, view) for p in pods)


def _is_silent(pod: Pod, view: View) -> bool:
    node = view.node(pod.spec.node_name)
    return node is None or any(c.type == "Ready" and c.status != "True" for c in node.status.conditions)


def _ref(obj: Object) -> str:
    return f"{obj.DESCRIPTOR.name.lower()}/{obj.metadata.name}"
