"""Hosts that are made up: what they do with their pods, and when.

Rule: pure. A pod runs so long after it was bound and is gone so long after it was asked to go; a pod of a Job ends well
after its time. A host that is dead does nothing, and is said to be silent after a while. Nothing here knows images,
probes' answers or crashes: pods are taken to be fine.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from mesh.controllers.nodes import silent
from mesh.model.conditions import set_condition
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.kinds import key_of
from mesh.model.pods import grace_seconds, is_deleting, is_mirror, is_terminal
from mesh.model.times import SECOND, to_timestamp, whole_seconds
from mesh.model.workloads import controller_of
from mesh.simulate.machine import Machine
from mesh.store.port import Event
from mesh.v1.core_pb2 import Pod


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast hosts are, in seconds. `start`: from binding to running; `stop`: at most, from asking to gone; `job`:
    how long pods of Jobs run; `silence`: until a dead host is said to be."""

    start: float = 1.0
    stop: float = 2.0
    job: float = 30.0
    silence: float = 4.0


class Hosts:
    """What the machine's hosts have still to do; it looks at every commit."""

    def __init__(self, machine: Machine, pace: Pace) -> None:
        self._machine = machine
        self._pace = pace
        self._due: list[tuple[int, int, str, Key, str]] = []  # when, a number, what, of which object, of which uid
        self._count = 0
        self._told: set[tuple[str, str]] = set()
        self.dead: set[str] = set()

    def begin(self) -> None:
        """Takes up what is there already."""
        for pod in sorted(self._machine.view.pods(), key=key_of):
            self._consider(pod)

    def look(self, events: Sequence[Event]) -> None:
        """Pods that are bound or asked to go have something to do."""
        for event in events:
            if isinstance(event.object, Pod):
                self._consider(event.object)

    def die(self, name: str) -> None:
        """The host's power is off."""
        self.dead.add(name)
        self._later(self._pace.silence, "silent", Key("Node", "", name), "")

    def next_due(self) -> int | None:
        """When the next of them is done."""
        return self._due[0][0] if self._due else None

    def act(self) -> None:
        """Does what is due by now."""
        while self._due and self._due[0][0] <= self._machine.now:
            _, _, what, key, uid = heapq.heappop(self._due)
            if what == "silent":
                self._machine.commit(silent(key.name, self._machine.view, self._machine.now))
                continue
            pod = self._machine.view.pod(key.namespace, key.name)
            if pod is not None and pod.metadata.uid == uid and pod.spec.node_name not in self.dead:
                self._do(what, pod)

    def _consider(self, pod: Pod) -> None:
        if not pod.spec.node_name or is_mirror(pod):
            return
        if is_deleting(pod):
            if not (is_terminal(pod) and pod.metadata.finalizers):
                self._once(min(self._pace.stop, float(grace_seconds(pod))), "stop", pod)
        elif pod.status.phase == "Pending" or not pod.status.phase:
            self._once(self._pace.start + _delay(pod), "start", pod)
        elif pod.status.phase == "Running" and _ends(pod):
            self._once(self._pace.job, "end", pod)

    def _once(self, seconds: float, what: str, pod: Pod) -> None:
        if (what, pod.metadata.uid) not in self._told:
            self._told.add((what, pod.metadata.uid))
            self._later(seconds, what, key_of(pod), pod.metadata.uid)

    def _later(self, seconds: float, what: str, key: Key, uid: str) -> None:
        self._count += 1
        heapq.heappush(self._due, (self._machine.now + round(seconds * SECOND), self._count, what, key, uid))

    def _do(self, what: str, pod: Pod) -> None:
        if what == "stop" and not pod.metadata.finalizers:
            self._machine.put(None, key_of(pod))
            return
        if (what == "stop") != is_deleting(pod):
            return
        told = copy_of(pod)
        if what == "start":
            told.status.phase = "Running"
            told.status.start_time.CopyFrom(whole_seconds(self._machine.now))
            set_condition(told.status.conditions, "Ready", "True", now=self._machine.now)
        else:
            told.status.phase = "Failed" if what == "stop" else "Succeeded"
            set_condition(told.status.conditions, "Ready", "False", now=self._machine.now)
            for container in pod.spec.containers:
                state = told.status.container_statuses.add(name=container.name).state.terminated
                state.exit_code = 137 if what == "stop" else 0
                state.finished_at.CopyFrom(to_timestamp(self._machine.now))
        if what == "stop":
            told.metadata.deletion_grace_period_seconds = 0
        self._machine.put(told)


def _ends(pod: Pod) -> bool:
    owner = controller_of(pod.metadata)
    return owner is not None and owner.kind == "Job"


def _delay(pod: Pod) -> float:
    """How much later than running the pod is ready: its readiness probes wait so long."""
    waits = [c.readiness_probe.initial_delay_seconds for c in pod.spec.containers if c.HasField("readiness_probe")]
    return float(max(waits, default=0))
