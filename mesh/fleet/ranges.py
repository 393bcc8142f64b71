"""Which range of pod addresses each host has: those in the store, and those promised but not stored yet.

Rule: no await between looking and promising, so two hosts that join at once never get the same range.
"""

from mesh.fleet.registration import free_range
from mesh.view import View


class Ranges:
    """Hands out the lowest free range; the same host gets the same range again."""

    def __init__(self, cluster_cidr: str, node_mask: int) -> None:
        self._cluster_cidr = cluster_cidr
        self._node_mask = node_mask
        self._promised: dict[str, str] = {}

    def of(self, node: str, view: View) -> str:
        """The range of a host, stored or promised now; raises Unavailable when every range is taken."""
        held = view.node(node)
        if held is not None and held.spec.pod_cidr:
            self._promised[node] = held.spec.pod_cidr
        elif node not in self._promised or self._taken_by_another(node, view):
            used = [n.spec.pod_cidr for n in view.nodes()]
            used += [cidr for name, cidr in self._promised.items() if name != node]
            self._promised[node] = free_range(self._cluster_cidr, self._node_mask, used)
        return self._promised[node]

    def release(self, node: str) -> None:
        """Takes a promise back: the host is gone; what is stored stays the host's."""
        self._promised.pop(node, None)

    def _taken_by_another(self, node: str, view: View) -> bool:
        return any(n.spec.pod_cidr == self._promised[node] and n.metadata.name != node for n in view.nodes())
