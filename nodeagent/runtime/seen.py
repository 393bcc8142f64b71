"""What is seen of a pod on the host: values, read from container labels and the host; no memory is needed.

Times are nanoseconds since the epoch, 0 for "not yet". Identity comes from labels (L18), see `runtime.names`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """A container's state; LOST: the runtime has lost track of it (its monitor died), it must be removed."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    LOST = "lost"


class Role(StrEnum):
    """What a container is in its pod."""

    APP = "app"
    INIT = "init"


@dataclass(frozen=True, slots=True)
class SeenContainer:
    """One attempt of one container; `attempt` counts from 0 and equals the restart count (L17)."""

    id: str
    pod_uid: str
    name: str
    attempt: int
    role: Role
    state: State
    spec_hash: str
    image: str
    image_id: str
    created_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    pid: int = 0
    oom_killed: bool = False
    log_path: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict)  # revisions of those in its environment, by name
    groups_alone: bool = False  # see Security


@dataclass(frozen=True, slots=True)
class SeenSandbox:
    """A pod's namespaces; `ip` is empty on the host's network."""

    pod_uid: str
    namespace: str
    name: str
    ip: str
    created_at: int
    host_network: bool = False
    netns: str = ""  # path of the network namespace; empty on the host's network
    lost: bool = False  # the first process of a shared PID namespace is dead, and every other of the pod with it


@dataclass(frozen=True, slots=True)
class SeenPod:
    """Everything of one pod on this host; containers sorted by (name, attempt)."""

    uid: str
    namespace: str
    name: str
    sandbox: SeenSandbox | None = None
    containers: tuple[SeenContainer, ...] = ()

    def latest(self, container: str) -> SeenContainer | None:
        """The newest attempt of a container, or None."""
        attempts = [c for c in self.containers if c.name == container]
        return attempts[-1] if attempts else None

    def previous(self, container: str) -> SeenContainer | None:
        """The attempt before the newest, or None."""
        attempts = [c for c in self.containers if c.name == container]
        return attempts[-2] if len(attempts) > 1 else None
