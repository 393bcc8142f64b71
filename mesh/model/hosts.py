"""What a Node says of its host's standing, as every room reads it.

Rule: pure. Ready is the host's own word, or Unknown when its agent says nothing; Reachable is there only meanwhile.
"""

from mesh.model import fit
from mesh.model.conditions import find
from mesh.v1.core_pb2 import Node

SKEW = "VersionSkew"  # condition: its agent and this service do not understand each other; there only then
REACHABLE = "Reachable"  # condition: the host itself answers, though its agent does not


def unheard(node: Node | None) -> bool:
    """Whether its agent says nothing."""
    ready = find(node.status.conditions, "Ready") if node is not None else None
    return ready is not None and ready.status == "Unknown"


def given_up(node: Node | None) -> bool:
    """Whether a host that nobody hears counts as lost: its pods are driven away (N2)."""
    if node is None or not unheard(node):
        return False
    return any(t.key == fit.UNREACHABLE_TAINT and t.effect == "NoExecute" for t in node.spec.taints)
