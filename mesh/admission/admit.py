"""Accepts, completes or refuses what users write: one pure function per verb.

Rule: admission never mutates what it is given and never reads a clock or random source; `Stamp` brings both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mesh.admission import accounts, applied, config, defaults, ingress, priority, workloads
from mesh.admission.allocate import DEFAULT_RANGES, Ranges
from mesh.admission.draft import Draft, subject_of
from mesh.errors import AlreadyExists, Conflict, Forbidden, Invalid, Violation
from mesh.model import leases, pods
from mesh.model.changes import merge_patch, three_way
from mesh.model.conditions import set_condition
from mesh.model.digest import LAST_APPLIED
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.kinds import Object, key_of, kind_of
from mesh.model.manifest import from_dict
from mesh.model.times import SECOND, from_timestamp, whole_seconds
from mesh.model.writing import to_dict
from mesh.v1.core_pb2 import Namespace, Node, Pod, Secret
from mesh.v1.net_pb2 import Ingress
from mesh.v1.policy_pb2 import PriorityClass
from mesh.view import View

FOREGROUND = "foregroundDeletion"  # finalizers of an object whose deletion concerns its children (C17)
ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What pure code can't make: the time (nanoseconds since the epoch), a fresh uid, random lower-case letters."""

    now: int
    uid: str
    suffix: str  # five characters for generateName
    ranges: Ranges = DEFAULT_RANGES  # what may be given out to Services


@dataclass(frozen=True, slots=True)
class Admitted:
    """What to store; `object` is the old one itself when nothing changes. Warnings are sentences for the user."""

    object: Object
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a delete does: store `object` (marked as being deleted), or remove it when None."""

    object: Object | None


def create(obj: Object, view: View, stamp: Stamp) -> Admitted:
    """The new object, complete; raises AlreadyExists, or Invalid with everything that is wrong.

    Several objects of one commit: each with a stamp of its own, and a view that has those before it.
    """
    draft = Draft(obj)
    draft.begin(stamp.suffix)
    draft.refuse_unserved()
    draft.refuse_unknown()
    if view.get(key_of(draft.object)) is not None:
        raise AlreadyExists(f"{draft.subject} exists already")
    draft.wrong += _check_namespace(draft.object, view)
    if isinstance(draft.object, Ingress):
        ingress.default(draft.object, view)
    draft.complete()
    if isinstance(draft.object, Pod):
        draft.wrong += priority.resolve(draft.object, view)
        draft.wrong += accounts.resolve(draft.object, view, stamp.uid)
        leases.date(draft.object, stamp.now)
    elif isinstance(draft.object, PriorityClass):
        draft.wrong += priority.check(draft.object, view)
    draft.place(view, stamp.ranges, stamp.uid)
    meta = draft.object.metadata
    meta.uid = stamp.uid
    meta.creation_timestamp.CopyFrom(whole_seconds(stamp.now))
    if "spec" in draft.object.DESCRIPTOR.fields_by_name:
        meta.generation = 1
    workloads.identify(draft.object)
    defaults.fill_status(draft.object)
    return Admitted(draft.object, tuple(draft.warnings))


def update(obj: Object, old: Object, view: View, stamp: Stamp) -> Admitted:
    """The object that replaces `old`; what only the mesh writes (status, uid, times) stays as it is in `old`.

    Raises Conflict when `obj` names another resourceVersion or uid than `old`'s (A8), and Invalid.
    """
    _check_same(obj, old)
    draft = Draft(obj)
    draft.refuse_unknown(old)
    draft.keep(old)
    draft.complete(old)
    draft.check_change(old)
    draft.place(view, stamp.ranges, stamp.uid)
    if isinstance(draft.object, Node) and isinstance(old, Node):
        defaults.date_taints(draft.object, old, stamp.now)
    elif isinstance(draft.object, Pod):
        leases.date(draft.object, stamp.now)
    unchanged = draft.object == old
    if not unchanged and draft.spec_differs(old):
        draft.object.metadata.generation = old.metadata.generation + 1
    return Admitted(old if unchanged else draft.object, tuple(draft.warnings))


def apply(obj: Object, old: Object | None, view: View, stamp: Stamp) -> Admitted:
    """Creates, or merges three ways: what was last applied, what is there, what `obj` says.

    Raises as `create` and `update` do; `object` is `old` itself when applying changes nothing.
    """
    if not obj.metadata.name:
        raise Invalid.of(
            subject_of(obj), [Violation("metadata.name", "is required to apply: generateName is for create")]
        )
    if old is not None:
        _check_same(obj, old)
    draft = Draft(obj)
    draft.refuse_unknown()
    draft.clean(old)
    if isinstance(draft.object, Secret):
        defaults.merge_string_data(draft.object)
    manifest = applied.manifest_of(draft.object)
    annotation = applied.remember(manifest)
    if old is None:
        draft.object.metadata.annotations[LAST_APPLIED] = annotation
        made = create(draft.object, view, stamp)
    else:
        merged = three_way(applied.recall(old), to_dict(old), manifest, obj.DESCRIPTOR)
        metadata = merged["metadata"]
        metadata["annotations"] = {**metadata.get("annotations", {}), LAST_APPLIED: annotation}
        made = update(from_dict(merged, subject_of(old)), old, view, stamp)
        if old.metadata.HasField("deletion_timestamp"):
            draft.warnings.append(f"{draft.subject}: is being deleted; apply it again when it is gone")
    return Admitted(made.object, (*draft.warnings, *made.warnings))


def patch(changes: Mapping[str, Any], old: Object, view: View, stamp: Stamp) -> Admitted:
    """The object after a JSON merge patch (RFC 7386); raises as `update` does."""
    before = to_dict(old)
    patched = merge_patch(before, changes)
    for name in ("apiVersion", "kind"):
        if patched.get(name) != before.get(name):
            raise Invalid.of(subject_of(old), [Violation(name, "may not change")])
    return update(from_dict(patched, subject_of(old)), old, view, stamp)


def bind(pod: Pod, node_name: str, now: int | None = None) -> Pod:
    """The pod on its node; with `now` (nanoseconds) its condition PodScheduled holds since then. Raises Conflict."""
    if pod.spec.node_name and pod.spec.node_name != node_name:
        raise Conflict(f"cannot bind {subject_of(pod)} to {node_name}: it is on {pod.spec.node_name} already")
    bound = copy_of(pod)
    bound.spec.node_name = node_name
    if now is not None:
        set_condition(bound.status.conditions, "PodScheduled", "True", now=now)
    return bound


# ---- deletion -----------------------------------------------------------------------------------------------------


def delete(old: Object, grace: int | None, view: View, stamp: Stamp, *, propagation: str = "Background") -> Deletion:
    """What deleting `old` does. `grace` in seconds: None is the pod's own, 0 removes at once (L9, L11).

    A pod on a node is marked and its host says when it is gone; so is anything with finalizers, and a namespace.
    The mirror of a static pod is removed: its host shows it again.
    `object` is `old` itself when it is being deleted already and nothing gets sooner. Raises Invalid, Forbidden.
    """
    if grace is not None and grace < 0:
        raise Invalid.of(subject_of(old), [Violation("gracePeriodSeconds", f"must be at least 0, is {grace}")])
    if not old.metadata.HasField("deletion_timestamp") and old.metadata.uid and view.children(old.metadata.uid):
        old = _with_finalizer(old, propagation)
    if isinstance(old, Pod):
        return _delete_pod(old, grace, stamp.now)
    if isinstance(old, Namespace):
        return _delete_namespace(old, stamp.now)
    if old.metadata.finalizers:
        return Deletion(old if old.metadata.HasField("deletion_timestamp") else _marked(old, stamp.now, 0))
    return Deletion(None)


def is_gone(obj: Object) -> bool:
    """Whether an object being deleted waits for nothing more: its writer removes it instead of storing it."""
    meta = obj.metadata
    if not meta.HasField("deletion_timestamp") or meta.finalizers or isinstance(obj, Namespace):
        return False
    return not isinstance(obj, Pod) or not meta.deletion_grace_period_seconds


def _with_finalizer(old: Object, propagation: str) -> Object:
    """The object as it waits for its children, or lets them go, before it goes itself (C17)."""
    finalizer = {"Foreground": FOREGROUND, "Orphan": ORPHAN}.get(propagation)
    if finalizer is None or finalizer in old.metadata.finalizers:
        return old
    waiting = copy_of(old)
    waiting.metadata.finalizers.append(finalizer)
    return waiting


def _delete_pod(old: Pod, grace: int | None, now: int) -> Deletion:
    meta = old.metadata
    seconds = pods.grace_seconds(old) if grace is None else grace
    if not old.spec.node_name or pods.is_mirror(old):
        seconds = 0  # there is nothing to wait for
    if seconds == 0 and not meta.finalizers:
        return Deletion(None)
    if not meta.HasField("deletion_timestamp"):
        return Deletion(_marked(old, now, seconds))
    if seconds >= meta.deletion_grace_period_seconds:
        return Deletion(old)  # a grace period only shrinks (L9)
    asked_at = from_timestamp(meta.deletion_timestamp) - meta.deletion_grace_period_seconds * SECOND
    return Deletion(_marked(old, asked_at, seconds))


def _delete_namespace(old: Namespace, now: int) -> Deletion:
    if old.metadata.name in config.INITIAL_NAMESPACES:
        raise Forbidden(f"cannot delete {subject_of(old)}: the mesh needs it")
    if old.metadata.HasField("deletion_timestamp"):
        return Deletion(old)
    marked = _marked(old, now, 0)
    if isinstance(marked, Namespace):
        marked.status.phase = "Terminating"
    return Deletion(marked)


def _marked(old: Object, asked_at: int, seconds: int) -> Object:
    marked = copy_of(old)
    meta = marked.metadata
    meta.deletion_timestamp.CopyFrom(whole_seconds(asked_at + seconds * SECOND))
    meta.deletion_grace_period_seconds = seconds
    if meta.generation:
        meta.generation += 1
    return marked


# ---- preconditions ------------------------------------------------------------------------------------------------


def _check_same(obj: Object, old: Object) -> None:
    """Row A8: who names a version or uid means that one and no other."""
    mine, theirs = obj.metadata, old.metadata
    if mine.uid and mine.uid != theirs.uid:
        raise Conflict(f"cannot change {subject_of(old)}: its uid is {theirs.uid}, not {mine.uid}; it was made anew")
    if mine.resource_version and mine.resource_version != theirs.resource_version:
        raise Conflict(
            f"cannot change {subject_of(old)}: it is at resourceVersion {theirs.resource_version}, "
            f"not {mine.resource_version}; get it again and repeat the change"
        )


def _check_namespace(obj: Object, view: View) -> list[Violation]:
    if not kind_of(obj).namespaced:
        return []
    name = obj.metadata.namespace
    found = view.get(Key("Namespace", "", name))
    if not isinstance(found, Namespace):
        why = f'there is no namespace "{name}"; `mesh create namespace {name}` makes it'
        return [Violation("metadata.namespace", why)]
    if found.status.phase == "Terminating" or found.metadata.HasField("deletion_timestamp"):
        return [Violation("metadata.namespace", f'the namespace "{name}" is being deleted')]
    return []
