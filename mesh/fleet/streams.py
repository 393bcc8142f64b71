"""A stream of a host, read to its end: what logs, exec and measurements share.

Rule: the host's stream is pulled in batches as fast as the reader takes them, and closed however the reading ends.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from mesh.errors import MeshError, Unavailable
from mesh.fleet.port import AgentPort
from mesh.v1 import node_pb2

_BATCH = 1 << 20  # bytes of one read
_WAIT = 10_000  # milliseconds of an idle read; a stream that nobody reads ends after its lease
PATIENCE = 10.0  # seconds that one host has to measure
_CLOSE = 5.0  # seconds for closing


async def measured(host: str, agent: AgentPort | None, options: node_pb2.MeasureOptions) -> bytes:
    """What a host measures; raises Unavailable when it can't be reached or takes too long."""
    if agent is None:
        raise Unavailable(f'the host "{host}" cannot be reached')
    try:
        async with asyncio.timeout(PATIENCE):
            return await _fetched(agent, options)
    except TimeoutError:
        raise Unavailable(f'the host "{host}" did not answer within {PATIENCE:g} s') from None


async def _fetched(agent: AgentPort, options: node_pb2.MeasureOptions) -> bytes:
    opening = node_pb2.StreamOpen(measure=options)
    stream = (await agent.open_stream(opening)).id
    parts: list[bytes] = []
    done = False
    try:
        async for batch in batches(agent, stream):
            parts += [chunk.data for chunk in batch.chunks]
            done = batch.done
    finally:
        if not done:
            await close_stream(agent, stream)
    return b"".join(parts)


async def batches(agent: AgentPort, stream: str) -> AsyncIterator[node_pb2.StreamBatch]:
    """The stream's batches up to the last; raises Unavailable when it ended early."""
    while True:
        batch = await agent.read_stream(node_pb2.StreamRead(id=stream, wait_milliseconds=_WAIT, max_bytes=_BATCH))
        yield batch
        if batch.done:
            if batch.error:
                raise Unavailable(f"the stream ended early: {batch.error}")
            return


async def close_stream(agent: AgentPort, stream: str) -> None:
    """Closes even while the call is being cancelled; a host that can't be reached ends the stream by its lease."""
    closing = asyncio.ensure_future(_closed(agent, stream))
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await asyncio.wait({closing})
        raise


async def _closed(agent: AgentPort, stream: str) -> None:
    with suppress(MeshError, TimeoutError):
        async with asyncio.timeout(_CLOSE):
            await agent.close_stream(node_pb2.StreamClose(id=stream))
