"""StatefulSets: pods with a name, an order and claims of their own (C8, C9).

Rule: pure. There is never a second pod of a name: one that is asked to go is waited for until its host, or who removes
the object by force, says that it is gone. Beyond Kubernetes: a pod that is not ready and not of the template it should
be is replaced at once, so that a broken rollout can be mended by applying a better template.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from mesh.controllers import revisions
from mesh.controllers.children import Step, claim, may_be_orphaned, owners_named, pod_from
from mesh.controllers.claims import claims_of, ensure, retain
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.pods import is_deleting, is_ready, is_terminal
from mesh.model.workloads import REVISION_HASH, available_in, is_available, share
from mesh.reconcile.plan import NOTHING, Plan
from mesh.store.port import Event, Write
from mesh.v1.apps_pb2 import StatefulSet
from mesh.v1.core_pb2 import Pod, Volume
from mesh.view import View

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"


class StatefulSets:
    """A key of kind Pod without a name stands for the orphans of a namespace."""

    name = "statefulsets"

    def keys(self, event: Event) -> Iterable[Key]:
        """The set of the event."""
        key = event.key
        if key.kind == "StatefulSet":
            return (key,) if event.object is not None else ()
        if key.kind not in ("Pod", "ControllerRevision"):
            return ()
        found = [Key(kind, key.namespace, name) for kind, name in owners_named(event, ("StatefulSet",))]
        return [*found, Key("Pod", key.namespace, "")] if may_be_orphaned(event) else found

    def reconcile(self, key: Key, view: View, now_ns: int) -> Plan:
        """The next step of one set, or the adoption of orphans."""
        if key.kind == "Pod":
            step = Step(view, now_ns)
            for each in view.of_kind("StatefulSet", key.namespace):
                if isinstance(each, StatefulSet):
                    claim(each, step, orphans=True)
            return Plan(list({write.key: write for write in step.writes}.values()))
        held = view.get(key)
        return _reconcile(held, view, now_ns) if isinstance(held, StatefulSet) else NOTHING


def _reconcile(held: StatefulSet, view: View, now: int) -> Plan:
    step = Step(view, now)
    pods = claim(held, step, orphans=held.status.observed_generation != held.metadata.generation)
    known = revisions.look(held, step)
    if step.writes or known.update is None:
        return Plan(_with_collision(held, known, step))
    look = _Look(held, pods, known, known.update.metadata.name, step)
    if not held.metadata.HasField("deletion_timestamp"):
        look.act()
        if not step.writes:
            retain(held, step)
        if not step.writes:
            live = {revisions.revision_name(held, p) for p in pods} | {look.current}
            revisions.forget(held, known, live, step)
    step.put(held, look.status())
    step.look_in(available_in(pods, held.spec.min_ready_seconds, now))
    return Plan(step.writes, step.again)


def _with_collision(held: StatefulSet, known: revisions.Revisions, step: Step) -> list[Write]:
    if known.collisions != held.status.collision_count:
        wanted = copy_of(held)
        wanted.status.collision_count = known.collisions
        step.put(held, wanted)
    return step.writes


@dataclass(slots=True)
class _Look:
    """One look at one set: its pods by ordinal, those it should have and those it should not."""

    held: StatefulSet
    pods: list[Pod]
    known: revisions.Revisions
    update: str
    step: Step
    current: str = field(init=False)
    by_ordinal: dict[int, Pod] = field(init=False)

    def __post_init__(self) -> None:
        self.current = self.held.status.current_revision or self.update
        found = ((ordinal_of(p, self.held), p) for p in self.pods)
        self.by_ordinal = {n: p for n, p in found if n is not None}

    @property
    def ordinals(self) -> range:
        """The ordinals that there should be."""
        start = self.held.spec.ordinals.start
        return range(start, start + self.held.spec.replicas)

    @property
    def _ordered(self) -> bool:
        return self.held.spec.pod_management_policy != "Parallel"

    # ---- the steps

    def act(self) -> None:
        """Makes what is missing, then removes what is too much, then replaces what is of an old template."""
        if self._make_missing() and self._remove_surplus():
            self._roll()

    def _make_missing(self) -> bool:
        """Whether every ordinal has a healthy pod, or need not be waited for."""
        for ordinal in self.ordinals:
            pod = self.by_ordinal.get(ordinal)
            if pod is None:
                if not self._make(ordinal):
                    self.step.look_in(10.0)
                    return False
                if self._ordered:
                    return False
            elif not is_deleting(pod) and self._is_to_replace(pod, ordinal):
                self.step.remove(self.held, pod)
                if self._ordered:
                    return False
            elif self._ordered and not self._is_healthy(pod):
                return False
        return True

    def _remove_surplus(self) -> bool:
        """Whether nothing is too much, or need not be waited for; the largest ordinal goes first."""
        surplus = sorted((n for n in self.by_ordinal if n not in self.ordinals), reverse=True)
        if self._ordered and any(is_deleting(self.by_ordinal[n]) for n in surplus):
            return False  # one at a time, whoever asked it to go
        unhealthy = [n for n in sorted(self.by_ordinal) if not self._is_healthy(self.by_ordinal[n])]
        for ordinal in surplus:
            pod = self.by_ordinal[ordinal]
            if is_deleting(pod):
                continue
            if self._ordered and not self._is_healthy(pod) and ordinal != unhealthy[0]:
                return False
            self.step.remove(self.held, pod)
            if self._ordered:
                return False
        return True

    def _roll(self) -> None:
        strategy = self.held.spec.update_strategy
        if strategy.type != "RollingUpdate":
            return
        least = self.ordinals.start + strategy.rolling_update.partition
        allowed = 1
        if strategy.rolling_update.HasField("max_unavailable"):
            allowed = max(1, share(strategy.rolling_update.max_unavailable, self.held.spec.replicas, up=False))
        allowed -= sum(not self._is_healthy(self.by_ordinal[n]) for n in self.ordinals if n in self.by_ordinal)
        for ordinal in reversed([n for n in self.ordinals if n >= least]):
            pod = self.by_ordinal.get(ordinal)
            if allowed <= 0 or pod is None:
                return
            if not is_deleting(pod) and self._revision(pod) != self.update:
                self.step.remove(self.held, pod)
                allowed -= 1

    # ---- one pod

    def _is_to_replace(self, pod: Pod, ordinal: int) -> bool:
        """Whether the pod has ended, or is broken and not of the template that it should be."""
        if is_terminal(pod):
            return True
        if self.held.spec.update_strategy.type != "RollingUpdate" or is_ready(pod):
            return False
        if self._ordered and any(is_deleting(p) for p in self.pods):
            return False  # one at a time
        return self._revision(pod) != self._target(ordinal) and self._target(ordinal) == self.update

    def _target(self, ordinal: int) -> str:
        """The revision that the pod of an ordinal is made from."""
        strategy = self.held.spec.update_strategy
        below = ordinal < self.ordinals.start + strategy.rolling_update.partition
        return self.current if strategy.type == "RollingUpdate" and below else self.update

    def _is_healthy(self, pod: Pod) -> bool:
        if is_deleting(pod) or pod.status.phase != "Running" or not is_ready(pod):
            return False
        return is_available(pod, self.held.spec.min_ready_seconds, self.step.now)

    def _revision(self, pod: Pod) -> str:
        return revisions.revision_name(self.held, pod)

    def _make(self, ordinal: int) -> bool:
        revision = self._target(ordinal)
        if not ensure(self.held, ordinal, self.step):
            return False
        name = f"{self.held.metadata.name}-{ordinal}"
        template = self.known.template(revision, self.held.spec.template)
        labels = {REVISION_HASH: revision, POD_NAME: name, POD_INDEX: str(ordinal)}
        pod = pod_from(template, self.held, name, labels)
        pod.spec.hostname, pod.spec.subdomain = name, self.held.spec.service_name
        if not pod.spec.subdomain:
            pod.spec.ClearField("subdomain")
        claims = claims_of(self.held, ordinal)
        kept = [v for v in pod.spec.volumes if v.name not in claims]
        del pod.spec.volumes[:]
        pod.spec.volumes.extend(kept)
        for volume, claim_name in claims.items():
            made = Volume(name=volume)
            made.persistent_volume_claim.claim_name = claim_name
            pod.spec.volumes.append(made)
        return self.step.make(self.held, pod)

    # ---- status

    def status(self) -> StatefulSet:
        """The set with its counts; the present template is the current one once every pod is of it and ready."""
        wanted = copy_of(self.held)
        status = wanted.status
        alive = [p for p in self.pods if not is_terminal(p)]
        status.replicas = len(alive)
        status.ready_replicas = sum(is_ready(p) and not is_deleting(p) for p in alive)
        status.available_replicas = sum(is_available(p, self.held.spec.min_ready_seconds, self.step.now) for p in alive)
        status.updated_replicas = sum(self._revision(p) == self.update and not is_deleting(p) for p in alive)
        status.observed_generation = self.held.metadata.generation
        replicas = self.held.spec.replicas
        done = status.updated_replicas == status.replicas == status.ready_replicas == replicas
        rolls = self.held.spec.update_strategy.type == "RollingUpdate"
        status.current_revision = self.update if done and rolls else self.current
        status.update_revision = self.update
        status.current_replicas = sum(
            self._revision(p) == status.current_revision and not is_deleting(p) for p in alive
        )
        if self.known.collisions:
            status.collision_count = self.known.collisions
        return wanted


def ordinal_of(pod: Pod, held: StatefulSet) -> int | None:
    """The pod's number in its set; None when its name is not of it."""
    prefix, _, number = pod.metadata.name.rpartition("-")
    return int(number) if prefix == held.metadata.name and number.isdigit() else None
