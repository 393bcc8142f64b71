"""Admission of PersistentVolumeClaims and PersistentVolumes (V17).

Rule: pure questions of one object, or of a new and an old one. There are two classes: "local", the default, makes
directories on hosts; the empty one takes volumes that somebody made.
"""

from collections.abc import Iterator

from mesh.errors import Violation
from mesh.model import claims
from mesh.model.fields import copy_of
from mesh.v1.core_pb2 import PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimSpec

_CLASS = f'there is no storage class "{{}}": "{claims.LOCAL}" and "" (volumes that you made) are known'


def fill(obj: PersistentVolume | PersistentVolumeClaim) -> None:
    """Defaults, and the finalizers that keep what is in use."""
    if isinstance(obj, PersistentVolumeClaim):
        fill_claim(obj.spec)
        obj.status.phase = obj.status.phase or "Pending"
        _protect(obj, claims.IN_USE)
    else:
        if not obj.spec.volume_mode:
            obj.spec.volume_mode = "Filesystem"
        if not obj.spec.persistent_volume_reclaim_policy:
            obj.spec.persistent_volume_reclaim_policy = "Retain"
        obj.status.phase = obj.status.phase or "Pending"
        _protect(obj, claims.BOUND)


def fill_claim(spec: PersistentVolumeClaimSpec) -> None:
    """Defaults of what is claimed, in place; of a StatefulSet's templates too."""
    if not spec.volume_mode:
        spec.volume_mode = "Filesystem"
    if not spec.HasField("storage_class_name"):
        spec.storage_class_name = claims.LOCAL


def _protect(obj: PersistentVolume | PersistentVolumeClaim, finalizer: str) -> None:
    if not obj.metadata.HasField("deletion_timestamp") and finalizer not in obj.metadata.finalizers:
        obj.metadata.finalizers.append(finalizer)


def check(obj: PersistentVolume | PersistentVolumeClaim) -> Iterator[Violation]:
    """What is wrong with a completed one."""
    spec = obj.spec
    if spec.volume_mode == "Block":
        yield Violation("spec.volumeMode", "block volumes are not honoured: Filesystem is")
    if not spec.access_modes:
        yield Violation("spec.accessModes", "is required")
    if isinstance(obj, PersistentVolumeClaim):
        yield from _check_claim(obj)
    else:
        yield from _check_volume(obj)


def _check_claim(claim: PersistentVolumeClaim) -> Iterator[Violation]:
    spec = claim.spec
    if claims.size_of(dict(spec.resources.requests)) <= 0:
        yield Violation("spec.resources.requests.storage", "is required and must be more than 0")
    if spec.storage_class_name not in ("", claims.LOCAL):
        yield Violation("spec.storageClassName", _CLASS.format(spec.storage_class_name))
    elif spec.storage_class_name == claims.LOCAL and not spec.volume_name:
        for mode in spec.access_modes:
            if mode not in ("ReadWriteOnce", claims.ONE_POD):
                why = f'{mode} is not what class "{claims.LOCAL}" can give: its directories are on one host each'
                yield Violation("spec.accessModes", why)
    if spec.HasField("data_source"):
        yield Violation("spec.dataSource", "volumes are not filled from others yet")


def _check_volume(volume: PersistentVolume) -> Iterator[Violation]:
    spec = volume.spec
    if claims.size_of(dict(spec.capacity)) <= 0:
        yield Violation("spec.capacity.storage", "is required and must be more than 0")
    if spec.HasField("nfs"):
        yield Violation("spec.nfs", "this kind of volume is not honoured yet: local and hostPath are")
    elif spec.HasField("host_path") == spec.HasField("local") and claims.PROVISIONED not in volume.metadata.annotations:
        yield Violation("spec", "one of local and hostPath is required")
    if spec.HasField("local") and not spec.node_affinity.HasField("required"):
        yield Violation("spec.nodeAffinity.required", "is required with local: it says which host has the path")
    if spec.persistent_volume_reclaim_policy == "Recycle":
        yield Violation("spec.persistentVolumeReclaimPolicy", "must be Retain or Delete")
    elif spec.persistent_volume_reclaim_policy == "Delete" and claims.PROVISIONED not in volume.metadata.annotations:
        yield Violation("spec.persistentVolumeReclaimPolicy", "must be Retain: the mesh deletes only what it has made")
    if spec.mount_options:
        yield Violation("spec.mountOptions", "are not honoured: directories are bound as they are")
    if spec.storage_class_name not in ("", claims.LOCAL):
        yield Violation("spec.storageClassName", _CLASS.format(spec.storage_class_name))


def check_change(
    new: PersistentVolume | PersistentVolumeClaim, old: PersistentVolume | PersistentVolumeClaim
) -> Iterator[Violation]:  # fmt: skip
    """What a claim wants and where a volume lies never change."""
    if isinstance(new, PersistentVolumeClaim) and isinstance(old, PersistentVolumeClaim):
        yield from _check_growth(new, old)
    elif isinstance(new, PersistentVolume) and isinstance(old, PersistentVolume):
        for name, field in (("hostPath", "host_path"), ("local", "local"), ("nodeAffinity", "node_affinity")):
            if getattr(new.spec, field) != getattr(old.spec, field):
                yield Violation(f"spec.{name}", "may not change")


def _check_growth(new: PersistentVolumeClaim, old: PersistentVolumeClaim) -> Iterator[Violation]:
    """A directory of the mesh's may become bigger, once it is there; nothing becomes smaller."""
    fixed = copy_of(new.spec)
    fixed.resources.requests["storage"] = old.spec.resources.requests["storage"]
    if fixed != old.spec:
        yield Violation("spec", "may not change, but for a bigger resources.requests.storage: make another claim")
        return
    where = "spec.resources.requests.storage"
    wanted, given = (claims.size_of(dict(c.spec.resources.requests)) for c in (new, old))
    if wanted < given:
        yield Violation(where, f"must not become less than {old.spec.resources.requests['storage']}")
    elif wanted > given and (old.spec.storage_class_name != claims.LOCAL or not claims.is_bound(old)):
        yield Violation(where, f'may become more only in a bound claim of class "{claims.LOCAL}"')
