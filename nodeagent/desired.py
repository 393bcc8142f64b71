"""The last Assignment accepted, and which orders are refused.

Rule: pure. Orders only go forward: an older fence is refused, the same one again is accepted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.errors import Conflict, Invalid
from mesh.model.pods import is_mirror
from mesh.v1.core_pb2 import Pod
from mesh.v1.node_pb2 import Assignment, Fence


@dataclass(frozen=True, slots=True)
class Desired:
    """What this host must run. `digest` is empty until an Assignment came in this boot of the agent."""

    fence: tuple[int, int] = (0, 0)
    digest: str = ""
    pod_cidr: str = ""
    cluster_cidr: str = ""
    pods: Mapping[str, Pod] = field(default_factory=dict)

    @property
    def wire_fence(self) -> Fence:
        """The fence as it travels."""
        return Fence(epoch=self.fence[0], revision=self.fence[1])


def accept(held: Desired, assignment: Assignment, node: str) -> Desired:
    """What is desired from now on.

    Raises:
        Conflict: the order is older than one accepted before.
        Invalid: it is for another host, or names a pod without uid.
    """
    fence = (assignment.fence.epoch, assignment.fence.revision)
    if fence < held.fence:
        raise Conflict(f"cannot assign to {node}: the order {fence} is older than {held.fence}, which is held")
    if assignment.node not in ("", node):
        raise Invalid(f"cannot assign to {node}: the order is for {assignment.node}")
    pods = {p.metadata.uid: p for p in assignment.pods if not is_mirror(p)}
    if "" in pods:
        raise Invalid(f"cannot assign to {node}: pod {pods[''].metadata.name} has no uid")
    return Desired(fence, assignment.digest, assignment.pod_cidr, assignment.cluster_cidr, pods)


def restored(assignment: Assignment, node: str) -> Desired:
    """What is desired after a restart, until an Assignment comes; its digest is not claimed to be held."""
    copy = Assignment()
    copy.CopyFrom(assignment)
    copy.digest = ""
    return accept(Desired(), copy, node)
