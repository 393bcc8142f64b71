"""Claims find their volumes, and volumes end with them (V17).

Rule: pure; one key serialises all of it, so that no volume is given twice. A claim of class "local" waits for its first
pod: the directory is made on the host where that lands, and pods follow it from then on. What is in use is never
removed; what a host holds is removed by the host before its volume is.
"""

from collections.abc import Iterable, Iterator

from mesh.model import claims
from mesh.model.fields import copy_of
from mesh.model.keys import Key
from mesh.model.kinds import key_of, revision_of
from mesh.model.pods import is_terminal
from mesh.model.times import whole_seconds
from mesh.reconcile.plan import NOTHING, Plan
from mesh.reconcile.record import record
from mesh.store.port import Event, Write
from mesh.v1.core_pb2 import PersistentVolume, PersistentVolumeClaim, Pod
from mesh.view import View

ALL = Key("Volumes", "", "all")
KINDS = ("PersistentVolume", "PersistentVolumeClaim")


class Volumes:
    """See the module."""

    name = "volumes"

    def keys(self, event: Event) -> Iterable[Key]:
        """The one key, when a claim, a volume or a pod with a claim has changed."""
        obj = event.object if event.object is not None else event.previous
        concerned = event.key.kind in KINDS or (isinstance(obj, Pod) and claims.claims_of(obj.spec))
        return (ALL,) if concerned else ()

    def reconcile(self, _key: Key, view: View, now_ns: int) -> Plan:
        """The next step of every claim and volume; of two claims that want one volume the first by name has it."""
        writes: list[Write] = []
        users = _users(view)
        volumes = {v.metadata.name: v for v in view.of_kind("PersistentVolume") if isinstance(v, PersistentVolume)}
        taken: set[str] = set()
        for claim in view.of_kind("PersistentVolumeClaim"):
            if isinstance(claim, PersistentVolumeClaim):
                writes += _claim(claim, users.get((claim.metadata.namespace, claim.metadata.name), []), volumes, taken,
                                 view, now_ns)  # fmt: skip
        for volume in volumes.values():
            if volume.metadata.name not in taken:
                writes += _volume(volume, view, now_ns)
        return Plan(writes) if writes else NOTHING


def _users(view: View) -> dict[tuple[str, str], list[Pod]]:
    users: dict[tuple[str, str], list[Pod]] = {}
    for pod in view.pods():
        for name in claims.claims_of(pod.spec) if not is_terminal(pod) else ():
            users.setdefault((pod.metadata.namespace, name), []).append(pod)
    return users


# ---- claims


def _claim(
    claim: PersistentVolumeClaim, users: list[Pod], volumes: dict[str, PersistentVolume], taken: set[str], view: View,
    now_ns: int,
) -> Iterator[Write]:  # fmt: skip
    if claim.metadata.HasField("deletion_timestamp"):
        if not users and claims.IN_USE in claim.metadata.finalizers:
            yield _without(claim, claims.IN_USE)
        return
    if claim.spec.volume_name and claim.status.phase in ("Bound", "Lost"):
        lost = claim.spec.volume_name not in volumes
        if lost != (claim.status.phase == "Lost"):
            changed = copy_of(claim)
            changed.status.phase = "Lost" if lost else "Bound"
            yield Write(key_of(claim), changed, revision_of(claim))
        elif not lost:
            yield from _grown(claim, volumes[claim.spec.volume_name], view, now_ns)
        return
    free = [v for v in volumes.values() if v.metadata.name not in taken and claims.fits(v, claim)]
    if free:
        chosen = min(free, key=lambda v: (not claims.belongs(v, claim), claims.size_of(dict(v.spec.capacity))))
        taken.add(chosen.metadata.name)
        yield from _bind(claim, chosen, view, now_ns)
        return
    placed = sorted({p.spec.node_name for p in users if p.spec.node_name and view.node(p.spec.node_name)})
    if claim.spec.storage_class_name == claims.LOCAL and not claim.spec.volume_name and placed:
        made = _made(claim, placed[0], now_ns)
        if view.get(key_of(made)) is None:
            yield Write(key_of(made), made, 0)
            yield from _bound(claim, made, view, now_ns)


def _grown(claim: PersistentVolumeClaim, volume: PersistentVolume, view: View, now_ns: int) -> Iterator[Write]:
    """A directory of ours is as big as its claim wants it, at once."""
    wanted = claim.spec.resources.requests["storage"]
    if not claims.host_of(volume) or claims.size_of({"storage": wanted}) <= claims.size_of(dict(volume.spec.capacity)):
        return
    bigger, told = copy_of(volume), copy_of(claim)
    bigger.spec.capacity["storage"] = told.status.capacity["storage"] = wanted
    yield Write(key_of(volume), bigger, revision_of(volume))
    yield Write(key_of(claim), told, revision_of(claim))
    yield from record(view, claim, "FileSystemResizeSuccessful", f"The directory may hold {wanted}", now_ns)


def _made(claim: PersistentVolumeClaim, node: str, now_ns: int) -> PersistentVolume:
    """The directory of a claim, on a host."""
    volume = PersistentVolume(api_version="v1", kind="PersistentVolume")
    volume.metadata.name = volume.metadata.uid = f"pvc-{claim.metadata.uid}"
    volume.metadata.creation_timestamp.CopyFrom(whole_seconds(now_ns))
    volume.metadata.generation = 1
    volume.metadata.annotations[claims.PROVISIONED] = f"mesh/{claims.LOCAL}"
    volume.metadata.finalizers[:] = [claims.BOUND, claims.DIRECTORY]
    spec = volume.spec
    spec.capacity["storage"] = claim.spec.resources.requests["storage"]
    spec.access_modes[:] = claim.spec.access_modes
    spec.persistent_volume_reclaim_policy, spec.storage_class_name = "Delete", claims.LOCAL
    spec.volume_mode = "Filesystem"
    term = spec.node_affinity.required.node_selector_terms.add()
    term.match_expressions.add(key=claims.HOSTNAME, operator="In", values=[node])
    _refer(volume, claim)
    volume.status.phase = "Bound"
    return volume


def _bind(claim: PersistentVolumeClaim, volume: PersistentVolume, view: View, now_ns: int) -> Iterator[Write]:
    chosen = copy_of(volume)
    _refer(chosen, claim)
    chosen.status.phase = "Bound"
    yield Write(key_of(volume), chosen, revision_of(volume))
    yield from _bound(claim, volume, view, now_ns)


def _refer(volume: PersistentVolume, claim: PersistentVolumeClaim) -> None:
    ref, meta = volume.spec.claim_ref, claim.metadata
    ref.api_version, ref.kind = "v1", "PersistentVolumeClaim"
    ref.namespace, ref.name, ref.uid = meta.namespace, meta.name, meta.uid


def _bound(claim: PersistentVolumeClaim, volume: PersistentVolume, view: View, now_ns: int) -> Iterator[Write]:
    changed = copy_of(claim)
    changed.spec.volume_name = volume.metadata.name
    changed.status.phase = "Bound"
    changed.status.access_modes[:] = volume.spec.access_modes
    changed.status.capacity.update(volume.spec.capacity)
    yield Write(key_of(claim), changed, revision_of(claim))
    words = f"Successfully bound to volume {volume.metadata.name}"
    yield from record(view, claim, "ProvisioningSucceeded", words, now_ns)


# ---- volumes


def _volume(volume: PersistentVolume, view: View, now_ns: int) -> Iterator[Write]:
    ref = volume.spec.claim_ref
    claim = view.get(Key("PersistentVolumeClaim", ref.namespace, ref.name)) if ref.name else None
    held = isinstance(claim, PersistentVolumeClaim) and claims.belongs(volume, claim)
    if volume.metadata.HasField("deletion_timestamp"):
        if not held and claims.BOUND in volume.metadata.finalizers:
            yield _without(volume, claims.BOUND)
        elif not held and claims.DIRECTORY in volume.metadata.finalizers and _hostless(volume, view):
            yield _without(volume, claims.DIRECTORY)
        return
    if held and volume.status.phase == "Bound":
        phase = "Bound"
    elif held or not ref.uid:  # a reference without uid keeps it for a claim that is still to come
        phase = "Available"
    else:
        phase = "Released"
    if phase == "Available" and held:
        return  # its claim is about to be bound to it
    ends = phase == "Released" and volume.spec.persistent_volume_reclaim_policy == "Delete"
    if volume.status.phase != phase or ends:
        changed = copy_of(volume)
        changed.status.phase = phase
        if ends:
            changed.metadata.deletion_timestamp.CopyFrom(whole_seconds(now_ns))
        yield Write(key_of(volume), changed, revision_of(volume))


def _hostless(volume: PersistentVolume, view: View) -> bool:
    """Whether nobody is left who could remove its directory."""
    return view.node(claims.host_of(volume)) is None


def _without(obj: PersistentVolume | PersistentVolumeClaim, finalizer: str) -> Write:
    left = [f for f in obj.metadata.finalizers if f != finalizer]
    if not left:
        return Write(key_of(obj), None, revision_of(obj))
    changed = copy_of(obj)
    changed.metadata.finalizers[:] = left
    return Write(key_of(obj), changed, revision_of(obj))
