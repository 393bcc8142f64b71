"""ControllerRevisions: what the templates of a DaemonSet or StatefulSet were, so that old ones can be told and undone.

Rule: pure. A revision is never changed but in its number: a template that comes back takes the newest number again.
"""

from dataclasses import dataclass

from mesh.controllers.children import Step, deletion
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.workloads import REVISION_HASH, is_controlled_by, owner_reference, same_template, template_hash
from mesh.v1.apps_pb2 import ControllerRevision, DaemonSet, StatefulSet
from mesh.v1.core_pb2 import Pod, PodTemplateSpec
from mesh.view import View

Owner = DaemonSet | StatefulSet


@dataclass(frozen=True, slots=True)
class Revisions:
    """All revisions of an owner, oldest first; `update` is the one of its present template."""

    all: list[ControllerRevision]
    update: ControllerRevision | None
    collisions: int

    def named(self, name: str) -> ControllerRevision | None:
        """The revision of this name."""
        return next((r for r in self.all if r.metadata.name == name), None)

    def template(self, name: str, default: PodTemplateSpec) -> PodTemplateSpec:
        """What the revision of this name kept; `default` when it is forgotten."""
        found = self.named(name)
        return found.data.spec.template if found is not None else default


def revisions_of(owner: Owner, view: View) -> list[ControllerRevision]:
    """The owner's revisions, oldest first."""
    found = [r for r in view.children(owner.metadata.uid) if isinstance(r, ControllerRevision)]
    return sorted((r for r in found if is_controlled_by(r, owner)), key=lambda r: (r.revision, r.metadata.name))


def look(owner: Owner, step: Step) -> Revisions:
    """The revisions; plans to keep the present template when it is new, or to give it the newest number again. An owner
    that is asked to go makes no more: it may wait for them to end, or to be nobody's."""
    held = revisions_of(owner, step.view)
    newest = held[-1].revision if held else 0
    update = next((r for r in reversed(held) if same_template(r.data.spec.template, owner.spec.template)), None)
    collisions = owner.status.collision_count
    if owner.metadata.HasField("deletion_timestamp"):
        return Revisions(held, update, collisions)
    if update is None:
        update, collisions = _keep(owner, newest + 1, collisions, step)
    elif update.revision < newest:
        again = copy_of(update)
        again.revision = newest + 1
        step.put(update, again)
    return Revisions(held, update, collisions)


def forget(owner: Owner, revisions: Revisions, live: set[str], step: Step) -> None:
    """Removes revisions that no pod is of, oldest first, beyond the history limit."""
    unused = [r for r in revisions.all if r.metadata.name not in live and r is not revisions.update]
    for old in unused[: max(0, len(unused) - owner.spec.revision_history_limit)]:
        step.writes += deletion(old, step.view, step.now)


def revision_name(owner: Owner, pod: Pod) -> str:
    """The name of the revision that the pod was made from; empty when it does not say."""
    label = pod.metadata.labels.get(REVISION_HASH, "")
    return label if label.startswith(owner.metadata.name) or not label else f"{owner.metadata.name}-{label}"


def _keep(owner: Owner, number: int, collisions: int, step: Step) -> tuple[ControllerRevision | None, int]:
    name = f"{owner.metadata.name}-{template_hash(owner.spec.template, collisions)}"
    if step.view.get(Key("ControllerRevision", owner.metadata.namespace, name)) is not None:
        return None, collisions + 1
    fresh = ControllerRevision(revision=number)
    fresh.metadata.name, fresh.metadata.namespace = name, owner.metadata.namespace
    fresh.metadata.labels.update(owner.spec.template.metadata.labels)
    fresh.metadata.labels[REVISION_HASH] = name.rpartition("-")[2]
    fresh.metadata.owner_references.append(owner_reference(owner))
    fresh.data.spec.template.CopyFrom(owner.spec.template)
    step.make(owner, fresh, "revision")
    return None, collisions
