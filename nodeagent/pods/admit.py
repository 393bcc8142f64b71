"""Whether this host takes a pod that it was given: asked once, before anything of it is begun (S7).

Rule: pure. The scheduler has asked the same before; this catches what it did not decide: pods that name their node,
static pods, and what changed meanwhile. Room that is held by pods which are on their way out is waited for: the
scheduler may know before this host that it is free, as after a forced deletion.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mesh.model import fit
from mesh.model.pods import effective_requests, is_mirror, qos_class
from mesh.v1.core_pb2 import Node, Pod, Taint
from mesh.v1.meta_pb2 import ObjectMeta


@dataclass(frozen=True, slots=True)
class Answer:
    """Yes without a reason; `wait`: not yet, but once those are gone who are going; else no, for good."""

    reason: str = ""
    message: str = ""
    wait: bool = False


@dataclass(frozen=True, slots=True)
class Space:
    """What a pod may grow into: what others take (as `fit.used_by`) and what the host has to give."""

    used: Mapping[str, int] = field(default_factory=dict)
    allocatable: Mapping[str, int] = field(default_factory=dict)


class Door(Protocol):
    """Where pods ask before they begin."""

    def admit(self, pod: Pod) -> Answer:
        """Whether the host takes this pod now."""
        ...

    def space(self, pod: Pod) -> Space:
        """What a pod that is here may grow into (L20)."""
        ...

    def freed(self) -> None:
        """A pod has given back its room: who waits may ask again."""
        ...


def ports(pod: Pod, staying: Iterable[Pod], going: Iterable[Pod]) -> Answer:
    """Whether the ports of the host that the pod wants are free, in the kubelet's words (K7); of those that a pod still
    holds which is on its way out, "not yet"."""
    mine, words = fit.ports_of(pod), "node(s) didn't have free ports for the requested pod ports"
    for others, wait in ((staying, False), (going, True)):
        if mine and any(fit.clash(mine, fit.ports_of(other)) for other in others):
            return Answer("NodePorts", f"Predicate NodePorts failed: {words}", wait=wait)
    return Answer()


def answer(  # noqa: PLR0913, PLR0917 - as many things decide
    pod: Pod, node: str, labels: Mapping[str, str], staying: Mapping[str, int], going: Mapping[str, int],
    allocatable: Mapping[str, int], pressures: Collection[str] = (),
) -> Answer:  # fmt: skip
    """As `rejection`; `staying` is what pods take that stay, `going` what those take that are on their way out."""
    reason, message = rejection(pod, node, labels, staying, allocatable, pressures)
    if reason:
        return Answer(reason, message)
    both = {name: staying.get(name, 0) + going.get(name, 0) for name in {*staying, *going}}
    reason, message = rejection(pod, node, labels, both, allocatable)
    return Answer(reason, message, wait=bool(reason))


def rejection(
    pod: Pod, node: str, labels: Mapping[str, str], used: Mapping[str, int], allocatable: Mapping[str, int],
    pressures: Collection[str] = (),
) -> tuple[str, str]:  # fmt: skip
    """Reason and message of a rejection in Kubernetes' words, empty texts for none; amounts as `fit.used_by`. Without
    labels (nobody has told them yet) affinity is not asked. `pressures`: the host's conditions that are true."""
    if pressures and not is_mirror(pod) and not _bears(pod, pressures):
        return "Evicted", f"The node had condition: [{' '.join(sorted(pressures))}]."
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


def _bears(pod: Pod, pressures: Collection[str]) -> bool:
    """Under memory pressure alone, whoever asked for something is taken, and who tolerates it (R10)."""
    if set(pressures) != {"MemoryPressure"}:
        return False
    taint = Taint(key=fit.MEMORY_PRESSURE_TAINT, effect="NoSchedule")
    return qos_class(pod.spec) != "BestEffort" or any(fit.tolerates(t, taint) for t in pod.spec.tolerations)
