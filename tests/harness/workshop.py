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
from mesh.model.kinds import Object, key_of
from mesh.model.manifest import load
from mesh.model.pods import is_deleting, is_terminal
from mesh.model.times import SECOND, to_timestamp
from mesh.reconcile.plan import Controller
from mesh.simulate.machine import Machine
from mesh.store.port import Snapshot
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
        self.machine = Machine(View(Snapshot(1, [objects.namespace("default")])), everyone(), START)
        self.machine.watch = lambda _events: self.watch(self.view)
        self.rng = random.Random(seed)
        self.watch: Callable[[View], None] = lambda _view: None
        for name in nodes:
            self.put(ready_node(name))
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

    @property
    def view(self) -> View:
        """Everything as of the last commit."""
        return self.machine.view

    @property
    def now(self) -> int:
        """Nanoseconds since the epoch."""
        return self.machine.now

    def pass_time(self, seconds: float) -> None:
        """Moves the clock; keys whose delay is over come to be looked at."""
        self.machine.move_to(self.machine.now + round(seconds * SECOND))

    def settle(self, most: int = 20_000) -> None:
        """Runs the controllers until none has anything to do."""
        self.machine.settle(most)

    def step(self, index: int = 0) -> bool:
        """One key of the queue; says whether there was one."""
        return self.machine.step(index)

    def any_step(self) -> bool:
        """One key of the queue, whichever."""
        waiting = len(self.machine.waiting())
        return self.machine.step(self.rng.randrange(waiting)) if waiting else False

    def put(self, obj: Object | None, key: Key | None = None) -> None:
        """A commit of somebody else."""
        self.machine.put(obj, key)

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


def ready_node(name: str) -> Node:
    """A node that is ready."""
    node = Node(api_version="v1", kind="Node")
    node.metadata.name = name
    node.metadata.labels["kubernetes.io/hostname"] = name
    node.status.conditions.append(NodeCondition(type="Ready", status="True"))
    return node
