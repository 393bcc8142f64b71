"""What is known of one pod now: the value that its worker and the steps it takes share.

Rule: they are its only writers, on one event loop; losing it costs a look at the host and at the record.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.v1.core_pb2 import Pod
from nodeagent.desired import Given
from nodeagent.pods import actions as do
from nodeagent.pods.record import Record
from nodeagent.pods.steps import Steps
from nodeagent.runtime.seen import SeenContainer, SeenPod


@dataclass(slots=True)
class PodState:
    """What is known of one pod now; its worker and the steps it takes are the only writers."""

    pod: Pod  # with the resources that are granted, which may differ from those that are wanted (L20)
    hashes: Mapping[str, str]
    given: Given = field(default_factory=Given)  # what the pod refers to
    revisions: Mapping[str, str] = field(default_factory=dict)  # what its volumes should show, by name
    seen: SeenPod | None = None
    record: Record = field(default_factory=Record)
    memory: do.Memory = field(default_factory=do.Memory)
    saved: Record = field(default_factory=Record)
    etc: dict[str, str] = field(default_factory=dict)  # the pod's /etc files on the host, by destination
    etc_for: str | None = None  # the address they were written for
    steps: Steps = field(default_factory=Steps)
    stale: bool = True  # look before the next decision
    gone: bool = False
    halted: int | None = None  # seconds to stop in: the host shuts down (L19)

    @property
    def uid(self) -> str:
        """The pod's."""
        return self.pod.metadata.uid

    def container(self, container_id: str) -> SeenContainer | None:
        """What was last seen of a container."""
        return next((c for c in (self.seen.containers if self.seen else ()) if c.id == container_id), None)

    def newest(self, container_id: str) -> SeenContainer | None:
        """The same, unless there is a newer attempt of it: what is decided of an older one comes too late."""
        found = self.container(container_id)
        latest = self.seen.latest(found.name) if found and self.seen else None
        return found if found and latest and latest.id == container_id else None
