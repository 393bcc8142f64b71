"""What everyone asks of a pod: is it ready, is it over, what does it need, which class is it of.

Rule: pure questions of one pod; a quantity that cannot be read counts as nothing (admission has refused it before).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from mesh.model import annotations, conditions, quantity
from mesh.v1.core_pb2 import Container, ContainerPort, ContainerStatus, Pod, PodSpec, ResourceRequirements
from mesh.v1.meta_pb2 import IntOrString

MIRROR = "kubernetes.io/config.mirror"  # annotation of the object that shows a static pod (G10)
TERMINAL = ("Succeeded", "Failed")
DEFAULT_GRACE = 30  # seconds (L9)
DRAIN = "mesh/drain-seconds"  # annotation: how long a deleted pod may wait for its connections to finish
DEFAULT_DRAIN, LONGEST_DRAIN = 15, 3600  # seconds
OWN_RESOURCES = ("cpu", "memory")  # what a pod can ask for as a whole
NOW = 1  # a deletion with no more grace than this (--now) waits for nobody


def is_terminal(pod: Pod) -> bool:
    """Whether the pod has ended for good; such a phase never leaves (S1)."""
    return pod.status.phase in TERMINAL


def is_ready(pod: Pod) -> bool:
    """Whether the condition Ready holds."""
    return conditions.is_true(pod.status.conditions, "Ready")


def is_deleting(pod: Pod) -> bool:
    """Whether the pod is asked to go."""
    return pod.metadata.HasField("deletion_timestamp")


def is_mirror(pod: Pod) -> bool:
    """Whether the object only shows a static pod; deleting it stops nothing (G10)."""
    return MIRROR in pod.metadata.annotations


def is_sidecar(container: Container) -> bool:
    """Whether an init container keeps running beside the others (L13)."""
    return container.restart_policy == "Always"


def grace_seconds(pod: Pod) -> int:
    """Seconds the containers get to end by themselves: of the deletion, else of the spec, else 30 (L9)."""
    if pod.metadata.HasField("deletion_grace_period_seconds"):
        return pod.metadata.deletion_grace_period_seconds
    return (
        pod.spec.termination_grace_period_seconds
        if pod.spec.HasField("termination_grace_period_seconds")
        else DEFAULT_GRACE
    )


def drain_seconds(pod: Pod) -> int:
    """How long its containers may run on, once it is deleted, for connections through Services to finish; 0: not."""
    if pod.metadata.HasField("deletion_grace_period_seconds") and pod.metadata.deletion_grace_period_seconds <= NOW:
        return 0
    asked = annotations.counted(pod.metadata.annotations.get(DRAIN))
    return asked if asked is not None and asked <= LONGEST_DRAIN else DEFAULT_DRAIN


# ---- containers ---------------------------------------------------------------------------------------------------


def containers(spec: PodSpec) -> Iterator[Container]:
    """Init containers, then containers, in the order they start."""
    yield from spec.init_containers
    yield from spec.containers


def container_named(spec: PodSpec, name: str) -> Container | None:
    """The container or init container of this name."""
    return next((c for c in containers(spec) if c.name == name), None)


def default_container(pod: Pod) -> str:
    """Which container `logs` and `exec` mean when none is named: the annotated one, else the first."""
    wished = pod.metadata.annotations.get("kubectl.kubernetes.io/default-container", "")
    if wished and container_named(pod.spec, wished):
        return wished
    return pod.spec.containers[0].name if pod.spec.containers else ""


def status_named(statuses: Iterable[ContainerStatus], name: str) -> ContainerStatus | None:
    """The status of the container of this name."""
    return next((s for s in statuses if s.name == name), None)


def port_named(spec: PodSpec, name: str) -> ContainerPort | None:
    """The container port of this name; the first wins."""
    return next((p for c in spec.containers for p in c.ports if p.name == name), None)


def port_number(spec: PodSpec, port: IntOrString) -> int | None:
    """The number of a port given as a number or as a container port's name; None when no port has the name (X4)."""
    if port.WhichOneof("kind") == "int_value":
        return port.int_value
    found = port_named(spec, port.string_value)
    return found.container_port if found else None


# ---- resources ----------------------------------------------------------------------------------------------------


def requests_of(resources: ResourceRequirements) -> dict[str, int]:
    """Requests, completed by limits (R2): cpu in thousandths, anything else in whole units."""
    return _amounts({**resources.limits, **resources.requests})


def held_requests(pod: Pod) -> dict[str, int]:
    """What a pod on a node takes from it: what its spec wants or what its host has granted, whichever is more; of a
    resize that its host can never grant, only the latter (L20)."""
    pending = conditions.find(pod.status.conditions, "PodResizePending")
    wanted = {} if pending is not None and pending.reason == "Infeasible" else effective_requests(pod)
    held = {
        s.name: _max(_amounts(s.allocated_resources), requests_of(s.resources))
        for s in (*pod.status.init_container_statuses, *pod.status.container_statuses)
        if s.allocated_resources
    }
    if not held:
        return effective_requests(pod)
    granted = _effective(pod.spec, lambda c: held.get(c.name) or requests_of(c.resources))
    return _max(wanted, _sum(granted, _amounts(pod.spec.overhead)))


def effective_requests(pod: Pod) -> dict[str, int]:
    """What a pod takes from a node (L12): max(init, sum(app)) with sidecars and overhead; units as `requests_of`.

    An init container runs beside the sidecars started before it; the containers run beside all of them.
    """
    own = pod.spec.resources
    given = {**_amounts(own.limits), **containers_requests(pod.spec), **_amounts(own.requests)}
    return _sum(given, _amounts(pod.spec.overhead))


def containers_requests(spec: PodSpec) -> dict[str, int]:
    """What the containers of a pod ask for together (L12), whatever the pod asks for as a whole."""
    return _effective(spec, lambda container: requests_of(container.resources))


def effective_limits(pod: Pod) -> dict[str, int]:
    """What a pod may take at most, of the resources for which it or any container has a limit; its own goes first."""
    together = _effective(pod.spec, lambda container: _amounts(container.resources.limits))
    return {**together, **own_limits(pod.spec)}


def own_limits(spec: PodSpec) -> dict[str, int]:
    """The limits that a pod has as a whole, over all of its containers; none of what is 0."""
    return {name: amount for name, amount in _amounts(spec.resources.limits).items() if amount > 0}


def _effective(spec: PodSpec, of: Callable[[Container], Mapping[str, int]]) -> dict[str, int]:
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.init_containers:
        wanted = of(container)
        if is_sidecar(container):
            sidecars = _sum(sidecars, wanted)
            peak = _max(peak, sidecars)
        else:
            peak = _max(peak, _sum(sidecars, wanted))
    running = sidecars
    for container in spec.containers:
        running = _sum(running, of(container))
    return _max(peak, running)


def qos_class(spec: PodSpec) -> str:
    """Guaranteed, Burstable or BestEffort (R3)."""
    whole = spec.resources.limits or spec.resources.requests
    given = [spec.resources] if whole else [c.resources for c in containers(spec)]
    if not any(_positive(r.requests) or _positive(r.limits) for r in given):
        return "BestEffort"
    return "Guaranteed" if all(_is_guaranteed(r) for r in given) else "Burstable"


def _is_guaranteed(resources: ResourceRequirements) -> bool:
    limits, requests = _positive(resources.limits), _positive({**resources.limits, **resources.requests})
    return limits.keys() == {"cpu", "memory"} and limits == requests


def _positive(resources: Mapping[str, str]) -> dict[str, quantity.Quantity]:
    """CPU and memory that are not 0: what decides the class."""
    read = {n: _read(t) for n, t in resources.items() if n in ("cpu", "memory")}
    return {n: q for n, q in read.items() if q.nanos > 0}


def _read(text: str) -> quantity.Quantity:
    try:
        return quantity.parse(text)
    except ValueError:
        return quantity.Quantity(0)


def _amounts(resources: Mapping[str, str]) -> dict[str, int]:
    return {n: q.millis if n == "cpu" else q.whole for n, q in ((n, _read(t)) for n, t in resources.items())}


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {n: one.get(n, 0) + other.get(n, 0) for n in sorted({*one, *other})}


def _max(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {n: max(one.get(n, 0), other.get(n, 0)) for n in sorted({*one, *other})}
