"""Which of the nodes that will do is best: the one that is left with most (K2, LeastAllocated).

Rule: a score is 0 to 100; equals are told apart by a hash of pod and node, so that the same view gives the same answer.
"""

import hashlib
from collections.abc import Mapping

from mesh.model.pods import effective_requests
from mesh.v1.core_pb2 import Pod

# What a container that asks for nothing is counted as, so that such pods spread too (K2).
_ASSUMED = {"cpu": 100, "memory": 200 * 1024 * 1024}


def least_allocated(pod: Pod, used: Mapping[str, int], allocatable: Mapping[str, int]) -> float:
    """The share of CPU and memory that stays free with the pod there, in per cent, averaged over both."""
    wanted = weights(pod)
    shares = [_free(used.get(n, 0) + wanted[n], allocatable.get(n, 0)) for n in _ASSUMED]
    return 100 * sum(shares) / len(shares)


def weights(pod: Pod) -> dict[str, int]:
    """What a pod counts for when nodes are compared; units as `quantity.amount`."""
    requests = effective_requests(pod)
    return {name: requests.get(name) or assumed for name, assumed in _ASSUMED.items()}


def tie_break(pod: Pod, node: str) -> int:
    """A number that is random over pods and nodes, but always the same for both."""
    return int.from_bytes(hashlib.blake2b(f"{pod.metadata.uid}/{node}".encode(), digest_size=8).digest())


def _free(used: int, allocatable: int) -> float:
    return max(0.0, (allocatable - used) / allocatable) if allocatable > 0 else 0.0
