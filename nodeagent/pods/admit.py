"""Whether this host takes a pod that it was given: asked once, before anything of it is begun (S7).

Rule: pure. The scheduler has asked the same before; this catches what it did not decide: pods that name their node,
static pods, and what changed meanwhile.
"""

from collections.abc import Mapping

from mesh.model import fit
from mesh.model.pods import effective_requests
from mesh.v1.core_pb2 import Node, Pod
from mesh.v1.meta_pb2 import ObjectMeta


def rejection(
    pod: Pod, node: str, labels: Mapping[str, str], used: Mapping[str, int], allocatable: Mapping[str, int]
) -> tuple[str, str]:
    """Reason and message of a rejection in Kubernetes' words, empty texts for none; amounts as `fit.used_by`. Without
    labels (nobody has told them yet) affinity is not asked."""
    if labels and fit.affinity(pod, Node(metadata=ObjectMeta(name=node, labels=labels))):
        return "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
    requests = {"pods": 1, **{n: a for n, a in sorted(effective_requests(pod).items()) if a > 0}}
    for name, wanted in requests.items():
        taken, capacity = used.get(name, 0), allocatable.get(name, 0)
        if taken + wanted > capacity:
            return f"OutOf{name}", (
                f"Node didn't have enough resource: {name}, requested: {wanted}, used: {taken}, capacity: {capacity}"
            )
    return "", ""
