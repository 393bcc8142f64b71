"""Which nodes a pod may go to, as far as nodes alone decide, and in words why not to the others (K1, K4).

Rule: a filter says every reason it has; the first filter that has one ends the questions for that node. What depends on
what is taken, or on other pods, is counted in arrays (pipeline, relations).
"""

from collections.abc import Callable

from mesh.model import conditions, fit
from mesh.v1.core_pb2 import Node, Pod

Filter = Callable[[Pod, Node], str]


def why_not(pod: Pod, node: Node, *, affinity_alone: bool = False) -> tuple[str, ...]:
    """The reasons against a node; none when the pod may go there. `affinity_alone`: its labels and name only."""
    for reason in (fit.affinity,) if affinity_alone else FILTERS:
        if found := reason(pod, node):
            return (found,)
    return ()


def _ready(_pod: Pod, node: Node) -> str:
    """A node that is not ready, or that has no range of pod addresses yet, takes nobody, tolerations or not."""
    if not conditions.is_true(node.status.conditions, "Ready"):
        return "node(s) were not ready"
    return "" if node.spec.pod_cidr else "node(s) had no range of pod addresses"


FILTERS: tuple[Filter, ...] = (fit.unschedulable, fit.node_name, fit.taints, _ready, fit.affinity)
