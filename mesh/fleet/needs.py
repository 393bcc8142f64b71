"""What a host needs: its pods as they should be, with the digest by which it says what it holds.

Rule: pure; only what this host must run is in it, and never a status. A pod that has ended stays in until it is
deleted: its host keeps its logs, and remembers that it has ended.
"""

from mesh.model.digest import assignment_digest
from mesh.model.pods import is_mirror
from mesh.v1.core_pb2 import Pod
from mesh.v1.node_pb2 import Assignment, Fence
from mesh.view import View


def needs_of(node: str, view: View, cluster_cidr: str, epoch: int) -> Assignment | None:
    """The assignment for a host as of `view`, or None as long as the host has no Node with a range of addresses."""
    held = view.node(node)
    if held is None or not held.spec.pod_cidr:
        return None
    assignment = Assignment(
        node=node,
        fence=Fence(epoch=epoch, revision=view.revision),
        pod_cidr=held.spec.pod_cidr,
        cluster_cidr=cluster_cidr,
        pods=[_order(pod) for pod in _pods(node, view)],
    )
    assignment.digest = assignment_digest(assignment)
    return assignment


def digest_of(node: str, view: View, cluster_cidr: str) -> str:
    """The digest alone of what `needs_of` says, without copying the pods; empty where that is None."""
    held = view.node(node)
    if held is None or not held.spec.pod_cidr:
        return ""
    pods = [Pod(metadata=pod.metadata) for pod in _pods(node, view)]
    return assignment_digest(Assignment(pod_cidr=held.spec.pod_cidr, cluster_cidr=cluster_cidr, pods=pods))


def _pods(node: str, view: View) -> list[Pod]:
    return [pod for pod in view.pods_on(node) if not is_mirror(pod)]


def _order(pod: Pod) -> Pod:
    return Pod(api_version=pod.api_version, kind=pod.kind, metadata=pod.metadata, spec=pod.spec)
