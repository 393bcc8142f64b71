"""The Pods service: logs, exec, attach and port-forward, between a client's call and the stream of a pod's host.

Rule: the host's stream is pulled in batches as fast as the client takes them, and closed however the call ends.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from grpc import aio

from mesh.errors import Conflict, Invalid, MeshError, NotFound, Unavailable, Violation
from mesh.fleet.port import AgentPort
from mesh.fleet.streams import batches, close_stream
from mesh.model import pods as model
from mesh.model.keys import Key
from mesh.rpc.resources import found
from mesh.store.feed import Feed
from mesh.v1 import control_pb2 as pb
from mesh.v1 import node_pb2
from mesh.v1.control_pb2_grpc import PodsServicer
from mesh.v1.core_pb2 import Pod

_PIECE = 1 << 18  # bytes of input to the host at once
Context = aio.ServicerContext[Any, Any]
Input = TypeVar("Input", pb.ExecInput, pb.PortForwardInput)


class Pods(PodsServicer):
    """`agent` finds the agent of a host, or None when the host is not joined."""

    def __init__(self, feed: Feed, agent: Callable[[str], AgentPort | None]) -> None:
        self._feed = feed
        self._agent = agent

    async def Logs(self, request: pb.LogsRequest, context: Context) -> AsyncIterator[pb.LogsChunk]:
        """What a container wrote."""
        pod = await self._pod(request.namespace, request.pod)
        options = node_pb2.LogOptions()
        options.CopyFrom(request.options)
        options.container = _container(pod, options.container)
        if options.HasField("tail_lines") and options.tail_lines < 0:
            raise Invalid.of("the request", [Violation("options.tailLines", "must not be negative")])
        _check_logs(pod, options)
        async with self._stream(pod, node_pb2.StreamOpen(pod_uid=pod.metadata.uid, logs=options)) as (agent, stream):
            async for batch in batches(agent, stream):
                for chunk in batch.chunks:
                    yield pb.LogsChunk(data=chunk.data)

    async def Exec(self, requests: AsyncIterator[pb.ExecInput], context: Context) -> AsyncIterator[pb.ExecOutput]:
        """A command in a running container."""
        first = await _first(requests, "exec", "start")
        pod = await self._pod(first.start.namespace, first.start.pod)
        options = node_pb2.ExecOptions()
        options.CopyFrom(first.start.options)
        if not options.command:
            raise Invalid.of("the request", [Violation("start.options.command", "is required")])
        options.container = _container(pod, options.container)
        _check_running(pod, options.container, "exec into")
        opening = node_pb2.StreamOpen(pod_uid=pod.metadata.uid, exec=options)
        async with self._stream(pod, opening) as (agent, stream), _pump(_typed(requests, stream), agent):
            yield pb.ExecOutput()  # it is open: input may follow
            async for batch in batches(agent, stream):
                for chunk in batch.chunks:
                    yield _output(chunk)
                if batch.done and batch.HasField("exit_code"):
                    yield pb.ExecOutput(exit_code=batch.exit_code)
                elif batch.done and not batch.error:
                    raise Unavailable("the command ended, but its host does not know how")

    async def Attach(self, requests: AsyncIterator[pb.ExecInput], context: Context) -> AsyncIterator[pb.ExecOutput]:
        """A running container's own input and output, to its end."""
        first = await _first(requests, "attach", "attach")
        pod = await self._pod(first.attach.namespace, first.attach.pod)
        options = node_pb2.AttachOptions()
        options.CopyFrom(first.attach.options)
        options.container = _container(pod, options.container)
        _check_running(pod, options.container, "attach to")
        _check_attachable(pod, options)
        opening = node_pb2.StreamOpen(pod_uid=pod.metadata.uid, attach=options)
        async with self._stream(pod, opening) as (agent, stream), _pump(_typed(requests, stream), agent):
            yield pb.ExecOutput()  # it is open: input may follow
            async for batch in batches(agent, stream):
                for chunk in batch.chunks:
                    yield _output(chunk)

    async def PortForward(
        self, requests: AsyncIterator[pb.PortForwardInput], context: Context
    ) -> AsyncIterator[pb.PortForwardOutput]:
        """One connection to a port of a running pod."""
        first = await _first(requests, "port-forward", "start")
        if not 1 <= first.start.port <= 65535:
            raise Invalid.of("the request", [Violation("start.port", "must be between 1 and 65535")])
        pod = await self._pod(first.start.namespace, first.start.pod)
        _check_running(pod, "", "forward a port of")
        options = node_pb2.PortForwardOptions(port=first.start.port)
        opening = node_pb2.StreamOpen(pod_uid=pod.metadata.uid, port_forward=options)
        async with self._stream(pod, opening) as (agent, stream), _pump(_sent(requests, stream), agent):
            yield pb.PortForwardOutput()  # it is open: input may follow
            async for batch in batches(agent, stream):
                for chunk in batch.chunks:
                    yield pb.PortForwardOutput(data=chunk.data)

    async def _pod(self, namespace: str, name: str) -> Pod:
        await self._feed.reached(0)
        if not name:
            raise Invalid.of("the request", [Violation("pod", "is required")])
        pod = found(self._feed.view, Key("Pod", namespace or "default", name))
        assert isinstance(pod, Pod)  # noqa: S101 - the view keeps kinds apart
        if not pod.spec.node_name:
            said = next((c.message for c in pod.status.conditions if c.type == "PodScheduled"), "")
            raise Conflict(f'pod "{name}" has no node yet' + (f": {said}" if said else ""))
        return pod

    @asynccontextmanager
    async def _stream(self, pod: Pod, opening: node_pb2.StreamOpen) -> AsyncIterator[tuple[AgentPort, str]]:
        agent = self._agent(pod.spec.node_name)
        if agent is None:
            raise Unavailable(f'the host "{pod.spec.node_name}" of pod "{pod.metadata.name}" cannot be reached')
        stream = (await agent.open_stream(opening)).id
        try:
            yield agent, stream
        finally:
            await close_stream(agent, stream)


def _output(chunk: node_pb2.Chunk) -> pb.ExecOutput:
    is_error = chunk.channel == node_pb2.STDERR
    return pb.ExecOutput(stderr=chunk.data) if is_error else pb.ExecOutput(stdout=chunk.data)


# ---- input --------------------------------------------------------------------------------------------------------


async def _first(requests: AsyncIterator[Input], call: str, start: str) -> Input:
    first = await anext(aiter(requests), None)
    if first is None or first.WhichOneof("what") != start:
        raise Invalid(f"the first message of {'an' if call[0] in 'ae' else 'a'} {call} must be its start")
    return first


@asynccontextmanager
async def _pump(writes: AsyncIterator[node_pb2.StreamWrite], agent: AgentPort) -> AsyncIterator[None]:
    """Carries input to the host while the body runs; input that the host no longer takes is dropped."""
    task = asyncio.ensure_future(_carry(writes, agent))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, MeshError):
            raise error


def _carry(writes: AsyncIterator[node_pb2.StreamWrite], agent: AgentPort) -> Awaitable[None]:
    async def carry() -> None:
        async for write in writes:
            await agent.write_stream(write)

    return carry()


async def _typed(requests: AsyncIterator[pb.ExecInput], stream: str) -> AsyncIterator[node_pb2.StreamWrite]:
    async for request in requests:
        what = request.WhichOneof("what")
        if what == "stdin":
            for start in range(0, len(request.stdin), _PIECE):
                yield node_pb2.StreamWrite(id=stream, data=request.stdin[start : start + _PIECE])
        elif what == "resize":
            yield node_pb2.StreamWrite(id=stream, rows=request.resize.rows, columns=request.resize.columns)
        elif what == "close_stdin" and request.close_stdin:
            yield node_pb2.StreamWrite(id=stream, close=True)
    yield node_pb2.StreamWrite(id=stream, close=True)


async def _sent(requests: AsyncIterator[pb.PortForwardInput], stream: str) -> AsyncIterator[node_pb2.StreamWrite]:
    async for request in requests:
        what = request.WhichOneof("what")
        if what == "data":
            for start in range(0, len(request.data), _PIECE):
                yield node_pb2.StreamWrite(id=stream, data=request.data[start : start + _PIECE])
        elif what == "close" and request.close:
            yield node_pb2.StreamWrite(id=stream, close=True)
    yield node_pb2.StreamWrite(id=stream, close=True)


# ---- what can be asked of a pod -------------------------------------------------------------------------------------


def _container(pod: Pod, name: str) -> str:
    if not name:
        return model.default_container(pod)
    if model.container_named(pod.spec, name) is None:
        names = ", ".join(c.name for c in model.containers(pod.spec))
        raise Invalid(f'pod "{pod.metadata.name}" has no container "{name}"; it has: {names}')
    return name


def _check_logs(pod: Pod, options: node_pb2.LogOptions) -> None:
    statuses = [*pod.status.init_container_statuses, *pod.status.container_statuses]
    status = model.status_named(statuses, options.container)
    what = f'container "{options.container}" of pod "{pod.metadata.name}"'
    if options.previous and (status is None or not status.last_state.HasField("terminated")):
        raise NotFound(f"there is no previous {what}: it has not been restarted")
    if status is not None and status.state.HasField("waiting") and not status.restart_count:
        waiting = status.state.waiting
        if not status.last_state.HasField("terminated"):
            why = f"{waiting.reason}: {waiting.message}" if waiting.message else waiting.reason
            raise Conflict(f"{what} has not started yet: {why}")


def _check_attachable(pod: Pod, options: node_pb2.AttachOptions) -> None:
    container = model.container_named(pod.spec, options.container)
    what = f'container "{options.container}" of pod "{pod.metadata.name}"'
    if options.stdin and not (container and container.stdin):
        raise Invalid(f"{what} takes no input: its spec must say stdin: true")
    if options.tty and not (container and container.tty):
        raise Invalid(f"{what} has no terminal: its spec must say tty: true")


def _check_running(pod: Pod, container: str, verb: str) -> None:
    if model.is_terminal(pod):
        raise Conflict(f'cannot {verb} pod "{pod.metadata.name}": it has ended ({pod.status.phase})')
    statuses = [*pod.status.init_container_statuses, *pod.status.container_statuses]
    status = model.status_named(statuses, container) if container else None
    if status is not None and status.state.HasField("waiting"):
        reason = status.state.waiting.reason
        raise Conflict(f'cannot {verb} container "{container}" of pod "{pod.metadata.name}": it waits ({reason})')
