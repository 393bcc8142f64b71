"""The Images service: archives taken to hosts, images removed from them, with each host's own result.

Rule: a piece of an archive goes on when every host has the one before: nothing is gathered here. A host that fails is
told of and left behind; the others go on.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from grpc import aio

from mesh.errors import Invalid, MeshError, NotFound, Unavailable, Violation
from mesh.fleet.port import AgentPort
from mesh.fleet.streams import batches, close_stream
from mesh.store.feed import Feed
from mesh.v1 import control_pb2 as pb
from mesh.v1 import node_pb2
from mesh.v1.control_pb2_grpc import ImagesServicer

_PIECE = 1 << 18  # bytes to a host at once
Context = aio.ServicerContext[Any, Any]


class Images(ImagesServicer):
    """`agent` finds the agent of a host, or None when the host is not joined."""

    def __init__(self, feed: Feed, agent: Callable[[str], AgentPort | None]) -> None:
        self._feed = feed
        self._agent = agent

    async def Load(
        self, requests: AsyncIterator[pb.ImageLoadInput], context: Context
    ) -> AsyncIterator[pb.ImageLoadOutput]:
        """Takes an archive to hosts; a result for each, as it comes."""
        messages = aiter(requests)
        first = await anext(messages, None)
        if first is None or first.WhichOneof("what") != "start":
            raise Invalid("the first message of a load must be its start")
        opening = node_pb2.StreamOpen(image_load=node_pb2.ImageLoadOptions())
        carriers = [_Carrier(h, self._agent(h), opening) for h in await self._hosts(first.start.hosts)]
        try:
            await _each(c.open() for c in carriers)
            taken = 0
            yield pb.ImageLoadOutput(taken=taken)  # go ahead
            async for message in messages:
                for start in range(0, len(message.data), _PIECE):
                    piece = message.data[start : start + _PIECE]
                    await _each(c.write(piece) for c in carriers)
                    taken += len(piece)
                yield pb.ImageLoadOutput(taken=taken)
            for ended in asyncio.as_completed([c.finish() for c in carriers]):
                yield pb.ImageLoadOutput(result=await ended)
        finally:
            await _each(c.close() for c in carriers)

    async def Remove(self, request: pb.ImageRemoveRequest, context: Context) -> pb.ImageRemoveResponse:
        """Removes an image from hosts, those that hold it when none is named."""
        if not request.image:
            raise Invalid.of("the request", [Violation("image", "is required")])
        opening = node_pb2.StreamOpen(image_remove=node_pb2.ImageRemoveOptions(image=request.image))
        carriers = [_Carrier(h, self._agent(h), opening) for h in await self._hosts(request.hosts)]
        try:
            await _each(c.open() for c in carriers)
            results = await asyncio.gather(*(c.finish() for c in carriers))
        finally:
            await _each(c.close() for c in carriers)
        if not request.hosts:
            held = [r for r in results if not r.error.startswith("there is no image ")]
            if results and not held:
                raise NotFound(f"no host has the image {request.image}")
            results = held
        return pb.ImageRemoveResponse(results=results)

    async def _hosts(self, names: Sequence[str]) -> list[str]:
        await self._feed.reached(0)
        known = sorted(node.metadata.name for node in self._feed.view.nodes())
        for name in names:
            if name not in known:
                raise NotFound(f'there is no host "{name}"; there are: {", ".join(known) or "none"}')
        if not known:
            raise Unavailable("no host has joined yet")
        return list(dict.fromkeys(names)) or known


class _Carrier:
    """The way to one host; `error` says why it ended before its time."""

    def __init__(self, host: str, agent: AgentPort | None, opening: node_pb2.StreamOpen) -> None:
        self.host = host
        self.error = "" if agent is not None else "the host cannot be reached"
        self._agent = agent
        self._opening = opening
        self._stream = ""

    async def open(self) -> None:
        """Begins the stream."""
        if self._agent is None:
            return
        try:
            self._stream = (await self._agent.open_stream(self._opening)).id
        except MeshError as error:
            self.error = error.message

    async def write(self, data: bytes) -> None:
        """The next piece, unless it failed already."""
        if self._agent is None or self.error:
            return
        try:
            await self._agent.write_stream(node_pb2.StreamWrite(id=self._stream, data=data))
        except MeshError as error:
            self.error = await self._reason(error)

    async def _reason(self, error: MeshError) -> str:
        """Why the host ended the stream, where it says so."""
        try:
            await self._names()
        except MeshError as said:
            return error.message if isinstance(said, NotFound) else said.message
        return error.message

    async def finish(self) -> pb.ImageResult:
        """Ends the input and waits for the host's answer."""
        if self._agent is None or self.error:
            return pb.ImageResult(host=self.host, error=self.error)
        try:
            await self._agent.write_stream(node_pb2.StreamWrite(id=self._stream, close=True))
            return pb.ImageResult(host=self.host, names=await self._names())
        except MeshError as error:
            return pb.ImageResult(host=self.host, error=await self._reason(error))

    async def _names(self) -> list[str]:
        said = b""
        assert self._agent is not None  # noqa: S101 - there is a stream
        async for batch in batches(self._agent, self._stream):
            said += b"".join(chunk.data for chunk in batch.chunks)
            if batch.done and batch.error:
                raise Unavailable(batch.error)
        return said.decode().split()

    async def close(self) -> None:
        """Nothing is left at the host."""
        if self._agent is not None and self._stream:
            await close_stream(self._agent, self._stream)


async def _each(work: Iterable[Any]) -> None:
    await asyncio.gather(*work)
