"""Claims and volumes on hosts' disks (V17): which class a claim is of, which volume fits it, which host a volume is on.

Rule: pure questions of one claim, one volume or a pair of them.
"""

from collections.abc import Iterator

from mesh.model import quantity, selectors
from mesh.v1.core_pb2 import Node, PersistentVolume, PersistentVolumeClaim, PodSpec

LOCAL = "local"  # the class that makes directories, on the host where the first pod lands; the default one
IN_USE = "kubernetes.io/pvc-protection"
BOUND = "kubernetes.io/pv-protection"
DIRECTORY = "mesh/directory"  # finalizer: the directory on the host is to be removed first
PROVISIONED = "pv.kubernetes.io/provisioned-by"
HOSTNAME = "kubernetes.io/hostname"
ONE_POD = "ReadWriteOncePod"


def claims_of(spec: PodSpec) -> list[str]:
    """Names of the claims, of the pod's namespace, that a pod mounts."""
    return [n for n in (v.persistent_volume_claim.claim_name for v in spec.volumes) if n]


def is_bound(claim: PersistentVolumeClaim) -> bool:
    """Whether the claim has its volume."""
    return claim.status.phase == "Bound" and bool(claim.spec.volume_name)


def size_of(amounts: dict[str, str]) -> int:
    """Bytes of storage; 0 where that can't be read."""
    try:
        return quantity.amount("memory", amounts.get("storage", "0"))
    except ValueError:
        return 0


def belongs(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Whether the volume is this very claim's."""
    ref, meta = volume.spec.claim_ref, claim.metadata
    return (ref.namespace, ref.name) == (meta.namespace, meta.name) and ref.uid in ("", meta.uid)


def fits(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Whether a volume that somebody made will do for a claim."""
    if volume.metadata.HasField("deletion_timestamp"):
        return False
    if volume.spec.HasField("claim_ref"):
        return belongs(volume, claim)
    if claim.spec.volume_name:
        return claim.spec.volume_name == volume.metadata.name
    wanted = claim.spec
    return (
        volume.spec.storage_class_name == wanted.storage_class_name
        and set(wanted.access_modes) <= set(volume.spec.access_modes)
        and size_of(dict(volume.spec.capacity)) >= size_of(dict(wanted.resources.requests))
        and (not wanted.HasField("selector") or selectors.matches(wanted.selector, volume.metadata.labels))
    )


def path_of(volume: PersistentVolume) -> str:
    """Where it lies on its host; "" for a directory that the host names itself."""
    return volume.spec.local.path or volume.spec.host_path.path


def reaches(volume: PersistentVolume, node: Node) -> bool:
    """Whether the volume can be mounted on a node."""
    if not volume.spec.node_affinity.HasField("required"):
        return True
    return any(
        all(selectors.requirement_met(r, node.metadata.labels) for r in term.match_expressions)
        for term in volume.spec.node_affinity.required.node_selector_terms
    )


def host_of(volume: PersistentVolume) -> str:
    """The one host of a directory that the mesh made; "" for others."""
    return next(_hosts(volume), "") if PROVISIONED in volume.metadata.annotations else ""


def _hosts(volume: PersistentVolume) -> Iterator[str]:
    for term in volume.spec.node_affinity.required.node_selector_terms:
        for requirement in term.match_expressions:
            if requirement.key == HOSTNAME:
                yield from requirement.values
