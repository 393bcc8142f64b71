"""What the rest of the agent asks of a pod's worker: is it wanted, does it take room, is it going, what was told of it.

Rule: questions only; what they rest on is written by the worker.
"""

from mesh.model.pods import TERMINAL, is_deleting
from mesh.v1.core_pb2 import Pod, PodStatus
from nodeagent.desired import Given
from nodeagent.pods.actions import Volumes
from nodeagent.pods.podstate import PodState
from nodeagent.runtime.seen import SeenPod, State


class Asked:
    """Of one pod."""

    def __init__(self, pod: Pod, state: PodState, *, mirror: bool, absent: bool) -> None:
        self.wanted = pod
        self.state = state
        self.mirror = mirror
        self.absent = absent  # no longer wanted here
        self.queued = False  # waits for room that pods hold which are going
        self.told: PodStatus | None = None

    @property
    def pod(self) -> Pod:
        """What the pod is to be."""
        return self.wanted

    @property
    def granted(self) -> Pod:
        """The same, with the resources that this host has granted."""
        return self.state.pod

    @property
    def deferred(self) -> bool:
        """It wants to be bigger than the host had room for (L20)."""
        return bool(self.state.record.resize[0]) and not self.ending

    @property
    def admitted(self) -> bool:
        """It takes its share of the host: taken, and not over."""
        state = self.state
        taken = bool(state.record.started_at) or state.seen is not None
        over = state.gone or state.record.final or (state.record.reason and state.seen is None)
        return taken and not over

    @property
    def going(self) -> bool:
        """It will give back what it takes, by itself and soon."""
        return self.ending or self.failed or self.status.phase in TERMINAL

    @property
    def failed(self) -> bool:
        """It has failed for a reason of its own."""
        return bool(self.state.record.reason)

    @property
    def leaving(self) -> bool:
        """It was evicted and still holds what it held."""
        volumes = self.state.memory.volumes
        return bool(self.state.record.evicted_at) and not (self.state.record.final and volumes is Volumes.REMOVED)

    @property
    def static(self) -> bool:
        """It is a static pod."""
        return self.mirror

    @property
    def dead(self) -> list[str]:
        """Containers that have ended and are needed no more: how they ended is kept elsewhere, for good."""
        state = self.state
        told = {d.container_id for d in state.saved.deaths.values()}
        told |= {d.container_id for d in state.saved.previous.values()}
        seen = state.seen.containers if state.seen else ()
        return [c.id for c in seen if c.state is State.EXITED and c.id in told]

    @property
    def status(self) -> PodStatus:
        """What was last told of it."""
        return self.told or PodStatus()

    @property
    def seen(self) -> SeenPod | None:
        """What was last seen of it."""
        return self.state.seen

    @property
    def given(self) -> Given:
        """What it refers to."""
        return self.state.given

    @property
    def ending(self) -> bool:
        """The pod is to go, deleted or no longer wanted here."""
        return self.absent or is_deleting(self.state.pod)
