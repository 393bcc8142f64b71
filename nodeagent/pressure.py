"""When a host runs out of memory or disk, and which pod goes then (R9, R10, R11).

Rule: pure. One pod for a pass, so that the next sees what it brought; a pod over its own limit goes without pressure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mesh.model import quantity
from mesh.model.pods import containers, effective_limits, effective_requests, requests_of
from mesh.model.times import SECOND
from mesh.v1.core_pb2 import Container, Pod
from mesh.v1.node_pb2 import LocalVolume
from nodeagent.thresholds import Eviction, Threshold
from nodeagent.vitals import Vitals

PID_RESERVE = 1000  # PIDPressure is told from here on; pods go for it only when there is a threshold
STORAGE = "ephemeral-storage"


@dataclass(frozen=True, slots=True)
class Signal:
    """A threshold that calls for action; `threshold` as people write it, `available` in bytes, inodes or processes.

    `part`: what of a pod's disk usage counts, "images" (writable layers) or "node" (logs and volumes) where these have
    filesystems of their own, else everything.
    """

    resource: str
    threshold: str
    available: int
    part: str = ""
    soft: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What a look at the host says: conditions to be told, and what calls for action, in order."""

    conditions: frozenset[str] = frozenset()
    crossed: tuple[Signal, ...] = ()


class Gauge:
    """A host's thresholds over time: soft ones wait for their grace, pressure is told a while longer (R10)."""

    def __init__(self, eviction: Eviction) -> None:
        self._thresholds = eviction.thresholds()
        self._transition = eviction.pressure_transition_seconds * SECOND
        self._first: dict[Threshold, int] = {}  # since when each is crossed
        self._due: set[Threshold] = set()
        self._last: dict[str, int] = {}  # condition: when it was last there

    def look(self, vitals: Vitals, now: int) -> Reading:
        """The reading at `now`, in nanoseconds; looking twice at one moment says the same."""
        found = observations(vitals)
        crossed = {t: found[t.signal] for t in self._thresholds if t.signal in found and self._met(t, found[t.signal])}
        self._first = {t: self._first.get(t, now) for t in crossed}
        for name in self._conditions(crossed, vitals):
            self._last[name] = now
        self._last = {name: at for name, at in self._last.items() if at == now or now - at < self._transition}
        self._due = {t for t in crossed if now - self._first[t] >= t.grace * SECOND}
        signals = (_signal(t, *crossed[t], split=vitals.images is not None) for t in crossed if t in self._due)
        return Reading(frozenset(self._last), tuple(signals))

    def _met(self, threshold: Threshold, observed: tuple[int, int]) -> bool:
        """Crossed, or crossed before and not yet relieved by what is to be reclaimed at least."""
        available, capacity = observed
        bound = threshold.relief(capacity) if threshold in self._due else threshold.amount(capacity)
        return available < bound

    @staticmethod
    def _conditions(crossed: Mapping[Threshold, tuple[int, int]], vitals: Vitals) -> Iterator[str]:
        yield from (t.condition for t in crossed)
        if vitals.pids_limit - vitals.pids < PID_RESERVE:
            yield "PIDPressure"


def observations(vitals: Vitals) -> dict[str, tuple[int, int]]:
    """What is available of what there is, by signal; a filesystem that counts no inodes says nothing of them."""
    images = vitals.image_disk
    found = {
        "memory.available": (vitals.memory_available, vitals.memory),
        "nodefs.available": (vitals.disk_available, vitals.disk),
        "nodefs.inodesFree": (vitals.inodes_available, vitals.inodes),
        "imagefs.available": (images.available, images.size),
        "imagefs.inodesFree": (images.inodes_available, images.inodes),
        "pid.available": (vitals.pids_limit - vitals.pids, vitals.pids_limit),
    }
    return {signal: observed for signal, observed in found.items() if observed[1]}


def _signal(threshold: Threshold, available: int, capacity: int, *, split: bool) -> Signal:
    text = threshold.quantity
    if text.endswith("%"):
        text = _words(threshold.amount(capacity), threshold.resource)
    part = ""
    if split and threshold.signal.startswith(("nodefs", "imagefs")):
        part = "images" if threshold.signal.startswith("imagefs") else "node"
    return Signal(threshold.resource, text, available, part, threshold.grace > 0)


@dataclass(frozen=True, slots=True)
class Used:
    """What one container holds: memory in use, bytes of its writable layer and of its logs."""

    memory: int = 0
    layer: int = 0
    logs: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """What a pod holds: memory in use, processes, bytes and inodes on disk (volumes, logs, writable layers); of these
    the writable layers alone, what each container holds, and the bytes of emptyDirs that have a limit."""

    memory: int = 0
    disk: int = 0
    inodes: int = 0
    pids: int = 0
    layers: int = 0
    layer_inodes: int = 0
    containers: Mapping[str, Used] = field(default_factory=dict)
    volumes: Mapping[str, int] = field(default_factory=dict)


def victim(candidates: Sequence[tuple[Pod, Usage]], signal: Signal) -> tuple[Pod, str] | None:
    """Who goes, and why in words: first those that use more than they asked for, of these the lowest priority, of these
    the one that uses most beyond its request (R10). None when nobody uses anything."""
    using = [(pod, usage) for pod, usage in candidates if _used(usage, signal) > 0]
    if not using:
        return None

    def rank(one: tuple[Pod, Usage]) -> tuple[bool, int, int, str]:
        pod, used = one[0], _used(one[1], signal)
        wanted = effective_requests(pod).get(signal.resource, 0)
        return used <= wanted, pod.spec.priority, wanted - used, pod.metadata.uid

    pod, usage = min(using, key=rank)
    words = [
        f"The node was low on resource: {signal.resource}.",
        f"Threshold quantity: {signal.threshold}, available: {_words(signal.available, signal.resource)}.",
        *(w for c in containers(pod.spec) if (w := _consumption(c, usage.containers.get(c.name, Used()), signal))),
    ]
    return pod, " ".join(words)


def _consumption(container: Container, used: Used, signal: Signal) -> str:
    """A container that holds more than it asked for, in words."""
    held = {"memory": used.memory, STORAGE: used.layer + used.logs}.get(signal.resource, 0)
    if held <= requests_of(container.resources).get(signal.resource, 0):
        return ""
    asked = container.resources.requests.get(signal.resource) or container.resources.limits.get(signal.resource) or "0"
    return (
        f"Container {container.name} was using {_words(held, signal.resource)}, request is {asked}, "
        f"has larger consumption of {signal.resource}."
    )


def is_limited(pod: Pod) -> bool:
    """Whether anything of the pod's disk usage has a limit (R11)."""
    return bool(limits(pod)) or STORAGE in effective_limits(pod)


def limits(pod: Pod) -> dict[str, int]:
    """The bytes that each of its emptyDirs on disk may hold, by volume, where a limit is set (R11)."""
    return {
        v.name: quantity.parse(v.empty_dir.size_limit).whole
        for v in pod.spec.volumes
        if v.empty_dir.size_limit and v.empty_dir.medium != "Memory" and quantity.parse(v.empty_dir.size_limit).nanos
    }


def limited_claims(pod: Pod, bound: Mapping[str, LocalVolume]) -> dict[str, LocalVolume]:
    """Its claims whose directories may hold so much and no more, by volume (V17)."""
    found = {v.name: bound.get(v.persistent_volume_claim.claim_name) for v in pod.spec.volumes}
    return {name: volume for name, volume in found.items() if volume is not None and volume.size}


def over_claim(pod: Pod, usage: Usage, bound: Mapping[str, LocalVolume]) -> str:
    """Why the pod goes, in words, when one of its claims holds more than its size (V17)."""
    for name, volume in limited_claims(pod, bound).items():
        if usage.volumes.get(name, 0) > volume.size:
            size = quantity.Quantity(volume.size * 10**9, "binary")
            return f'Usage of claim "{volume.claim}" exceeds its size "{size}".'
    return ""


def over_limit(pod: Pod, usage: Usage, *, split: bool = False) -> str:
    """Why the pod goes, in words, for what it holds on disk: an emptyDir, all of it, a container (R11); "" when nothing
    is too much. `split`: images and writable layers have a filesystem of their own, and only logs count."""
    for volume, most in limits(pod).items():
        if usage.volumes.get(volume, 0) > most:
            text = next(v.empty_dir.size_limit for v in pod.spec.volumes if v.name == volume)
            return f'Usage of EmptyDir volume "{volume}" exceeds the limit "{text}".'
    most = effective_limits(pod).get(STORAGE, 0)
    if STORAGE in effective_limits(pod) and usage.disk > most:
        text = str(quantity.Quantity(most * 10**9, "binary"))
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {text}."
    for container in pod.spec.containers:
        text = container.resources.limits.get(STORAGE, "")
        used = usage.containers.get(container.name, Used())
        if text and 0 < quantity.parse(text).whole < used.logs + (0 if split else used.layer):
            return f'Container {container.name} exceeded its local ephemeral storage limit "{text}".'
    return ""


def _used(usage: Usage, signal: Signal) -> int:
    if signal.resource == STORAGE:
        return {"images": usage.layers, "node": usage.disk - usage.layers}.get(signal.part, usage.disk)
    if signal.resource == "inodes":
        return {"images": usage.layer_inodes, "node": usage.inodes - usage.layer_inodes}.get(signal.part, usage.inodes)
    return usage.pids if signal.resource == "pids" else usage.memory


def _words(amount: int, resource: str) -> str:
    return f"{amount >> 10}Ki" if resource in ("memory", STORAGE) else str(amount)
