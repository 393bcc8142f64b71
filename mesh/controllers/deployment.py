"""Deployments: one ReplicaSet for each template, and the way from the old ones to the new one (C3-C7).

Rule: pure; the numbers come from `rollout`, counted on the pods themselves and not on what a ReplicaSet last said of
them, so a promise about availability holds at every revision. One step at a time: its own writes come back first.
"""

from collections.abc import Iterable

from mesh.controllers import rollout
from mesh.controllers.children import Step, age, deletion, owners_named, pods_of
from mesh.controllers.progress import describe
from mesh.controllers.rollout import Count
from mesh.model.annotations import counted
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.pods import is_terminal
from mesh.model.selectors import matches
from mesh.model.workloads import (
    REVISION,
    TEMPLATE_HASH,
    available_in,
    controller_of,
    is_active,
    is_available,
    is_controlled_by,
    owner_reference,
    same_template,
    template_hash,
)
from mesh.reconcile.plan import NOTHING, Plan
from mesh.store.port import Event
from mesh.v1.apps_pb2 import Deployment, ReplicaSet
from mesh.v1.core_pb2 import Pod
from mesh.view import View

DESIRED = "deployment.kubernetes.io/desired-replicas"
LIMIT = "deployment.kubernetes.io/max-replicas"
_OWN = (REVISION, DESIRED, LIMIT, "mesh/last-applied-configuration")  # annotations that are not handed down


class Deployments:
    """See the module."""

    name = "deployments"

    def keys(self, event: Event) -> Iterable[Key]:
        """The Deployment of the event: itself, or that of a ReplicaSet; a pod's comes with its ReplicaSet's status."""
        if event.key.kind == "Deployment":
            return (event.key,) if event.object is not None else ()
        if event.key.kind == "ReplicaSet":
            return [Key(kind, event.key.namespace, name) for kind, name in owners_named(event, ("Deployment",))]
        return ()

    def reconcile(self, key: Key, view: View, now_ns: int) -> Plan:
        """The next step of one Deployment."""
        held = view.get(key)
        if not isinstance(held, Deployment):
            return NOTHING
        step = Step(view, now_ns)
        sets = _sets(held, step)
        if step.writes:
            return Plan(step.writes)
        look = _Look(held, sets, step)
        collisions = held.status.collision_count
        if not held.metadata.HasField("deletion_timestamp"):
            collisions = look.act()
        wanted = copy_of(held)
        if collisions:
            wanted.status.collision_count = collisions
        if look.new is not None and (revision := look.new.metadata.annotations.get(REVISION)):
            wanted.metadata.annotations[REVISION] = revision
        describe(wanted, look.new, look.old, look.pods, step)
        step.put(held, wanted)
        every = [p for pods in look.pods.values() for p in pods]
        step.look_in(available_in(every, held.spec.min_ready_seconds, now_ns))
        return Plan(step.writes, step.again)


def _sets(held: Deployment, step: Step) -> list[ReplicaSet]:
    """The Deployment's ReplicaSets, oldest first; orphans that it selects are adopted."""
    mine = [s for s in step.view.children(held.metadata.uid) if isinstance(s, ReplicaSet) and is_controlled_by(s, held)]
    if held.status.observed_generation != held.metadata.generation:
        for orphan in step.view.of_kind("ReplicaSet", held.metadata.namespace):
            if not isinstance(orphan, ReplicaSet) or controller_of(orphan.metadata) is not None:
                continue
            if matches(held.spec.selector, orphan.metadata.labels) and not held.metadata.HasField("deletion_timestamp"):
                adopted = copy_of(orphan)
                adopted.metadata.owner_references.append(owner_reference(held))
                step.put(orphan, adopted)
    return sorted((s for s in mine if not s.metadata.HasField("deletion_timestamp")), key=age)


class _Look:
    """One look at one Deployment: its sets and their pods as of one revision."""

    def __init__(self, held: Deployment, sets: list[ReplicaSet], step: Step) -> None:
        self.held, self.step = held, step
        self.pods: dict[str, list[Pod]] = {s.metadata.name: pods_of(s, step.view) for s in sets}
        self.new = next((s for s in sets if same_template(s.spec.template, held.spec.template)), None)
        self.old = [s for s in sets if s is not self.new]

    def act(self) -> int:
        """Plans the next step; returns how many names of ReplicaSets were taken."""
        held = self.held
        if self._is_scaled():
            self._scale()
        elif not held.spec.paused:
            if self.new is None:
                return self._begin()
            if not self._renew():
                self._roll()
        if self.new is not None and not self.step.writes:
            self._forget()
        return held.status.collision_count

    # ---- the new set

    def _begin(self) -> int:
        held = self.held
        if held.spec.strategy.type == "Recreate" and self._stop_all():
            return held.status.collision_count
        collisions = held.status.collision_count
        name = f"{held.metadata.name}-{template_hash(held.spec.template, collisions)}"
        if self.step.view.get(Key("ReplicaSet", held.metadata.namespace, name)) is not None:
            return collisions + 1
        fresh = self._fresh(name)
        fresh.spec.replicas = rollout.grow(held, Count(name, 0), self._counts(self.old))
        fresh.metadata.annotations[REVISION] = str(self._last_revision() + 1)
        self._annotate(fresh)
        self.step.make(held, fresh, "replica set")
        return collisions

    def _fresh(self, name: str) -> ReplicaSet:
        held, digest = self.held, name.rpartition("-")[2]
        fresh = ReplicaSet()
        fresh.metadata.name, fresh.metadata.namespace = name, held.metadata.namespace
        fresh.metadata.labels.update(held.spec.template.metadata.labels)
        fresh.metadata.labels[TEMPLATE_HASH] = digest
        fresh.metadata.annotations.update({k: v for k, v in held.metadata.annotations.items() if k not in _OWN})
        fresh.metadata.owner_references.append(owner_reference(held))
        fresh.spec.min_ready_seconds = held.spec.min_ready_seconds
        fresh.spec.selector.CopyFrom(held.spec.selector)
        fresh.spec.selector.match_labels[TEMPLATE_HASH] = digest
        fresh.spec.template.CopyFrom(held.spec.template)
        fresh.spec.template.metadata.labels[TEMPLATE_HASH] = digest
        return fresh

    def _renew(self) -> bool:
        """The new set carries the newest revision, and the Deployment's annotations; says whether that was to do."""
        new = self.new
        assert new is not None  # noqa: S101 - the caller has looked
        wanted = copy_of(new)
        newest = max((_revision(s) for s in self.old), default=0)
        if _revision(new) <= newest:
            wanted.metadata.annotations[REVISION] = str(newest + 1)
        for name, text in self.held.metadata.annotations.items():
            if name not in _OWN:
                wanted.metadata.annotations[name] = text
        wanted.spec.min_ready_seconds = self.held.spec.min_ready_seconds
        self._annotate(wanted)
        if wanted == new:
            return False
        if wanted.spec != new.spec:
            wanted.metadata.generation += 1
        self.step.put(new, wanted)
        return True

    # ---- numbers

    def _roll(self) -> None:
        new = self.new
        assert new is not None  # noqa: S101 - the caller has looked
        if self.held.spec.strategy.type == "Recreate" and self._stop_all():
            return
        grown = rollout.grow(self.held, self._count(new), self._counts(self.old))
        if grown != new.spec.replicas:
            self._resize(new, grown)
            return
        for name, wanted in rollout.shrink(self.held, self._count(new), self._counts(self.old)).items():
            self._resize(next(s for s in self.old if s.metadata.name == name), wanted)

    def _stop_all(self) -> bool:
        """Recreate: old sets go to 0, and their pods must be gone (C4); says whether there is any left."""
        for old in self.old:
            if old.spec.replicas:
                self._resize(old, 0)
        return any(not is_terminal(p) for s in self.old for p in self.pods[s.metadata.name])

    def _is_scaled(self) -> bool:
        """Whether the replicas asked for are not those that a set with pods was scaled by."""
        return any(
            s.spec.replicas and s.metadata.annotations.get(DESIRED, str(self.held.spec.replicas))
            != str(self.held.spec.replicas)
            for s in self._all()
        )  # fmt: skip

    def _scale(self) -> None:
        active = [s for s in self._all() if s.spec.replicas]
        if len(active) == 1:
            self._resize(active[0], self.held.spec.replicas)
        elif self._is_saturated():
            for old in self.old:
                if old.spec.replicas:
                    self._resize(old, 0)
            if self.new is not None:
                self._resize(self.new, self.held.spec.replicas)
        elif self.held.spec.strategy.type == "RollingUpdate":
            wanted = rollout.proportional(self.held, self._counts(self._all()), self.held.status.replicas)
            for each in active:
                self._resize(each, wanted.get(each.metadata.name, each.spec.replicas))
        elif self.new is not None:
            self._resize(self.new, self.held.spec.replicas)

    def _is_saturated(self) -> bool:
        """Whether the new set alone is what was asked for, and all of it is available."""
        new = self.new
        if new is None:
            return False
        asked = new.metadata.annotations.get(DESIRED, "")
        return str(new.spec.replicas) == asked and self._count(new).available >= new.spec.replicas

    def _resize(self, held: ReplicaSet, replicas: int) -> None:
        wanted = copy_of(held)
        self._annotate(wanted)
        if replicas != held.spec.replicas:
            wanted.spec.replicas = replicas
            wanted.metadata.generation += 1
            way = "up" if replicas > held.spec.replicas else "down"
            self.step.tell(
                self.held,
                "ScalingReplicaSet",
                f"Scaled {way} replica set {held.metadata.name} from {held.spec.replicas} to {replicas}",
            )
        self.step.put(held, wanted)

    def _annotate(self, target: ReplicaSet) -> None:
        replicas = self.held.spec.replicas
        target.metadata.annotations[DESIRED] = str(replicas)
        target.metadata.annotations[LIMIT] = str(replicas + rollout.surge_of(self.held))

    # ---- the past

    def _forget(self) -> None:
        """Removes empty sets beyond the history limit, oldest revision first (C5)."""
        empty = [s for s in self.old if not s.spec.replicas and not self.pods[s.metadata.name]]
        beyond = len(empty) - self.held.spec.revision_history_limit
        for old in sorted(empty, key=_revision)[: max(0, beyond)]:
            self.step.writes += deletion(old, self.step.view, self.step.now)

    def _last_revision(self) -> int:
        return max((_revision(s) for s in self.old), default=0)

    def _all(self) -> list[ReplicaSet]:
        return sorted([*self.old, *([self.new] if self.new is not None else [])], key=age)

    def _counts(self, sets: Iterable[ReplicaSet]) -> list[Count]:
        return [self._count(s) for s in sets]

    def _count(self, held: ReplicaSet) -> Count:
        minimum = self.held.spec.min_ready_seconds
        pods = self.pods[held.metadata.name]
        return Count(
            held.metadata.name,
            held.spec.replicas,
            available=sum(is_available(p, minimum, self.step.now) for p in pods),
            present=sum(is_active(p) for p in pods),
            limit=counted(held.metadata.annotations.get(LIMIT)) or 0,
        )


def _revision(held: ReplicaSet) -> int:
    return counted(held.metadata.annotations.get(REVISION)) or 0
