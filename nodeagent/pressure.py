"""When a host runs out of memory or disk, and which pod goes then (R9, R10, R11).

Rule: pure. One pod for a pass, so that the next sees what it brought; a pod over its own limit goes without pressure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mesh.model import quantity
from mesh.model.pods import effective_requests
from mesh.v1.core_pb2 import Pod
from nodeagent.machine import DISK_EVICTION, INODE_EVICTION, MEMORY_EVICTION, Vitals


@dataclass(frozen=True, slots=True)
class Signal:
    """A threshold that is crossed; `threshold` as people write it, `available` in bytes or inodes."""

    resource: str
    threshold: str
    available: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a pod holds: memory in use, bytes and inodes on the disk (volumes, logs, writable layers)."""

    memory: int = 0
    disk: int = 0
    inodes: int = 0


def signals(vitals: Vitals) -> list[Signal]:
    """The thresholds that are crossed, memory first (R9)."""
    found = []
    if vitals.memory_available < MEMORY_EVICTION:
        found.append(Signal("memory", f"{MEMORY_EVICTION >> 20}Mi", vitals.memory_available))
    if vitals.disk_available < vitals.disk * DISK_EVICTION:
        threshold = f"{int(vitals.disk * DISK_EVICTION) >> 10}Ki"
        found.append(Signal("ephemeral-storage", threshold, vitals.disk_available))
    if vitals.inodes and vitals.inodes_available < vitals.inodes * INODE_EVICTION:
        found.append(Signal("inodes", str(int(vitals.inodes * INODE_EVICTION)), vitals.inodes_available))
    return found


def victim(candidates: Sequence[tuple[Pod, Usage]], signal: Signal) -> tuple[Pod, str] | None:
    """Who goes, and why in words: first those that use more than they asked for, of these the lowest priority, of these
    the one that uses most beyond its request (R10). None when nobody uses anything."""
    using = [(pod, used) for pod, usage in candidates if (used := _used(usage, signal)) > 0]
    if not using:
        return None

    def rank(one: tuple[Pod, int]) -> tuple[bool, int, int, str]:
        pod, used = one
        wanted = _wanted(pod, signal)
        return used <= wanted, pod.spec.priority, wanted - used, pod.metadata.uid

    pod, used = min(using, key=rank)
    words = f"The node was low on resource: {signal.resource}. Threshold quantity: {signal.threshold}, available: "
    words += f"{_words(signal.available, signal)}. Pod was using {_words(used, signal)}, request is "
    return pod, words + f"{_words(_wanted(pod, signal), signal)}, has larger consumption of {signal.resource}."


def limits(pod: Pod) -> dict[str, int]:
    """The bytes that each of its emptyDirs on disk may hold, by volume, where a limit is set (R11)."""
    return {
        v.name: quantity.parse(v.empty_dir.size_limit).whole
        for v in pod.spec.volumes
        if v.empty_dir.size_limit and v.empty_dir.medium != "Memory"
    }


def over_limit(pod: Pod, used: dict[str, int]) -> str:
    """Why the pod goes, in words, for what its emptyDirs hold; "" when none holds too much."""
    for volume in pod.spec.volumes:
        limit = limits(pod).get(volume.name)
        if limit is not None and used.get(volume.name, 0) > limit:
            return f'Usage of EmptyDir volume "{volume.name}" exceeds the limit "{volume.empty_dir.size_limit}".'
    return ""


def _used(usage: Usage, signal: Signal) -> int:
    return {"memory": usage.memory, "ephemeral-storage": usage.disk}.get(signal.resource, usage.inodes)


def _wanted(pod: Pod, signal: Signal) -> int:
    return effective_requests(pod).get(signal.resource, 0)


def _words(amount: int, signal: Signal) -> str:
    return str(amount) if signal.resource == "inodes" else f"{amount >> 10}Ki"
