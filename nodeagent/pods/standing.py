"""How each container of a pod stands: what of it is there now, and how it last ended.

Rule: pure; one walk over the pod's containers serves plan and status alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mesh.model.pods import is_sidecar
from mesh.v1.core_pb2 import Container, Pod
from nodeagent.pods.record import Death, Record
from nodeagent.probes.wanted import has_started, verdict_of
from nodeagent.runtime.seen import Role, SeenContainer, SeenPod, SeenSandbox, State


@dataclass(frozen=True, slots=True)
class Standing:
    """One container; `seen` is its newest attempt on the host."""

    container: Container
    role: Role
    spec_hash: str
    seen: SeenContainer | None
    death: Death | None
    attempts: int  # the newest attempt ever started, -1 for none
    started: bool = False  # it runs, and its startup probe and postStart hook are done

    @property
    def name(self) -> str:
        """The container's."""
        return self.container.name

    @property
    def sidecar(self) -> bool:
        """It is an init container that runs on beside the others (L13)."""
        return self.role is Role.INIT and is_sidecar(self.container)

    @property
    def running(self) -> bool:
        """Its newest attempt runs."""
        return self.seen is not None and self.seen.state is State.RUNNING

    @property
    def ready_to_start(self) -> SeenContainer | None:
        """An attempt that is created for this very spec and only waits to be started."""
        if self.seen is None or self.seen.state is not State.CREATED or self.seen.spec_hash != self.spec_hash:
            return None
        return self.seen if self.seen.attempt > self.attempts else None

    @property
    def next_attempt(self) -> int:
        """The number of the next attempt; one that was created and never started keeps its number."""
        return self.attempts + 1


def standings(
    pod: Pod, seen: SeenPod | None, record: Record, hashes: Mapping[str, str]
) -> tuple[list[Standing], list[Standing]]:
    """Init containers and app containers, in the order of the spec; `hashes` are spec hashes by container."""

    def stand(container: Container, role: Role) -> Standing:
        name = container.name
        latest = seen.latest(name) if seen else None
        attempts = record.attempts.get(name, -1)
        if latest and latest.state is not State.CREATED:
            attempts = max(attempts, latest.attempt)
        runs = latest is not None and latest.state is State.RUNNING
        started = runs and latest is not None and has_started(container, verdict_of(record.verdicts, latest))
        return Standing(container, role, hashes[name], latest, record.deaths.get(name), attempts, started)

    init = [stand(c, Role.INIT) for c in pod.spec.init_containers]
    return init, [stand(c, Role.APP) for c in pod.spec.containers]


def belongs(death: Death | None, sandbox: SeenSandbox | None) -> bool:
    """Whether that life was lived in this sandbox, not in one before it."""
    return death is not None and sandbox is not None and death.started_at >= sandbox.created_at


def init_done(init: Standing, sandbox: SeenSandbox | None) -> bool:
    """Whether an init container has done its work for this sandbox (L12); a sidecar has once it is started (L13)."""
    if init.sidecar:
        return init.started
    return not init.running and belongs(init.death, sandbox) and bool(init.death and init.death.exit_code == 0)


def init_turn(init: list[Standing], sandbox: SeenSandbox | None) -> int:
    """Which init container's turn it is, as many as there are when all are done; a sidecar that ends later on holds up
    nothing that was begun after it (L13)."""
    begun = [n for n, i in enumerate(init) if i.running or belongs(i.death, sandbox)]
    if not begun or sandbox is None:
        return 0
    return begun[-1] + 1 if init_done(init[begun[-1]], sandbox) else begun[-1]


def initialized(init: list[Standing], apps: list[Standing], sandbox: SeenSandbox | None) -> bool:
    """Whether the app containers may start; once one has been started in this sandbox, init is over for good."""
    if sandbox is None:
        return not init
    if any(a.running or belongs(a.death, sandbox) for a in apps):
        return True
    return init_turn(init, sandbox) == len(init)
