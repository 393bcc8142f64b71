"""What owners leave behind: children of objects that are gone go too, in the way the deletion asked for (C17).

Rule: pure. Keys are uids of owners, and objects whose deletion waits for their children. A child with another living
owner only loses the reference.
"""

from collections.abc import Iterable

from mesh.admission.admit import FOREGROUND, ORPHAN
from mesh.controllers.children import deletion
from mesh.errors import NotFound
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.kinds import Object, key_of, kind_named, revision_of
from mesh.reconcile.plan import NOTHING, Plan
from mesh.store.port import Event, Write
from mesh.v1.meta_pb2 import OwnerReference
from mesh.view import View

_MOST = 1000  # objects of one commit


class Garbage:
    """See the module."""

    name = "garbage"

    def keys(self, event: Event) -> Iterable[Key]:
        """An owner that went, a child whose owner may be gone, and who waits for its children."""
        obj, before = event.object, event.previous
        found = []
        if obj is None and before is not None:
            found.append(Key("Owner", "", before.metadata.uid))
        held = obj if obj is not None else before
        if held is None:
            return found
        if before is None or obj is None:
            found += [Key("Owner", ref.kind, ref.uid) for ref in held.metadata.owner_references]
        waits = {FOREGROUND, ORPHAN} & set(held.metadata.finalizers)
        if obj is not None and waits and held.metadata.HasField("deletion_timestamp"):
            found.append(event.key)
        if before is not None:  # an owner may wait for this one, to end or to be let go
            kept = {ref.uid for ref in obj.metadata.owner_references} if obj is not None else set[str]()
            lost = [ref for ref in before.metadata.owner_references if ref.uid not in kept]
            found += [owner for ref in lost if (owner := _owner(ref, before)) is not None]
        return [k for k in found if k.kind == "Owner" or k.name]

    def reconcile(self, key: Key, view: View, now_ns: int) -> Plan:
        """The next step for the children of one owner."""
        if key.kind == "Owner":
            return Plan(_abandoned(key.name, view, now_ns)[:_MOST])
        held = view.get(key)
        if held is None or not held.metadata.HasField("deletion_timestamp"):
            return NOTHING
        if ORPHAN in held.metadata.finalizers:
            return Plan(_let_go(held, view))
        if FOREGROUND in held.metadata.finalizers:
            return Plan(_wait(held, view, now_ns)[:_MOST])
        return NOTHING


def _abandoned(uid: str, view: View, now: int) -> list[Write]:
    writes: list[Write] = []
    for child in view.children(uid):
        living = [ref for ref in child.metadata.owner_references if _is_alive(ref, child, view)]
        if any(ref.uid == uid for ref in living):
            continue
        if living:
            writes.append(_without(child, uid))
        else:
            writes += deletion(child, view, now)
    return writes


def _wait(held: Object, view: View, now: int) -> list[Write]:
    """Children are asked to go; when none is left that blocks, the owner goes itself."""
    children = view.children(held.metadata.uid)
    writes = [write for child in children for write in _deleted(child, held, view, now)]
    blocking = [c for c in children if any(r.uid == held.metadata.uid and r.block_owner_deletion
                                           for r in c.metadata.owner_references)]  # fmt: skip
    if not blocking and not writes:
        return [_finalized(held, FOREGROUND)]
    return writes


def _deleted(child: Object, held: Object, view: View, now: int) -> list[Write]:
    others = [r for r in child.metadata.owner_references if r.uid != held.metadata.uid and _is_alive(r, child, view)]
    if others:
        return [_without(child, held.metadata.uid)]
    below = bool(child.metadata.uid and view.children(child.metadata.uid))
    return deletion(child, view, now, propagation="Foreground" if below else "Background")


def _let_go(held: Object, view: View) -> list[Write]:
    children = view.children(held.metadata.uid)[:_MOST]
    if children:
        return [_without(child, held.metadata.uid) for child in children]
    return [_finalized(held, ORPHAN)]


def _is_alive(ref: OwnerReference, child: Object, view: View) -> bool:
    """Whether the owner is there: the very one, not a namesake."""
    key = _owner(ref, child)
    if key is None:
        return True
    owner = view.get(key)
    return owner is not None and owner.metadata.uid == ref.uid


def _owner(ref: OwnerReference, child: Object) -> Key | None:
    """The owner's key; None when it is of a kind that somebody else keeps."""
    try:
        namespaced = kind_named(ref.kind).namespaced
    except NotFound:
        return None
    return Key(ref.kind, child.metadata.namespace if namespaced else "", ref.name)


def _without(child: Object, uid: str) -> Write:
    freed = copy_of(child)
    kept = [r for r in child.metadata.owner_references if r.uid != uid]
    del freed.metadata.owner_references[:]
    freed.metadata.owner_references.extend(kept)
    return Write(key_of(child), freed, revision_of(child))


def _finalized(held: Object, finalizer: str) -> Write:
    """The object without the finalizer; gone when it waits for nothing more."""
    done = copy_of(held)
    done.metadata.finalizers.remove(finalizer)
    gone = not done.metadata.finalizers
    return Write(key_of(held), None if gone else done, revision_of(held))
