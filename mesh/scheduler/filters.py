"""Which nodes a pod may go to, and in words why not to the others (K1, K4).

Rule: a filter says every reason it has; the first filter that has one ends the questions for that node.
"""

from collections.abc import Callable, Mapping

from mesh.model import conditions, fit
from mesh.v1.core_pb2 import Node, Pod

Filter = Callable[[Pod, Node, Mapping[str, int]], tuple[str, ...]]


def why_not(pod: Pod, node: Node, used: Mapping[str, int]) -> tuple[str, ...]:
    """The reasons against a node whose pods take `used`; none when the pod may go there."""
    for reasons in FILTERS:
        if found := reasons(pod, node, used):
            return found
    return ()


def _unschedulable(pod: Pod, node: Node, _used: Mapping[str, int]) -> tuple[str, ...]:
    return _one(fit.unschedulable(pod, node))


def _name(pod: Pod, node: Node, _used: Mapping[str, int]) -> tuple[str, ...]:
    return _one(fit.node_name(pod, node))


def _taints(pod: Pod, node: Node, _used: Mapping[str, int]) -> tuple[str, ...]:
    return _one(fit.taints(pod, node))


def _affinity(pod: Pod, node: Node, _used: Mapping[str, int]) -> tuple[str, ...]:
    return _one(fit.affinity(pod, node))


def _ready(_pod: Pod, node: Node, _used: Mapping[str, int]) -> tuple[str, ...]:
    """A node that is not ready, or that has no range of pod addresses yet, takes nobody, tolerations or not."""
    if not conditions.is_true(node.status.conditions, "Ready"):
        return ("node(s) were not ready",)
    return _one("" if node.spec.pod_cidr else "node(s) had no range of pod addresses")


def _resources(pod: Pod, node: Node, used: Mapping[str, int]) -> tuple[str, ...]:
    allocatable = fit.allocatable_of(node)
    return (*_one(fit.too_many_pods(used, allocatable)), *fit.insufficient(pod, used, allocatable))


def _one(reason: str) -> tuple[str, ...]:
    return (reason,) if reason else ()


FILTERS: tuple[Filter, ...] = (_unschedulable, _name, _taints, _ready, _affinity, _resources)
