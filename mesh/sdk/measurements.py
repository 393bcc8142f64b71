"""What hosts and pods use, as the clients ask for it.

Rule: measured when asked; nothing is remembered on the way.
"""

from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from typing import TypeVar

import grpc.aio

from mesh.sdk.channel import answers
from mesh.v1 import control_pb2, control_pb2_grpc

A = TypeVar("A")


class Measuring:
    """Part of AsyncClient."""

    server: str
    namespace: str
    _timeout: float | None

    async def top_nodes(
        self, *, names: Sequence[str] = (), labels: str = "", history: float = 0, points: int = 0
    ) -> Sequence[control_pb2.HostUsage]:
        """What hosts use now, and how it went for `history` seconds; one that does not answer says why in `error`."""
        stub = control_pb2_grpc.MeasurementsStub(await self._connect())
        request = control_pb2.TopRequest(
            hosts=names, label_selector=labels, history_seconds=int(history), points=points
        )
        return (await self._call(stub.Top(request, timeout=self._timeout))).hosts

    async def top_pods(
        self, *, names: Sequence[str] = (), namespace: str | None = None, labels: str = "", history: float = 0,
        points: int = 0,
    ) -> Sequence[control_pb2.HostUsage]:  # fmt: skip
        """What pods use now, by the hosts that they are on, and how it went for `history` seconds."""
        stub = control_pb2_grpc.MeasurementsStub(await self._connect())
        where = self.namespace if namespace is None else namespace
        request = control_pb2.TopRequest(
            pods=True, names=names, namespace=where, label_selector=labels, history_seconds=int(history), points=points
        )
        return (await self._call(stub.Top(request, timeout=self._timeout))).hosts

    async def raw(self, path: str, *, host: str = "") -> AsyncGenerator[bytes, None]:
        """What the endpoint of a host, or meshd's own, says under a path such as "/metrics"."""
        stub = control_pb2_grpc.MeasurementsStub(await self._connect())
        async with aclosing(answers(stub.Raw(control_pb2.RawRequest(host=host, path=path)), self.server)) as stream:
            async for chunk in stream:
                yield chunk.data

    async def _connect(self) -> grpc.aio.Channel:
        raise NotImplementedError

    async def _call(self, call: Awaitable[A]) -> A:
        raise NotImplementedError
