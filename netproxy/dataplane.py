"""The table of Services that the proxy holds, as a value, and how the pieces of an order change it.

Rule: pure. A table older than the one held is refused, whoever sends it; so is one that changes another table than the
one held. Pieces change nothing before the last one is there. The same order again is no change.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mesh.errors import Conflict
from mesh.v1.node_pb2 import Fence, ProxyHeld, ProxyService, ServiceTable


@dataclass(frozen=True, slots=True)
class Dataplane:
    """The table in force, by "namespace/name"; `digest` is empty before the first. `changed`: what the last order that
    was complete has changed, removed Services too."""

    epoch: int = 0
    revision: int = 0
    digest: str = ""
    services: Mapping[str, ProxyService] = field(default_factory=dict)
    changed: frozenset[str] = frozenset()
    staged: tuple[ServiceTable, ...] = ()

    def accept(self, piece: ServiceTable) -> "Dataplane":
        """The data plane after `piece`; raises Conflict for an order that is older or does not fit what is held."""
        order, held = (piece.fence.epoch, piece.fence.revision), (self.epoch, self.revision)
        if order < held:
            raise Conflict(f"cannot serve table {order}: {held} is already served")
        if piece.piece == 0:
            if piece.base and piece.base != self.digest:
                raise Conflict(f"cannot serve table {piece.digest}: it changes {piece.base}, {self.digest} is held")
            staged: tuple[ServiceTable, ...] = (piece,)
        elif not self._follows(piece):
            raise Conflict(f"cannot serve table {piece.digest}: piece {piece.piece} does not follow what came before")
        else:
            staged = (*self.staged, piece)
        if not piece.last:
            return replace(self, staged=staged, changed=frozenset())
        return self._apply(staged)

    def _follows(self, piece: ServiceTable) -> bool:
        before = self.staged[-1] if self.staged else None
        return (
            before is not None
            and (before.digest, before.base, before.piece + 1) == (piece.digest, piece.base, piece.piece)
        )  # fmt: skip

    def _apply(self, pieces: tuple[ServiceTable, ...]) -> "Dataplane":
        last = pieces[-1]
        services = dict(self.services) if last.base else {}
        changed = set() if last.base else set(self.services)
        for piece in pieces:
            for name in piece.gone:
                if services.pop(name, None) is not None:
                    changed.add(name)
            for service in piece.services:
                name = f"{service.namespace}/{service.name}"
                services[name] = service
                changed.add(name)
        same = {n for n in changed if n in services and services[n] == self.services.get(n)}
        fence = last.fence
        return Dataplane(fence.epoch, fence.revision, last.digest, services, frozenset(changed - same))

    def table(self) -> ServiceTable:
        """The table in force in one piece, as it is kept on disk for the next start."""
        return ServiceTable(fence=self.fence, digest=self.digest, last=True, services=self.services.values())

    def held(self, boot: str, error: str = "") -> ProxyHeld:
        """What to tell the agent."""
        return ProxyHeld(digest=self.digest, fence=self.fence, boot=boot, error=error)

    @property
    def order(self) -> tuple[int, int]:
        """Which of two is the newer."""
        return self.epoch, self.revision

    @property
    def fence(self) -> Fence:
        """Of the table in force."""
        return Fence(epoch=self.epoch, revision=self.revision)
