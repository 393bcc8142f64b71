"""From a pod's manifest to what the runtime is asked for: sandbox, limits, mounts.

Rule: pure; the paths of volumes and the image are arguments. What a manifest asks and this host can't do is a
RuntimeFailure(CreateContainerConfigError) in words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.model import pods, quantity
from mesh.model.restarts import MOST
from mesh.v1.core_pb2 import ConfigMap, Container, Pod, PodSpec
from nodeagent.fieldrefs import Allocatable, Around
from nodeagent.names import NO_NAMES, Names
from nodeagent.pods.confinement import security
from nodeagent.pods.environment import File, environment, expand, expand_strictly
from nodeagent.pods.etc import hostname_of
from nodeagent.runtime.port import ContainerSpec, Image, Limits, Mount, RuntimeFailure, SandboxSpec
from nodeagent.runtime.seen import Role
from nodeagent.secrets import NONE, Secrets, Veil

NODE_CRITICAL = "system-node-critical"


@dataclass(frozen=True, slots=True)
class Host:
    """What of the host shows in containers. `memory` is its capacity in bytes (R6), `seccomp` its profiles' place,
    `crash_loop` the longest back-off in seconds (L4)."""

    node_name: str
    ip: str
    memory: int
    allocatable: Allocatable = field(default_factory=Allocatable)
    seccomp: str = ""
    crash_loop: int = MOST


@dataclass(frozen=True, slots=True)
class Ground:
    """What a container stands on: the pod's address, its volumes' host paths by name, its /etc files by path."""

    pod_ip: str
    volumes: Mapping[str, str]
    etc: Mapping[str, str]
    sub_paths: Mapping[int, str]  # of a mount, by its index: the host path of volume and subPath together
    configs: Mapping[str, ConfigMap] = field(default_factory=dict)  # that there are, by name
    read_only: frozenset[str] = frozenset()  # volumes that containers can only read, by name
    names: Names = field(default_factory=Names)
    services: Mapping[str, str] = field(default_factory=dict)  # variables that Services give (E7)
    termination: str = ""  # host path of the file for the termination message
    files: Mapping[File, str] = field(default_factory=dict)  # texts of those that its environment refers to
    secrets: Secrets = NONE  # opened, for this one container
    mark: str = ""  # of the stand-ins for their values
    revisions: Mapping[str, str] = field(default_factory=dict)  # of the Secrets in its environment, by name


def around(host: Host, pod_ip: str) -> Around:
    """What a pod's fields may tell of its surroundings."""
    return Around(host.ip, pod_ip, host.allocatable)


def sub_paths(container: Container, env: Mapping[str, str], veil: Veil | None = None) -> dict[int, str]:
    """The subPath of each mount that has one, by its index, with subPathExpr expanded (V14).

    Raises:
        RuntimeFailure: CreateContainerConfigError for an unknown variable, a Secret's value (paths are seen by all), or
            a path that leads out of the volume.
    """
    found = {}
    for number, mount in enumerate(container.volume_mounts):
        path = mount.sub_path
        if mount.sub_path_expr:
            path = expand_strictly(mount.sub_path_expr, env, container, "subPathExpr")
        if veil is not None and veil.hides(path):
            why = f'subPathExpr "{mount.sub_path_expr}" would show the value of a Secret in a path'
            raise RuntimeFailure("CreateContainerConfigError", f"cannot create container {container.name}: {why}")
        if path.startswith("/") or ".." in path.split("/"):
            why = f'subPathExpr "{mount.sub_path_expr}" leads out of the volume: "{path}"'
            raise RuntimeFailure("CreateContainerConfigError", f"cannot create container {container.name}: {why}")
        if path:
            found[number] = path
    return found


def sandbox_spec(pod: Pod, node_name: str, names: Names = NO_NAMES) -> SandboxSpec:
    """The namespaces of a pod."""
    return SandboxSpec(
        pod_uid=pod.metadata.uid, namespace=pod.metadata.namespace, name=pod.metadata.name,
        hostname=hostname_of(pod, node_name, names), host_network=pod.spec.host_network, host_ipc=pod.spec.host_ipc,
        sysctls=tuple((sysctl.name, sysctl.value) for sysctl in pod.spec.security_context.sysctls),
        share_processes=pod.spec.share_process_namespace, cgroup=pod_cgroup(pod), limits=own_limits(pod),
    )  # fmt: skip


def pod_cgroup(pod: Pod) -> str:
    """Where the pod's control groups lie (R7)."""
    return f"/mesh/{pods.qos_class(pod.spec).lower()}/pod{pod.metadata.uid}"


def own_limits(pod: Pod) -> Limits | None:
    """What all containers of the pod may take together, if it says so as a whole (R7)."""
    most = pods.own_limits(pod.spec)
    if not most:
        return None
    return Limits(
        cpu_shares=_shares(pods.effective_requests(pod).get("cpu", 0)),
        cpu_quota=_quota(most.get("cpu", 0)),
        memory=most.get("memory", 0),
    )


def container_spec(  # noqa: PLR0913 - each is one thing a container is made of
    pod: Pod,
    container: Container,
    *,
    attempt: int,
    role: Role,
    image: Image,
    ground: Ground,
    host: Host,
    spec_hash: str,
) -> ContainerSpec:
    """One attempt of a container, ready to create; raises RuntimeFailure(CreateContainerConfigError)."""
    veil = Veil(ground.mark)
    at = around(host, ground.pod_ip)
    env = environment(pod, container, at, ground.configs, ground.secrets, veil, ground.services, ground.files)
    return ContainerSpec(
        pod_uid=pod.metadata.uid,
        namespace=pod.metadata.namespace,
        pod_name=pod.metadata.name,
        name=container.name,
        attempt=attempt,
        role=role,
        spec_hash=spec_hash,
        image=container.image,
        image_id=image.id,
        command=[expand(word, env) for word in container.command],
        args=[expand(word, env) for word in container.args],
        env={"HOSTNAME": hostname_of(pod, host.node_name, ground.names), **env},
        working_dir=container.working_dir,
        mounts=mounts(container, ground),
        limits=limits(pod, container, host.memory),
        security=security(pod, container, image, host.seccomp),
        stop_signal=container.lifecycle.stop_signal or image.stop_signal,
        tty=container.tty,
        stdin=container.stdin,
        stdin_once=container.stdin_once,
        host_network=pod.spec.host_network,
        host_pid=pod.spec.host_pid,
        host_ipc=pod.spec.host_ipc,
        cgroup_parent=pod_cgroup(pod),
        secrets=veil.values,
        secret_revisions=ground.revisions,
    )


# ---- limits


def limits(pod: Pod, container: Container, host_memory: int) -> Limits:
    """R4, R5, R6."""
    limit, request = container.resources.limits, container.resources.requests
    cpu = _millis(request.get("cpu") or limit.get("cpu"))
    return Limits(
        cpu_shares=_shares(cpu),
        cpu_quota=_quota(_millis(limit.get("cpu"))),
        memory=_whole(limit.get("memory")),
        oom_score_adj=oom_score_adj(_oom_class(pod.spec), _counted_memory(pod, container), host_memory),
    )


def _shares(millis: int) -> int:
    return max(2, millis * 1024 // 1000)


def _quota(millis: int) -> int:
    return max(1000, millis * 100) if millis else 0


def _oom_class(spec: PodSpec) -> str:
    """The class, but what its node can't do without is spared as a Guaranteed pod is (R6)."""
    return "Guaranteed" if spec.priority_class_name == NODE_CRITICAL else pods.qos_class(spec)


def _counted_memory(pod: Pod, container: Container) -> int:
    """What R6 counts: a container's request for memory, a sidecar's being no less than the least of the containers it
    serves, and its equal share of what the pod asks for as a whole beyond them all."""
    own = _asked_memory(container)
    if any(pods.is_sidecar(c) and c.name == container.name for c in pod.spec.init_containers):
        own = max(own, min(map(_asked_memory, pod.spec.containers), default=0))
    whole = pods.requests_of(pod.spec.resources).get("memory", 0)
    if not whole:
        return own
    count = len(pod.spec.containers) + len(pod.spec.init_containers)
    return own + max(whole - pods.containers_requests(pod.spec).get("memory", 0), 0) // count


def oom_score_adj(qos: str, memory_request: int, capacity: int) -> int:
    """Who goes first when the host runs out of memory (R6)."""
    if qos == "Guaranteed":
        return -997
    if qos == "BestEffort":
        return 1000
    return min(max(3, 1000 - 1000 * memory_request // max(capacity, 1)), 999)


def _millis(text: str | None) -> int:
    return quantity.amount("cpu", text) if text else 0


def _whole(text: str | None) -> int:
    return quantity.amount("memory", text) if text else 0


def _asked_memory(container: Container) -> int:
    return pods.requests_of(container.resources).get("memory", 0)


# ---- mounts


def mounts(container: Container, ground: Ground) -> tuple[Mount, ...]:
    """The container's volume mounts, and where no mount of the user's is the pod's /etc files and the termination
    message's."""
    own = [
        Mount(
            destination=mount.mount_path,
            source=ground.sub_paths.get(number, ground.volumes.get(mount.name, "")),
            read_only=mount.read_only or mount.name in ground.read_only,
            options=_propagation(mount.mount_propagation),
        )
        for number, mount in enumerate(container.volume_mounts)
    ]
    files = dict(ground.etc)
    if ground.termination and container.termination_message_path:
        files[container.termination_message_path] = ground.termination
    taken = {mount.destination for mount in own}
    given = [Mount(destination, source) for destination, source in files.items() if destination not in taken]
    return (*given, *own)


def _propagation(kind: str) -> tuple[str, ...]:
    return {"HostToContainer": ("rslave",), "Bidirectional": ("rshared",)}.get(kind, ())
