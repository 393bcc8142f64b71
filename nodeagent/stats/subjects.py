"""Who is measured: the pods of this host and their running containers, with what their figures are labelled.

Rule: pure. Texts of labels are made here, once for each state of a pod: they are most of the work of a scrape.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mesh.exposition.text import labels
from mesh.model import quantity
from mesh.model.pods import container_named, qos_class
from mesh.model.times import SECOND
from mesh.v1.core_pb2 import Pod, PodStatus
from nodeagent.probes.counts import Count
from nodeagent.probes.state import Kind
from nodeagent.runtime import names
from nodeagent.runtime.seen import SeenContainer, SeenPod, State


@dataclass(frozen=True, slots=True)
class RunningContainer:
    """One of a pod. Limits are 0 when there are none; cpu in thousandths."""

    name: str
    id: str
    cgroup: str
    started_at: int
    cpu_limit: int
    memory_limit: int
    labels: str  # container, id, image, name, namespace, pod: cAdvisor's
    short: str  # container, namespace, pod


@dataclass(frozen=True, slots=True)
class Subject:
    """A pod; `link` is the host's end of its network, empty on the host's own."""

    uid: str
    namespace: str
    name: str
    cgroup: str
    link: str
    since: int
    containers: tuple[RunningContainer, ...]
    labels: str
    short: str  # namespace, pod
    pod: Pod
    status: PodStatus
    seen: SeenPod | None = None
    probes: Mapping[tuple[str, Kind], Count] = field(default_factory=dict)

    def groups(self) -> Iterable[str]:
        """Paths of its control groups."""
        yield self.cgroup
        for container in self.containers:
            yield container.cgroup

    def took_to_start(self, since: int) -> float:
        """Seconds from the pod's sandbox to the first attempt of all of its containers; 0 as long as not all of them
        run, or when that began before `since`."""
        first = [c for c in (self.seen.containers if self.seen else ()) if c.attempt == 0 and c.started_at]
        wanted = {c.name for c in self.pod.spec.containers}
        if self.since < since or not wanted <= {c.name for c in first if c.state is State.RUNNING}:
            return 0.0
        return max(max(c.started_at for c in first if c.name in wanted) - self.since, 1) / SECOND


def subject_of(pod: Pod, status: PodStatus, seen: SeenPod | None, probes: Mapping[tuple[str, Kind], Count]) -> Subject:
    """What is to be measured of a pod."""
    meta = pod.metadata
    cgroup = f"/mesh/{qos_class(pod.spec).lower()}/pod{meta.uid}"
    running = [c for c in (seen.containers if seen else ()) if c.state is State.RUNNING]
    sandbox = seen.sandbox if seen else None
    return Subject(
        uid=meta.uid, namespace=meta.namespace, name=meta.name, cgroup=cgroup,
        link=names.host_link(meta.uid) if sandbox and not sandbox.host_network else "",
        since=sandbox.created_at if sandbox else 0,
        containers=tuple(_container(pod, c, cgroup) for c in running),
        labels=labels(_labels("", cgroup, "", "", meta.namespace, meta.name)),
        short=labels({"namespace": meta.namespace, "pod": meta.name}),
        pod=pod, status=status, seen=seen, probes=probes,
    )  # fmt: skip


def _container(pod: Pod, seen: SeenContainer, parent: str) -> RunningContainer:
    meta, cgroup = pod.metadata, names.container_cgroup(parent, seen.id)
    spec = container_named(pod.spec, seen.name)
    limits = dict(spec.resources.limits) if spec else {}
    return RunningContainer(
        name=seen.name, id=seen.id, cgroup=cgroup, started_at=seen.started_at,
        cpu_limit=quantity.amount("cpu", limits["cpu"]) if "cpu" in limits else 0,
        memory_limit=quantity.amount("memory", limits["memory"]) if "memory" in limits else 0,
        labels=labels(_labels(seen.name, cgroup, seen.image, seen.id, meta.namespace, meta.name)),
        short=labels({"container": seen.name, "namespace": meta.namespace, "pod": meta.name}),
    )  # fmt: skip


def _labels(container: str, cgroup: str, image: str, name: str, namespace: str, pod: str) -> dict[str, str]:
    """cAdvisor's."""
    return {
        "container": container, "id": cgroup, "image": image, "name": name, "namespace": namespace, "pod": pod,
    }  # fmt: skip


def memory_limit(subject: Subject) -> int:
    """A pod's, which it has when every container has one (R7); else 0."""
    wanted = [c.resources.limits.get("memory", "") for c in subject.pod.spec.containers]
    return sum(quantity.amount("memory", text) for text in wanted) if wanted and all(wanted) else 0
