"""Which of the nodes that will do is best (K2): how full they would be, how even, what they tolerate and hold already.

Rule: a score is 0 to 100 for each node, as an array in the order of the Cluster; equals are told apart by a hash of pod
and node, so that the same view gives the same answer.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mesh.model import fit
from mesh.v1.core_pb2 import Node, Pod

Floats = npt.NDArray[np.float64]

# What a container that asks for nothing is counted as, so that such pods spread too (K2).
ASSUMED: Mapping[str, int] = {"cpu": 100, "memory": 200 * 1024 * 1024}

# Kubernetes' weights: of taints, node affinity, spreading and affinity between pods; the others count once.
TAINTS, AFFINITY, SPREAD, TOGETHER = 3, 2, 2, 2

_SMALL, _LARGE = 23 * 1024 * 1024, 1000 * 1024 * 1024  # bytes of images that are worth nothing, and all


def weights(requests: Mapping[str, int]) -> tuple[int, ...]:
    """What a pod that asks for so much counts for when nodes are compared, in the order of ASSUMED."""
    return tuple(requests.get(name) or assumed for name, assumed in ASSUMED.items())


def fullness(shares: Floats) -> Floats:
    """LeastAllocated and BalancedAllocation together, 0 to 200, of the shares (2 x nodes) of cpu and memory taken then.

    100 - (c + m) * 50 and 100 - |c - m| * 50 are 200 - max(c, m) * 100.
    """
    result: Floats = 200.0 - 100.0 * np.minimum(np.maximum(shares[0], shares[1]), 1.0)
    return result


def preferred_taints(pod: Pod, node: Node) -> int:
    """How many PreferNoSchedule taints of the node the pod does not tolerate."""
    soft = [t for t in node.spec.taints if t.effect == "PreferNoSchedule"]
    return sum(not any(fit.tolerates(toleration, t) for toleration in pod.spec.tolerations) for t in soft)


def preferred_affinity(pod: Pod, node: Node) -> int:
    """The sum of the weights of the pod's preferred node affinity terms that the node matches."""
    terms = pod.spec.affinity.node_affinity.preferred_during_scheduling_ignored_during_execution
    return sum(t.weight for t in terms if fit.term_matches(t.preference, node))


def images_there(pod: Pod, nodes: list[Node]) -> Floats:
    """ImageLocality: how much of the pod's images each node has, the more so the more nodes have them."""
    result = np.zeros(len(nodes))
    for container in pod.spec.containers:
        sizes = np.array([_size(container.image, node) for node in nodes], float)
        result += sizes * (sizes > 0).mean() if len(nodes) else 0.0
    most = _LARGE * max(1, len(pod.spec.containers))
    clipped: Floats = np.clip((result - _SMALL) / (most - _SMALL), 0.0, 1.0) * 100
    return clipped


def high_is_good(values: Floats) -> Floats:
    """Values as 0 to 100, the highest 100; nothing when all are 0."""
    most = values.max(initial=0.0)
    result: Floats = values * 100 / most if most > 0 else np.zeros_like(values)
    return result


def low_is_good(values: Floats) -> Floats:
    """Values as 100 to 0, the highest 0; 100 for all when all are 0."""
    most = values.max(initial=0.0)
    result: Floats = 100 - values * 100 / most if most > 0 else np.full_like(values, 100.0)
    return result


def _size(image: str, node: Node) -> int:
    return next((i.size_bytes for i in node.status.images if image in i.names), 0)
