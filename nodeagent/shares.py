"""What each level of the pods' cgroups gets of the processor when it is short (R7): all pods, their classes, each pod.

Rule: pure. As the kubelet divides it: all pods by what is allocatable, Burstable and Guaranteed by the sum of their
pods' requests, BestEffort the least; a pod by its requests. The containers' own shares are the runtime's matter (R4).
"""

from collections.abc import Iterable

from mesh.model.pods import effective_requests, qos_class
from mesh.v1.core_pb2 import Pod

ROOT = "/mesh"
LEAST = 2
MOST = 262144


def shares_of(allocatable_millis: int, pods: Iterable[Pod]) -> dict[str, int]:
    """Shares by cgroup, outermost first; `pods` are those that are granted their place here."""
    sums = {"Guaranteed": 0, "Burstable": 0, "BestEffort": 0}
    each: dict[str, int] = {}
    for pod in pods:
        qos, millis = qos_class(pod.spec), effective_requests(pod).get("cpu", 0)
        sums[qos] += millis
        each[f"{ROOT}/{qos.lower()}/pod{pod.metadata.uid}"] = _shares(millis)
    levels = {f"{ROOT}/{qos.lower()}": _shares(millis) for qos, millis in sums.items()}
    return {ROOT: _shares(allocatable_millis), **levels, **each}


def _shares(millis: int) -> int:
    return min(max(LEAST, millis * 1024 // 1000), MOST)
