"""Children of a workload: which are its own, how new ones are made, how they are asked to go.

Rule: pure. Names and uids of children follow from the owner and the revision that was read, so that the same step
taken twice is an AlreadyExists, never a twin.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mesh.admission.admit import Stamp, create, delete
from mesh.errors import MeshError
from mesh.model.fields import copy_of
from mesh.model.kinds import Object, key_of, revision_of
from mesh.model.times import from_timestamp
from mesh.model.workloads import Workload, controller_of, digits, is_controlled_by, owner_reference, selects
from mesh.reconcile.record import record
from mesh.store.port import Event, Write
from mesh.v1.core_pb2 import Pod, PodTemplateSpec
from mesh.view import View

MOST = 500  # children made or removed in one step (C1)
_NAME = 57  # characters of the owner's name in a child's


@dataclass(slots=True)
class Step:
    """What one look at one workload amounts to: writes, why children could not be made, when to look again."""

    view: View
    now: int
    writes: list[Write] = field(default_factory=list)
    failure: str = ""
    again: float | None = None

    def put(self, held: Object, wanted: Object) -> None:
        """Stores the successor of an object, unless nothing differs."""
        if wanted != held:
            self.writes.append(Write(key_of(held), wanted, revision_of(held)))

    def tell(self, about: Object, reason: str, message: str, *, warning: bool = False) -> None:
        """Records an Event about an object."""
        self.writes += record(self.view, about, reason, message, self.now, warning=warning)

    def look_in(self, seconds: float | None) -> None:
        """Looks again by time alone, no later than that."""
        if seconds is not None:
            self.again = seconds if self.again is None else min(self.again, seconds)

    def make(self, owner: Object, child: Object, what: str = "pod") -> bool:
        """Creates a child as a user would; what is refused is told and kept in `failure`."""
        uid = uuid.uuid5(uuid.NAMESPACE_OID, f"{owner.metadata.uid}/{child.metadata.name}/{self.view.revision}")
        try:
            made = create(child, self.view, Stamp(self.now, str(uid), "")).object
        except MeshError as error:
            # the name is another one each time, and what is said must not change by itself
            self.failure = error.message.replace(child.metadata.name, f"{owner.metadata.name}-…")
            self.tell(owner, "FailedCreate", f"Error creating: {self.failure}", warning=True)
            return False
        self.writes.append(Write(key_of(made), made, 0))
        self.tell(owner, "SuccessfulCreate", f"Created {what}: {made.metadata.name}")
        return True

    def remove(self, owner: Object, child: Object, what: str = "pod") -> None:
        """Asks a child to go the graceful way; nothing when it is asked already."""
        if writes := deletion(child, self.view, self.now):
            self.writes += writes
            self.tell(owner, "SuccessfulDelete", f"Deleted {what}: {child.metadata.name}")


def deletion(obj: Object, view: View, now: int, *, propagation: str = "Background") -> list[Write]:
    """The write that asks an object to go; none when it is asked already."""
    if obj.metadata.HasField("deletion_timestamp"):
        return []
    wanted = delete(obj, None, view, Stamp(now, "", ""), propagation=propagation).object
    return [] if wanted is obj else [Write(key_of(obj), wanted, revision_of(obj))]


def pod_from(template: PodTemplateSpec, owner: Object, name: str, labels: Mapping[str, str] | None = None) -> Pod:
    """The pod of a template, controlled by its owner."""
    pod = Pod(spec=template.spec)
    pod.metadata.labels.update(template.metadata.labels)
    pod.metadata.annotations.update(template.metadata.annotations)
    pod.metadata.finalizers.extend(template.metadata.finalizers)
    pod.metadata.labels.update(labels or {})
    pod.metadata.name, pod.metadata.namespace = name, owner.metadata.namespace
    pod.metadata.owner_references.append(owner_reference(owner))
    return pod


def fresh_name(owner: Object, view: View, salt: object) -> str:
    """A name for a child that nobody has had: the owner's, with five characters."""
    return f"{owner.metadata.name[:_NAME]}-{digits(f'{owner.metadata.uid}/{view.revision}/{salt}', 5)}"


# ---- whose is it --------------------------------------------------------------------------------------------------


def pods_of(owner: Object, view: View) -> list[Pod]:
    """The pods that `owner` controls, oldest first."""
    mine = [p for p in view.children(owner.metadata.uid) if isinstance(p, Pod) and is_controlled_by(p, owner)]
    return sorted(mine, key=age)


def age(obj: Object) -> tuple[int, str]:
    """Orders objects by when they were made, then by name."""
    return from_timestamp(obj.metadata.creation_timestamp), obj.metadata.name


def claim(owner: Workload, step: Step, *, orphans: bool) -> list[Pod]:
    """The owner's pods; those that it no longer selects are released, with `orphans` matching ones adopted (C1)."""
    mine = []
    for pod in pods_of(owner, step.view):
        if selects(owner, pod) or owner.metadata.HasField("deletion_timestamp"):
            mine.append(pod)
        else:
            step.put(pod, _without(pod, owner))
    if orphans and not owner.metadata.HasField("deletion_timestamp"):
        for pod in orphans_in(owner.metadata.namespace, step.view):
            if selects(owner, pod):
                adopted = copy_of(pod)
                adopted.metadata.owner_references.append(owner_reference(owner))
                step.put(pod, adopted)
                mine.append(pod)
    return mine


def orphans_in(namespace: str, view: View) -> list[Pod]:
    """Pods of a namespace that nobody controls and that are to stay."""
    pods = (p for p in view.of_kind("Pod", namespace) if isinstance(p, Pod))
    return [p for p in pods if controller_of(p.metadata) is None and not p.metadata.HasField("deletion_timestamp")]


def may_be_orphaned(event: Event) -> bool:
    """Whether a pod that nobody controls has just come to be, or to carry other labels."""
    pod, before = event.object, event.previous
    if not isinstance(pod, Pod) or controller_of(pod.metadata) is not None:
        return False
    if not isinstance(before, Pod):
        return True
    return before.metadata.labels != pod.metadata.labels or controller_of(before.metadata) is not None


def owners_named(event: Event, kinds: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Kind and name of the controllers, of these kinds, that an object has or had."""
    for obj in (event.object, event.previous):
        ref = controller_of(obj.metadata) if obj is not None else None
        if ref is not None and ref.kind in kinds:
            yield ref.kind, ref.name


def _without(pod: Pod, owner: Object) -> Pod:
    released = copy_of(pod)
    kept = [r for r in pod.metadata.owner_references if r.uid != owner.metadata.uid]
    del released.metadata.owner_references[:]
    released.metadata.owner_references.extend(kept)
    return released
