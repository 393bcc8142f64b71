"""What the proxy serves: the table it holds, as a value.

Rule: pure. A table older than the one held is refused, whoever sends it; the same one again is no change.
"""

from dataclasses import dataclass, replace

from mesh.errors import Conflict
from mesh.v1.node_pb2 import Fence, ProxyHeld, ServiceTable


@dataclass(frozen=True, slots=True)
class Dataplane:
    """The table in force; `digest` is empty before the first."""

    epoch: int = 0
    revision: int = 0
    digest: str = ""

    def accept(self, table: ServiceTable) -> "Dataplane":
        """The data plane after `table`; raises Conflict for a table older than the one held."""
        order, held = (table.fence.epoch, table.fence.revision), (self.epoch, self.revision)
        if order < held:
            raise Conflict(f"cannot serve table {order}: {held} is already served")
        return replace(self, epoch=table.fence.epoch, revision=table.fence.revision, digest=table.digest)

    def table(self) -> ServiceTable:
        """The table in force, as it is kept on disk for the next start."""
        return ServiceTable(fence=self._fence(), digest=self.digest)

    def held(self, boot: str, error: str = "") -> ProxyHeld:
        """What to tell the agent."""
        return ProxyHeld(digest=self.digest, fence=self._fence(), boot=boot, error=error)

    def _fence(self) -> Fence:
        return Fence(epoch=self.epoch, revision=self.revision)
