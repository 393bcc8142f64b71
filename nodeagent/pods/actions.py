"""The words between look and step: what a worker knows of its pod (Facts), and what it may be told to do (Action).

Rule: pure values. A new thing to do on the host starts here, is chosen in plan.py and done in execute.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from types import MappingProxyType
from typing import Any

from mesh.model.restarts import Backoff
from mesh.v1.core_pb2 import Pod
from nodeagent.pods.record import Record, Streak
from nodeagent.runtime.port import Image
from nodeagent.runtime.seen import Role, SeenPod

_NOTHING: Mapping[Any, Any] = MappingProxyType({})

_UNTOLD = "CreateContainerConfigError"  # configuration is missing

# Subjects of failures beside containers, whose names have no slash.
SANDBOX, VOLUMES, STOP, REMOVAL, RESIZE = "/sandbox", "/volumes", "/stop", "/removal", "/resize"


@dataclass(frozen=True, slots=True)
class Failure:
    """Something did not work; it is tried again at `retry_at`. `count` failures in a row."""

    reason: str
    message: str
    at: int
    retry_at: int
    count: int = 1


class Volumes(Enum):
    """How the pod's volumes stand, as far as this process knows."""

    UNKNOWN = auto()
    READY = auto()
    REMOVED = auto()


@dataclass(frozen=True, slots=True)
class ImageFact:
    """The image of one attempt of one container: being pulled (neither), there, or failed."""

    attempt: int
    reference: str = ""
    image: Image | None = None
    failure: Failure | None = None
    pulling: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """What only this process knows; losing it costs a repeated look or try, nothing else.

    `failures` by subject: a container's name, or one of SANDBOX, VOLUMES, STOP, REMOVAL, RESIZE.
    """

    volumes: Volumes = Volumes.UNKNOWN
    projected: Mapping[str, str] = field(default_factory=lambda: _NOTHING)  # revision that is shown, by volume
    images: Mapping[str, ImageFact] = field(default_factory=lambda: _NOTHING)
    failures: Mapping[str, Failure] = field(default_factory=lambda: _NOTHING)
    killed: Mapping[str, int] = field(default_factory=lambda: _NOTHING)  # container id: when KILL was sent
    hooks: Mapping[tuple[str, str], bool] = field(default_factory=lambda: _NOTHING)  # (id, hook): begun here; is done

    def with_image(self, name: str, fact: ImageFact) -> "Memory":
        """With the image of a container."""
        return replace(self, images={**self.images, name: fact})

    def without_image(self, name: str) -> "Memory":
        """What was known of the image of a container is forgotten."""
        return replace(self, images={k: v for k, v in self.images.items() if k != name})

    def with_failure(self, subject: str, failure: Failure | None) -> "Memory":
        """With a failure, or (None) without the one that was."""
        rest = {k: v for k, v in self.failures.items() if k != subject}
        return replace(self, failures={**rest, subject: failure} if failure else rest)

    def reconfigured(self) -> "Memory":
        """Configuration has changed: what could not be mounted or created without it may be tried at once."""
        rest = {k: f for k, f in self.failures.items() if k != VOLUMES and f.reason != _UNTOLD}
        images = {n: f for n, f in self.images.items() if not f.failure or f.failure.reason != _UNTOLD}
        return replace(self, failures=rest, images=images)

    def with_hook(self, container_id: str, hook: str, *, done: bool) -> "Memory":
        """With a hook ("postStart", "preStop") that runs, or has run."""
        return replace(self, hooks={**self.hooks, (container_id, hook): done})

    def with_kill(self, container_id: str, at: int) -> "Memory":
        """With a KILL that was sent."""
        return replace(self, killed={**self.killed, container_id: at})


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a decision about one pod rests on.

    `ending`: the pod is to go, deleted or no longer assigned. `may_kill`: this process has had an Assignment, so
    something that runs may be stopped (nothing is removed before). `grace` in seconds, for whatever must stop.
    `hashes` are the spec hashes by container, `revisions` what volumes should show, "" where that can't be told now.
    """

    pod: Pod
    hashes: Mapping[str, str]
    seen: SeenPod | None
    record: Record
    memory: Memory
    now: int
    ending: bool = False
    may_kill: bool = True
    grace: int = 30
    host_ip: str = ""
    halted: int | None = None  # the host shuts down: seconds to stop in, and nothing is started
    revisions: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    held: str = ""  # why it must not be stopped yet though it is deleted: proxies, or connections
    may_begin: bool = True  # it is known to be this host's still: what is not there yet may be made
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True, slots=True)
class PrepareVolumes:
    """Make the pod's volumes on the host."""


@dataclass(frozen=True, slots=True)
class ProjectVolumes:
    """Give volumes the files that they should show by now; nothing is restarted."""


@dataclass(frozen=True, slots=True)
class MakeSandbox:
    """Make the pod's namespaces; `changed`: it had some before, and they were lost."""

    changed: bool = False


@dataclass(frozen=True, slots=True)
class ResolveImage:
    """Find or fetch the image for an attempt; a pull goes on in the background and pokes when it ends."""

    container: str
    attempt: int


@dataclass(frozen=True, slots=True)
class CreateContainer:
    """Create one attempt; a restart carries the back-off that it lets through."""

    container: str
    attempt: int
    role: Role
    streak: Streak | None = None


@dataclass(frozen=True, slots=True)
class StartContainer:
    """Start what is created."""

    container: str
    container_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Terminate:
    """Ask a container to stop; KILL follows at `deadline`. `again`: it was asked before, now it has less time. With
    `later`, TERM follows (Term) once its preStop hook is done (L8) and its turn has come (L13)."""

    container: str
    container_id: str
    deadline: int
    message: str
    again: bool = False
    later: bool = False


@dataclass(frozen=True, slots=True)
class Term:
    """Nothing is awaited any more, or its time is over: TERM; KILL at `deadline`, or when the grace ends if later."""

    container: str
    container_id: str
    deadline: int


@dataclass(frozen=True, slots=True)
class Resize:
    """Give a running container the cpu and memory that are granted to it (L20)."""

    container: str
    container_id: str


@dataclass(frozen=True, slots=True)
class Greet:
    """Begin the postStart hook of a container that has just been started (L7)."""

    container: str
    container_id: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Begin the preStop hook, or begin it again: the agent that did is no more."""

    container: str
    container_id: str
    deadline: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End a container that did not stop in its time."""

    container: str
    container_id: str


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    """Remove a container that does not run; its log stays."""

    container: str
    container_id: str


@dataclass(frozen=True, slots=True)
class RemoveSandbox:
    """Remove the namespaces and free the address; no container is left."""


@dataclass(frozen=True, slots=True)
class RemoveVolumes:
    """Remove what the pod's volumes held on this host."""


@dataclass(frozen=True, slots=True)
class Fail:
    """The whole pod fails, for a reason of its own; its containers are stopped next."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Tell that a deleted pod runs on until what it waits for has come about."""

    waits_for: str
    message: str


@dataclass(frozen=True, slots=True)
class EndDrain:
    """Nothing is waited for any more; `late`: because the time for it is over."""

    message: str
    late: bool = False


@dataclass(frozen=True, slots=True)
class Settle:
    """Nothing runs any more and never will: the status is now final."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Remove what is left: volumes, logs, the record. The pod is gone."""


Action = (
    PrepareVolumes | ProjectVolumes | MakeSandbox | ResolveImage | CreateContainer | StartContainer | Resize | Greet
    | Drain | EndDrain | Terminate | Leave | Term | Kill | RemoveContainer | RemoveSandbox | RemoveVolumes | Fail
    | Settle | Forget
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, all at once; without actions, rest until a poke or `wake_at` (0: only a poke)."""

    actions: tuple[Action, ...] = ()
    wake_at: int = 0
