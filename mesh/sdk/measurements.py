"""Questions to meshd about what hosts and pods use; a part of the client that stands apart for its size.

Rule: as of the client: every failure is a `mesh.errors` error. Measured when asked; nothing is remembered on the way.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from mesh.sdk.connection import Connection
from mesh.v1 import control_pb2
from mesh.v1.control_pb2_grpc import MeasurementsStub


@dataclass(frozen=True, slots=True)
class Measurements:
    """Asks over a client's connection."""

    over: Connection

    async def nodes(
        self, *, names: Sequence[str] = (), labels: str = "", history: float = 0, points: int = 0
    ) -> Sequence[control_pb2.HostUsage]:
        """What hosts use now, and how it went for `history` seconds; one that does not answer says why in `error`."""
        return await self._top(
            control_pb2.TopRequest(hosts=names, label_selector=labels, history_seconds=int(history), points=points)
        )

    async def pods(
        self, *, names: Sequence[str] = (), namespace: str | None = None, labels: str = "", history: float = 0,
        points: int = 0,
    ) -> Sequence[control_pb2.HostUsage]:  # fmt: skip
        """What pods use now, by the hosts that they are on, and how it went for `history` seconds."""
        where = self.over.namespace if namespace is None else namespace
        return await self._top(control_pb2.TopRequest(
            pods=True, names=names, namespace=where, label_selector=labels, history_seconds=int(history), points=points
        ))  # fmt: skip

    async def raw(self, path: str, *, host: str = "") -> AsyncGenerator[bytes, None]:
        """What the endpoint of a host, or meshd's own, says under a path such as "/metrics"."""
        stub = MeasurementsStub(await self.over.channel())
        async with aclosing(self.over.stream(stub.Raw(control_pb2.RawRequest(host=host, path=path)))) as stream:
            async for chunk in stream:
                yield chunk.data

    async def _top(self, request: control_pb2.TopRequest) -> Sequence[control_pb2.HostUsage]:
        stub = MeasurementsStub(await self.over.channel())
        return (await self.over.call(stub.Top(request, timeout=self.over.timeout))).hosts
