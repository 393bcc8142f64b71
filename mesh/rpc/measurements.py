"""The Measurements service: what hosts and their pods use, asked of the hosts when somebody wants to know.

Rule: nothing is kept and nobody is polled; a host that does not answer is told of, and the others' answers stand.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any

from grpc import aio

from mesh.errors import MeshError, NotFound
from mesh.fleet.port import AgentPort
from mesh.fleet.streams import measured
from mesh.model import selectors
from mesh.store.feed import Feed
from mesh.v1 import control_pb2 as pb
from mesh.v1 import node_pb2
from mesh.v1.control_pb2_grpc import MeasurementsServicer
from mesh.v1.core_pb2 import Pod
from mesh.v1.stats_pb2 import History, Summary

_PIECE = 1 << 20
_POINTS = 30
Context = aio.ServicerContext[Any, Any]
Own = Callable[[str], Awaitable[bytes]]


class Measurements(MeasurementsServicer):
    """`agent` finds the agent of a host, or None when it is not joined; `own` says meshd's own figures by path."""

    def __init__(self, feed: Feed, agent: Callable[[str], AgentPort | None], own: Own) -> None:
        self._feed = feed
        self._agent = agent
        self._own = own

    async def Top(self, request: pb.TopRequest, context: Context) -> pb.TopResponse:
        """Every host's usage, with that of its pods where they are asked for."""
        await self._feed.reached(0)
        pods = self._pods(request) if request.pods else []
        hosts = sorted({p.spec.node_name for p in pods if p.spec.node_name}) if request.pods else self._hosts(request)
        wanted = {p.metadata.uid for p in pods}
        return pb.TopResponse(hosts=await asyncio.gather(*(self._usage(h, wanted, request) for h in hosts)))

    async def Raw(self, request: pb.RawRequest, context: Context) -> AsyncIterator[pb.RawChunk]:
        """What an endpoint says under a path."""
        if not request.host:
            data = await self._own(request.path)
        else:
            await self._feed.reached(0)
            self._known(request.host)
            data = await self._measured(request.host, node_pb2.MeasureOptions(path=request.path))
        for start in range(0, len(data), _PIECE):
            yield pb.RawChunk(data=data[start : start + _PIECE])

    def _pods(self, request: pb.TopRequest) -> list[Pod]:
        labels, view = selectors.parse_labels(request.label_selector), self._feed.view
        pods = [p for p in view.of_kind("Pod", request.namespace) if isinstance(p, Pod)]
        for name in request.names:
            if not any(p.metadata.name == name for p in pods):
                raise NotFound(f'pods "{name}" not found')
        pods = [p for p in pods if not request.names or p.metadata.name in request.names]
        return [p for p in pods if selectors.matches(labels, p.metadata.labels)]

    def _hosts(self, request: pb.TopRequest) -> list[str]:
        for name in request.hosts:
            self._known(name)
        labels = selectors.parse_labels(request.label_selector)
        nodes = [n for n in self._feed.view.nodes() if not request.hosts or n.metadata.name in request.hosts]
        return [n.metadata.name for n in nodes if selectors.matches(labels, n.metadata.labels)]

    def _known(self, name: str) -> None:
        known = [node.metadata.name for node in self._feed.view.nodes()]
        if name not in known:
            raise NotFound(f'there is no host "{name}"; there are: {", ".join(known) or "none"}')

    async def _usage(self, host: str, wanted: Collection[str], request: pb.TopRequest) -> pb.HostUsage:
        try:
            summary = Summary.FromString(await self._measured(host, node_pb2.MeasureOptions()))
            usage = pb.HostUsage(host=host)
            usage.summary.node.CopyFrom(summary.node)
            usage.summary.pods.extend(pod for pod in summary.pods if pod.pod_ref.uid in wanted)
            if request.history_seconds:
                shown = {(pod.pod_ref.namespace, pod.pod_ref.name) for pod in usage.summary.pods} | {("", "")}
                usage.history.CopyFrom(await self._history(host, request, shown))
        except MeshError as error:
            return pb.HostUsage(host=host, error=error.message)
        return usage

    async def _history(self, host: str, request: pb.TopRequest, shown: Collection[tuple[str, str]]) -> History:
        options = node_pb2.MeasureOptions(history_seconds=request.history_seconds, points=request.points or _POINTS)
        history = History.FromString(await self._measured(host, options))
        kept = [series for series in history.series if (series.namespace, series.pod) in shown]
        return History(step_seconds=history.step_seconds, end_seconds=history.end_seconds, series=kept)

    async def _measured(self, host: str, options: node_pb2.MeasureOptions) -> bytes:
        return await measured(host, self._agent(host), options)
