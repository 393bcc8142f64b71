"""A world without time of its own for controllers: a view, their keys in a queue, and hosts that do as the test says.

Rule: every commit is looked at by `watch`, so that what must never be is seen when it is, not only at rest.
"""

import random
import uuid
from collections.abc import Callable, Sequence

from mesh.admission.admit import Stamp, apply, delete
from mesh.controllers.budgets import Budgets
from mesh.controllers.cronjob import CronJobs
from mesh.controllers.daemonset import DaemonSets
from mesh.controllers.deployment import Deployments
from mesh.controllers.garbage import Garbage
from mesh.controllers.job import Jobs
from mesh.controllers.replicaset import ReplicaSets
from mesh.controllers.statefulset import StatefulSets
from mesh.model.conditions import set_condition
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.kinds import Object, key_of, revision_of
from mesh.model.manifest import load
from mesh.model.pods import is_deleting, is_terminal
from mesh.model.times import SECOND, to_timestamp
from mesh.reconcile.plan import Controller
from mesh.store.port import Event, Snapshot, Write
from mesh.v1.core_pb2 import Node, NodeCondition, Pod
from mesh.view import View
from tests.harness import objects

START = 1_800_000_000 * SECOND


def everyone() -> tuple[Controller, ...]:
    """One of each workload controller."""
    return (Deployments(), ReplicaSets(), StatefulSets(), DaemonSets(), Jobs(), CronJobs(), Garbage(), Budgets())


class World:
    """Objects at one revision. `watch(view)` is called after each commit; `now` moves only by `pass_time`."""

    def __init__(self, *objs: Object, nodes: Sequence[str] = ("a", "b", "c"), seed: int = 0) -> None:
        self.view = View(Snapshot(1, [objects.namespace("default")]))
        self.now = START
        self.rng = random.Random(seed)
        self.watch: Callable[[View], None] = lambda _view: None
        self.controllers = everyone()
        self._queue: list[tuple[int, Key]] = []
        self._later: dict[tuple[int, Key], int] = {}
        for name in nodes:
            self.put(_node(name))
        for obj in objs:
            self.put(obj)

    # ---- users

    def apply(self, text: str) -> None:
        """As `mesh apply -f -`."""
        for obj in load(text, "test").objects:
            if not obj.metadata.namespace:
                obj.metadata.namespace = "default"
            held = self.view.get(key_of(obj))
            stamp = Stamp(self.now, str(uuid.UUID(int=self.rng.getrandbits(128))), "abcde")
            wanted = apply(obj, held, self.view, stamp).object
            if wanted is not held:
                self.put(wanted)

    def delete(self, obj: Object, propagation: str = "Background", grace: int | None = None) -> None:
        """As `mesh delete`."""
        held = self.view.get(key_of(obj))
        if held is None:
            return
        wanted = delete(held, grace, self.view, Stamp(self.now, "", ""), propagation=propagation).object
        if wanted is not held:
            self.put(wanted, key_of(held))

    # ---- hosts

    def bind(self) -> None:
        """Every pod without a node gets one: the one it is made for, or any."""
        names = [n.metadata.name for n in self.view.nodes()]
        for pod in self.view.pods_on(""):
            bound = copy_of(pod)
            required = pod.spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution
            fixed = [v for t in required.node_selector_terms for f in t.match_fields for v in f.values]
            bound.spec.node_name = fixed[0] if fixed else self.rng.choice(names)
            self.put(bound)

    def ready(self, pod: Pod, ready: bool = True) -> None:
        """The pod runs, and is ready or not."""
        told = copy_of(pod)
        told.status.phase = "Running"
        set_condition(told.status.conditions, "Ready", "True" if ready else "False", now=self.now)
        self.put(told)

    def ends(self, pod: Pod, exit_code: int = 0) -> None:
        """The pod's container ends for good."""
        told = copy_of(pod)
        told.status.phase = "Failed" if exit_code else "Succeeded"
        set_condition(told.status.conditions, "Ready", "False", now=self.now)
        state = told.status.container_statuses.add(name=pod.spec.containers[0].name).state.terminated
        state.exit_code = exit_code
        state.finished_at.CopyFrom(to_timestamp(self.now))
        self.put(told)

    def gone(self, pod: Pod) -> None:
        """The host says that nothing of a deleted pod is left."""
        if not pod.metadata.finalizers:
            self.put(None, key_of(pod))
            return
        told = copy_of(pod)
        told.metadata.deletion_grace_period_seconds = 0
        if not is_terminal(pod):
            told.status.phase = "Failed"
        self.put(told)

    def obey(self) -> None:
        """Hosts do all that is asked: pods get ready, deleted ones go; until nothing changes."""
        while True:
            self.settle()
            self.bind()
            before = self.view.revision
            for pod in self.view.pods():
                if is_deleting(pod) and not (is_terminal(pod) and pod.metadata.finalizers):
                    self.gone(pod)
                elif pod.status.phase == "Pending" and pod.spec.node_name:
                    self.ready(pod)
            self.settle()
            if self.view.revision == before:
                return

    # ---- time and the loop

    def pass_time(self, seconds: float) -> None:
        """Moves the clock; keys whose delay is over come to be looked at."""
        self.now += round(seconds * SECOND)
        due = [item for item, when in self._later.items() if when <= self.now]
        for item in due:
            del self._later[item]
            self._add(item)

    def settle(self, most: int = 20_000) -> None:
        """Runs the controllers until none has anything to do."""
        for _ in range(most):
            if not self.step():
                return
        raise AssertionError(f"the controllers never rest: {self._queue[:5]}")

    def step(self, index: int = 0) -> bool:
        """One key of the queue; says whether there was one."""
        if not self._queue:
            return False
        number, key = self._queue.pop(index)
        plan = self.controllers[number].reconcile(key, self.view, self.now)
        if plan.writes:
            self._commit(plan.writes)
        if plan.requeue_after is not None:
            when = self.now + round(plan.requeue_after * SECOND)
            self._later[(number, key)] = min(when, self._later.get((number, key), when))
        return True

    def any_step(self) -> bool:
        """One key of the queue, whichever."""
        return self.step(self.rng.randrange(len(self._queue))) if self._queue else False

    def put(self, obj: Object | None, key: Key | None = None) -> None:
        """A commit of somebody else."""
        name = key if key is not None else key_of(obj) if obj is not None else Key("", "", "")
        held = self.view.get(name)
        self._commit([Write(name, obj, revision_of(held) if held is not None else 0)])

    def _commit(self, writes: Sequence[Write]) -> None:
        revision = self.view.revision + 1
        assert len({w.key for w in writes}) == len(writes), f"one object twice in a commit: {writes}"
        events = []
        for write in writes:
            held = self.view.get(write.key)
            have = revision_of(held) if held is not None else 0
            assert write.expect in (None, have), f"{write.key} is at {have}, not {write.expect}"
            stored = None
            if write.object is not None:
                stored = copy_of(write.object)
                stored.metadata.resource_version = str(revision)
            events.append(Event(revision, write.key, stored, held))
        self.view.apply(events)
        self.watch(self.view)
        for number, controller in enumerate(self.controllers):
            for event in events:
                for key in controller.keys(event):
                    self._add((number, key))

    def _add(self, item: tuple[int, Key]) -> None:
        if item not in self._queue:
            self._queue.append(item)

    # ---- questions

    def pods(self, *, active: bool = True) -> list[Pod]:
        """Pods by name; without those that have ended or are going, unless asked for."""
        found = sorted(self.view.pods(), key=lambda p: p.metadata.name)
        return [p for p in found if not active or not (is_deleting(p) or is_terminal(p))]

    def get(self, kind: str, name: str) -> Object:
        """An object that must be there."""
        found = self.view.get(Key(kind, "default", name))
        assert found is not None, f"there is no {kind} {name}"
        return found

    def events(self, kind: str) -> list[str]:
        """Reasons of the Events about a kind."""
        return [
            e.reason  # type: ignore[union-attr] # of_kind("Event") are Events
            for e in self.view.of_kind("Event")
            if e.involved_object.kind == kind  # type: ignore[union-attr]
        ]


def _node(name: str) -> Node:
    node = Node(api_version="v1", kind="Node")
    node.metadata.name = name
    node.metadata.labels["kubernetes.io/hostname"] = name
    node.status.conditions.append(NodeCondition(type="Ready", status="True"))
    return node
