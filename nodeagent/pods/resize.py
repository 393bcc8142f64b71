"""Resizing in place (L20): what of a pod's cpu and memory this host has granted, and which cgroups lag behind it.

    wanted (the spec)  ──admit──▶  granted (Record.allocated)  ──Resize──▶  in force (the cgroups)

Rule: pure. Everything but the spec itself counts with what is granted; what was granted is on disk before a cgroup
follows, so a new agent goes on.
"""

from collections.abc import Mapping
from dataclasses import replace

from mesh.model.fields import copy_of
from mesh.model.pods import containers, effective_requests
from mesh.v1.core_pb2 import Container, Pod, ResourceRequirements
from nodeagent.pods.admit import Space
from nodeagent.pods.record import Allocation, Record
from nodeagent.pods.standing import Standing

DEFERRED, INFEASIBLE = "Deferred", "Infeasible"
_RESOURCES = ("cpu", "memory")


def wanted_of(pod: Pod) -> dict[str, Allocation]:
    """What the spec asks for, by container."""
    return {c.name: allocation_of(c.resources) for c in containers(pod.spec)}


def allocation_of(resources: ResourceRequirements) -> Allocation:
    """Resources as a value."""
    return Allocation(dict(resources.requests), dict(resources.limits))


def granted(pod: Pod, allocated: Mapping[str, Allocation]) -> Pod:
    """The pod with what is granted in the place of what it asks for."""
    if not allocated or allocated == wanted_of(pod):
        return pod
    made = copy_of(pod)
    for container in containers(made.spec):
        if container.name in allocated:
            container.resources.CopyFrom(requirements(allocated[container.name]))
    return made


def requirements(allocation: Allocation) -> ResourceRequirements:
    """The value as resources."""
    return ResourceRequirements(requests=allocation.requests, limits=allocation.limits)


def refusal(pod: Pod, space: Space) -> tuple[str, str]:
    """Why a pod can't be as big as its spec says: Infeasible (never on this host) or Deferred (not now), and words."""
    requests = {n: a for n, a in effective_requests(pod).items() if n in _RESOURCES and a > 0}
    for name, wanted in sorted(requests.items()):
        capacity = space.allocatable.get(name, 0)
        if wanted > capacity:
            return INFEASIBLE, f"Node didn't have enough capacity: {name}, requested: {wanted}, capacity: {capacity}"
    for name, wanted in sorted(requests.items()):
        used, capacity = space.used.get(name, 0), space.allocatable.get(name, 0)
        if used + wanted > capacity:
            return DEFERRED, (
                f"Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {capacity}"
            )
    return "", ""


def decide(record: Record, pod: Pod, attempts: Mapping[str, int], space: Space, now: int) -> Record:
    """The record after the host was asked for what the spec of `pod` wants; `attempts` are of containers that run."""
    wanted = wanted_of(pod)
    if not record.allocated:
        return replace(record, allocated=wanted)
    if wanted == record.allocated:
        return replace(record, resize=("", ""), resize_at=0) if record.resize[0] else record
    why = refusal(pod, space)
    if why[0]:
        return record if record.resize == why else replace(record, resize=why, resize_at=now)
    behind = dict(record.in_force)
    for name, attempt in attempts.items():
        before = record.allocated.get(name)
        known = behind.get(name)
        if before is not None and before != wanted.get(name) and (known is None or known.attempt != attempt):
            behind[name] = replace(before, attempt=attempt)
    return replace(record, allocated=wanted, in_force=behind, resize=("", ""), resize_at=now)


def lagging(standing: Standing, record: Record) -> Allocation | None:
    """What is in force of a running container whose cgroup has yet to follow what is granted."""
    old = record.in_force.get(standing.name)
    if old is None or not standing.running or standing.seen is None or standing.seen.attempt != old.attempt:
        return None
    return old


def needs_restart(container: Container, old: Allocation, new: Allocation) -> bool:
    """Whether what differs takes effect at a restart only, by the container's resizePolicy."""
    policies = {p.resource_name: p.restart_policy for p in container.resize_policy}
    return any(policies.get(n) == "RestartContainer" for n in _RESOURCES if _one(old, n) != _one(new, n))


def _one(allocation: Allocation, name: str) -> tuple[str | None, str | None]:
    return allocation.requests.get(name), allocation.limits.get(name)


def resources_in_words(resources: ResourceRequirements) -> str:
    """For events: "cpu 500m of 1, memory 64Mi of 128Mi"."""
    said = []
    for name in _RESOURCES:
        request, limit = resources.requests.get(name), resources.limits.get(name)
        if request or limit:
            said.append(f"{name} {request or limit}" + (f" of {limit}" if limit else ""))
    return ", ".join(said) or "no requests"
