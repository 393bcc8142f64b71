"""What claims say about where a pod may go (K1, V17): nowhere before they are there, then where their volumes are.

Rule: pure; a reason in words, as filters give them.
"""

from collections.abc import Iterable

from mesh.model import claims
from mesh.model.keys import Key
from mesh.model.pods import is_terminal
from mesh.v1.core_pb2 import Node, PersistentVolume, PersistentVolumeClaim, Pod
from mesh.view import View


def nowhere(pod: Pod, view: View) -> str:
    """Why the pod can go to no node at all for now."""
    for name in claims.claims_of(pod.spec):
        claim = _claim(pod, name, view)
        if claim is None:
            return f'persistentvolumeclaim "{name}" not found'
        if claim.metadata.HasField("deletion_timestamp"):
            return f'persistentvolumeclaim "{name}" is being deleted'
        if claim.status.phase == "Lost":
            return f'persistentvolumeclaim "{name}" has lost its volume "{claim.spec.volume_name}"'
        if not claims.is_bound(claim) and (claim.spec.storage_class_name != claims.LOCAL or claim.spec.volume_name):
            return "pod has unbound immediate PersistentVolumeClaims"
        if claims.ONE_POD in claim.spec.access_modes and _is_used(claim, pod, view):
            return f'persistentvolumeclaim "{name}" is for one pod (ReadWriteOncePod), and another one has it'
    return ""


def bars(pod: Pod, node: Node, view: View) -> bool:
    """Whether claims keep the pod from the node, whoever else goes."""
    return bool(nowhere(pod, view) or reasons(pod, node, view))


def reasons(pod: Pod, node: Node, view: View) -> tuple[str, ...]:
    """Why the pod can't go to this node."""
    wanted = 0
    for name in claims.claims_of(pod.spec):
        claim = _claim(pod, name, view)
        if claim is None:
            continue
        if not claims.is_bound(claim):
            wanted += claims.size_of(dict(claim.spec.resources.requests))
            continue
        volume = view.get(Key("PersistentVolume", "", claim.spec.volume_name))
        if isinstance(volume, PersistentVolume) and not claims.reaches(volume, node):
            return ("node(s) had volume node affinity conflict",)
    if wanted and wanted + _given(node, view) > claims.size_of({"storage": _disk(node)}):
        return ("node(s) did not have enough free storage",)
    return ()


def _disk(node: Node) -> str:
    return node.status.allocatable.get("ephemeral-storage") or node.status.capacity.get("ephemeral-storage", "0")


def _given(node: Node, view: View) -> int:
    """Bytes that directories on the node are said to have."""
    there = _volumes(view)
    return sum(claims.size_of(dict(v.spec.capacity)) for v in there if claims.host_of(v) == node.metadata.name)


def _volumes(view: View) -> Iterable[PersistentVolume]:
    return (v for v in view.of_kind("PersistentVolume") if isinstance(v, PersistentVolume))


def _claim(pod: Pod, name: str, view: View) -> PersistentVolumeClaim | None:
    found = view.get(Key("PersistentVolumeClaim", pod.metadata.namespace, name))
    return found if isinstance(found, PersistentVolumeClaim) else None


def _is_used(claim: PersistentVolumeClaim, pod: Pod, view: View) -> bool:
    meta = claim.metadata
    return any(
        meta.name in claims.claims_of(other.spec)
        for other in view.pods()
        if other.metadata.namespace == meta.namespace
        and other.metadata.uid != pod.metadata.uid
        and other.spec.node_name
        and not is_terminal(other)
    )
