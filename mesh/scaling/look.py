"""One look at one HorizontalPodAutoscaler: what the figures ask for, held to its behaviour, as writes (C16).

Rule: pure. The target's replicas are the only thing of the target that is written; a figure that is not known never
makes fewer pods.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from mesh.controllers.children import Step
from mesh.model import quantity, selectors
from mesh.model.conditions import set_condition
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.times import whole_seconds
from mesh.model.workloads import selector_of
from mesh.scaling.behavior import Change, Memory, steady
from mesh.scaling.count import Tolerance
from mesh.scaling.metrics import Missing, Proposal, Scene, propose
from mesh.scaling.readings import Readings
from mesh.store.port import Write
from mesh.v1.apps_pb2 import Deployment, ReplicaSet, ReplicationController, StatefulSet
from mesh.v1.core_pb2 import Pod
from mesh.v1.policy_pb2 import HorizontalPodAutoscaler, HPAScalingRules
from mesh.view import View

Target = Deployment | ReplicaSet | ReplicationController | StatefulSet
SCALED = ("Deployment", "ReplicaSet", "ReplicationController", "StatefulSet")
_GOT = ("SucceededGetScale", "the HPA controller was able to get the target's current scale")


@dataclass(frozen=True, slots=True)
class Looked:
    """What to write, and what to remember once it is written."""

    writes: Sequence[Write]
    memory: Memory


def look(key: Key, view: View, readings: Readings, memory: Memory, now: int) -> Looked:
    """The next step of one autoscaler."""
    held = view.get(key)
    if not isinstance(held, HorizontalPodAutoscaler) or held.metadata.HasField("deletion_timestamp"):
        return Looked((), Memory())
    step = Step(view, now)
    wanted = copy_of(held)
    memory = _Look(held, wanted, step, readings).memory(memory)
    wanted.status.observed_generation = held.metadata.generation
    step.put(held, wanted)
    return Looked(step.writes, memory)


def target_of(held: HorizontalPodAutoscaler, view: View) -> Target | None:
    """What it scales."""
    ref = held.spec.scale_target_ref
    found = view.get(Key(ref.kind, held.metadata.namespace, ref.name))
    return found if isinstance(found, Target) else None


def pods_of(target: Target, view: View) -> list[Pod]:
    """The pods that are measured: those that the target selects."""
    selector, namespace = selector_of(target), target.metadata.namespace
    found = view.pods_with(namespace, selector.match_labels) if selector.match_labels else view.of_kind(
        "Pod", namespace
    )  # fmt: skip
    return [p for p in found if isinstance(p, Pod) and selectors.matches(selector, p.metadata.labels)]


class _Look:
    """Of one autoscaler, at one revision; `wanted` is the successor whose status it writes."""

    def __init__(
        self, held: HorizontalPodAutoscaler, wanted: HorizontalPodAutoscaler, step: Step, readings: Readings
    ) -> None:
        self.held, self.wanted, self.step, self.readings = held, wanted, step, readings

    def memory(self, before: Memory) -> Memory:
        """Takes the step; returns what to remember."""
        held, status = self.held, self.wanted.status
        target = target_of(held, self.step.view)
        if target is None:
            ref = held.spec.scale_target_ref
            self._fail("AbleToScale", "FailedGetScale",
                       f"the HPA controller was unable to get the target's current scale: "
                       f'there is no {ref.kind} "{ref.name}"')  # fmt: skip
            return Memory()
        self._say("AbleToScale", "True", *_GOT)
        current = target.spec.replicas
        status.current_replicas = target.status.replicas
        if not before.recommended:
            before = Memory((Change(self.step.now, current),))
        if others := self._others():
            self._fail("ScalingActive", "AmbiguousSelector", f"the target is scaled by several autoscalers: {others}")
            return before
        if not current and held.spec.min_replicas:
            message = "scaling is disabled since the replica count of the target is zero"
            self._say("ScalingActive", "False", "ScalingDisabled", message)
            status.desired_replicas = 0
            return before
        desired, why, before = self._desired(target, current, before)
        if desired is None:
            return before
        status.desired_replicas = desired
        if desired == current:
            return before
        self._scale(target, desired, why)
        return before.scaled(self.step.now, current, desired)

    def _desired(self, target: Target, current: int, before: Memory) -> tuple[int | None, str, Memory]:
        """How many there shall be, and why; None when that is not known."""
        spec = self.held.spec
        if current > spec.max_replicas:
            return spec.max_replicas, "Current number of replicas above Spec.MaxReplicas", before
        if current < spec.min_replicas:
            return spec.min_replicas, "Current number of replicas below Spec.MinReplicas", before
        best = self._best(target, current)
        if best is None:
            return None, "", before
        steadied = steady(self.held, current, best.replicas, before, self.step.now)
        self._say("AbleToScale", "True", *steadied.able)
        self._say("ScalingLimited", "True" if steadied.limited else "False", *steadied.limit)
        why = f"{best.name} above target" if steadied.replicas > current else "All metrics below target"
        return steadied.replicas, why, steadied.memory

    def _best(self, target: Target, current: int) -> Proposal | None:
        """The metric that asks for most; None when too little is known."""
        view, spec = self.step.view, self.held.spec
        tolerance = Tolerance(_tolerance(spec.behavior.scale_up), _tolerance(spec.behavior.scale_down))
        scene = Scene(view, self.held.metadata.namespace, pods_of(target, view), current, target.status.replicas,
                      self.readings, self.step.now, tolerance)  # fmt: skip
        found: list[Proposal] = []
        missing: list[Missing] = []
        del self.wanted.status.current_metrics[:]
        for metric in spec.metrics:
            try:
                found.append(propose(metric, scene))
            except Missing as error:
                missing.append(error)
        for reason, message in dict.fromkeys((e.reason, e.message) for e in missing):
            self.step.tell(self.held, reason, message, warning=True)
        self.wanted.status.current_metrics.extend(p.status for p in found)
        best = max(found, key=lambda p: p.replicas, default=None)
        if missing and (best is None or best.replicas < current):
            message = f"the HPA was unable to compute the replica count: {missing[0].message}"
            self._say("ScalingActive", "False", missing[0].reason, message)
            return None
        assert best is not None  # noqa: S101 - there is at least one metric, and it is known or missing
        message = f"the HPA was able to successfully calculate a replica count from {best.name}"
        self._say("ScalingActive", "True", "ValidMetricFound", message)
        return best

    def _scale(self, target: Target, desired: int, why: str) -> None:
        scaled = copy_of(target)
        scaled.spec.replicas = desired
        scaled.metadata.generation += 1
        self.step.put(target, scaled)
        self.wanted.status.last_scale_time.CopyFrom(whole_seconds(self.step.now))
        message = f"the HPA controller was able to update the target scale to {desired}"
        self._say("AbleToScale", "True", "SucceededRescale", message)
        self.step.tell(self.held, "SuccessfulRescale", f"New size: {desired}; reason: {why}")

    def _others(self) -> str:
        """Who else scales the same target."""
        every = self.step.view.of_kind("HorizontalPodAutoscaler", self.held.metadata.namespace)
        mine = self.held.spec.scale_target_ref
        same = [
            h.metadata.name
            for h in every
            if isinstance(h, HorizontalPodAutoscaler)
            and (h.spec.scale_target_ref.kind, h.spec.scale_target_ref.name) == (mine.kind, mine.name)
        ]
        return ", ".join(same) if len(same) > 1 else ""

    def _fail(self, type_: str, reason: str, message: str) -> None:
        self._say(type_, "False", reason, message)
        self.step.tell(self.held, reason, message, warning=True)

    def _say(self, type_: str, status: str, reason: str, message: str) -> None:
        conditions = self.wanted.status.conditions
        set_condition(conditions, type_, status, now=self.step.now, reason=reason, message=message)


def _tolerance(rules: HPAScalingRules) -> Fraction:
    if not rules.HasField("tolerance"):
        return Fraction(1, 10)
    return Fraction(quantity.parse(rules.tolerance).nanos, 10**9)
