"""What the agent asks of a container runtime; Podman and the fake of tests/harness pass one contract suite.

Rules: every call is idempotent where it can be (removing what is not there is no error); no call blocks the event
loop; what fails raises RuntimeFailure with words for people, never a library's exception.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nodeagent.runtime.seen import Role, SeenContainer, SeenPod, SeenSandbox

PULL_FAILURES = frozenset({"ErrImagePull", "RegistryUnavailable"})  # with back-off they read ImagePullBackOff (I2, S4)


class RuntimeFailure(Exception):  # noqa: N818 - a failure of the runtime, reported as a waiting reason
    """`reason`: a waiting reason (S4) or an event's ("FailedCreatePodSandBox"); `message` is for people."""

    def __init__(self, reason: str, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.transient = transient  # the runtime itself is away: look again soon, count no back-off


@dataclass(frozen=True, slots=True)
class Mount:
    """A bind mount (`source` is a host path) or, with an empty source, a tmpfs of `size` bytes."""

    destination: str
    source: str = ""
    read_only: bool = False
    options: tuple[str, ...] = ()
    size: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """cgroup settings; 0 leaves the kernel's default. cpu_shares as R4; oom_score_adj as R6."""

    cpu_shares: int = 0
    cpu_quota: int = 0  # microseconds per 100 ms period
    memory: int = 0  # bytes
    pids: int = 0
    oom_score_adj: int = 0


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """A pod's namespaces to make: network (with address and route), IPC and UTS (with the hostname), PID if shared."""

    pod_uid: str
    namespace: str
    name: str
    hostname: str
    host_network: bool = False
    host_ipc: bool = False
    sysctls: tuple[tuple[str, str], ...] = ()  # of the namespaces made, names as in a manifest
    share_processes: bool = False  # a PID namespace too, whose first process is nobody's
    cgroup: str = ""  # the pod's, where that process lies; empty: what the runtime gives
    limits: Limits | None = None  # of that cgroup, over all containers; none: only theirs


@dataclass(frozen=True, slots=True)
class Security:
    """Identity and confinement of the container's process."""

    user: str = ""  # "uid", "uid:gid", empty: the image's
    groups: tuple[int, ...] = ()
    groups_alone: bool = False  # without those that the image gives the user
    privileged: bool = False
    read_only_root: bool = False
    no_new_privileges: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    seccomp: str = "unconfined"  # or "default", or a profile's path on the host
    app_armor: str = ""  # a profile's name, "unconfined"; empty: what the runtime gives on such a host
    selinux: tuple[str, ...] = ()  # of the label: "user:…", "role:…", "type:…", "level:…"


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One attempt of one container, ready to create: values are resolved, volumes are host paths."""

    pod_uid: str
    namespace: str
    pod_name: str
    name: str
    attempt: int
    role: Role
    spec_hash: str
    image: str  # as in the manifest
    image_id: str  # what to run
    command: Sequence[str] = ()  # replaces ENTRYPOINT when not empty (E1)
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = ""
    mounts: Sequence[Mount] = ()
    limits: Limits = Limits()
    security: Security = Security()
    stop_signal: str = ""
    tty: bool = False
    stdin: bool = False
    stdin_once: bool = False  # its input ends when the first client that attached leaves
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    cgroup_parent: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)  # words of env, command and args: what for
    secret_revisions: Mapping[str, str] = field(default_factory=dict)  # of the Secrets in its environment, by name


@dataclass(frozen=True, slots=True)
class Image:
    """An image on the host."""

    id: str
    names: tuple[str, ...]
    size: int
    user: str = ""
    stop_signal: str = ""


@dataclass(frozen=True, slots=True)
class Credentials:
    """For one registry; never logged (`repr` hides the password)."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pull is; layers that have not begun yet are in none of it."""

    received: int = 0  # bytes
    expected: int = 0  # bytes of the layers that have begun
    layers: int = 0
    done: int = 0  # layers; those that were here already too


class Runtime(Protocol):
    """The host's containers. `poke` callbacks run on the event loop."""

    async def pods(self) -> dict[str, SeenPod]:
        """Everything of ours on this host, by pod uid. Raises RuntimeFailure(transient) when it can't be known."""
        ...

    async def pod(self, uid: str) -> SeenPod | None:
        """One pod, as `pods` would show it; None when nothing of it is left."""
        ...

    async def make_sandbox(self, spec: SandboxSpec) -> SeenSandbox:
        """Makes the pod's namespaces and gives it an address; what exists is kept.

        Raises:
            RuntimeFailure: FailedCreatePodSandBox, for example when the host's pod range is full.
        """
        ...

    async def remove_sandbox(self, uid: str) -> None:
        """Removes the pod's namespaces and frees its address; all of its containers must be gone."""
        ...

    async def image(self, reference: str) -> Image | None:
        """The local image of that name or id, or None; raises RuntimeFailure(InvalidImageName)."""
        ...

    async def images(self) -> list[Image]:
        """Every image on the host."""
        ...

    async def pull(
        self, reference: str, credentials: Credentials | None = None, told: Callable[[Progress], None] = lambda _: None
    ) -> Image:
        """Fetches an image; raises RuntimeFailure with the registry's words: ErrImagePull, or RegistryUnavailable when
        the registry can't be reached or has trouble of its own. `told` is called on the event loop as bytes come."""
        ...

    async def remove_image(self, image: Image) -> None:
        """Removes an image under all its names; none there is no error. Raises RuntimeFailure(ImageInUse) when a
        container has it; nothing that runs is ever touched."""
        ...

    async def mount_image(self, image: Image, target: Path) -> None:
        """Shows the image's files on the directory `target`, read-only, and makes it; what is mounted there stays.
        Whoever unmounts `target` undoes it. Raises RuntimeFailure(FailedMount)."""
        ...

    async def mounted_images(self) -> set[str]:
        """The ids of all images that are mounted; they can't be removed (ImageInUse)."""
        ...

    async def load_image(self, archive: Path) -> list[Image]:
        """Takes the images of an archive on this host (`podman save`, OCI or Docker, also compressed).

        Raises:
            RuntimeFailure: ImageLoadError when it is no archive of images.
        """
        ...

    async def create(self, spec: ContainerSpec) -> str:
        """Creates a container and returns its id; one of the same pod, name and attempt is replaced unless it runs.

        Its process is told what the words of `spec.secrets` stand for, and so is what is executed in it; no disk, no
        command line of the host and no inspection of the runtime ever shows that.

        Raises:
            RuntimeFailure: CreateContainerError or CreateContainerConfigError.
        """
        ...

    async def start(self, container_id: str) -> None:
        """Starts a created container; raises RuntimeFailure(RunContainerError)."""
        ...

    async def kill(self, container_id: str, signal: str) -> None:
        """Sends a signal ("TERM", "KILL", "SIGUSR1") to the container's first process; none running is no error."""
        ...

    async def resize(self, container_id: str, limits: Limits) -> None:
        """Gives a running container other cpu shares, cpu quota and memory; what has no limit afterwards has none. None
        running is no error. Raises RuntimeFailure(ResizeError): it keeps what it had where that could not be changed.
        """
        ...

    async def weigh(self, shares: Mapping[str, int]) -> None:
        """Gives cgroups above the containers' their cpu shares (R7); one that is not there is no error."""
        ...

    async def remove(self, container_id: str) -> None:
        """Removes a container in whatever state, its log file excepted; none there is no error."""
        ...

    async def reopen_log(self, container_id: str) -> None:
        """A running container's log was renamed: what it writes from now on goes to a new file of the old name.

        Raises:
            RuntimeFailure: LogReopenError; it goes on writing to the renamed file.
        """
        ...

    def exec_command(self, container: SeenContainer, command: Sequence[str], *, tty: bool = False) -> list[str]:
        """The argv to spawn on the host that runs `command` in a running container as its own processes run: same
        namespaces, cgroup, user, capabilities, environment. With `tty` the spawned process must be given a terminal.
        """
        ...

    def attachment(self, container: SeenContainer) -> Path:
        """Where a running container's monitor listens for clients: packets of input come, packets of output go, whose
        first byte is 2 (stdout) or 3 (stderr)."""
        ...

    def resize_terminal(self, container: SeenContainer, rows: int, columns: int) -> None:
        """The container's own terminal has another size; without one nothing happens."""
        ...

    def on_change(self, poke: Callable[[str], None]) -> None:
        """Calls `poke(pod_uid)` milliseconds after a container exits, `poke("")` when anything may have changed."""
        ...

    def on_images(self, changed: Callable[[], None]) -> None:
        """Calls `changed()` when images came, went or got names, whoever did it; several times for one image."""
        ...

    async def configure(self, pod_cidr: str, cluster_cidr: str) -> None:
        """Says which addresses this host gives out ("10.244.1.0/24") and which are all hosts' ("10.244.0.0/16").

        Makes the bridge; the same again is no work. Before the first call no sandbox with a network can be made.
        Sandboxes that exist keep their addresses. Raises RuntimeFailure(NetworkNotReady).
        """
        ...

    async def close(self) -> None:
        """Lets go of watches and connections; containers go on. Nothing may be called afterwards."""
        ...


__all__ = [
    "ContainerSpec", "Credentials", "Image", "Limits", "Mount", "Runtime", "RuntimeFailure", "SandboxSpec",
    "Security", "SeenContainer", "SeenPod", "SeenSandbox",
]  # fmt: skip
