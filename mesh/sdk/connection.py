"""What every part of the client asks over: the channel to meshd, the limit of a call, the context's namespace.

Rule: it opens nothing before it is needed; every failure of a call is a `mesh.errors` error.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import TypeVar

import grpc.aio

from mesh.errors import Unavailable
from mesh.sdk.channel import Stream, answer, answers
from mesh.sdk.context import Context
from mesh.sdk.wire import Wire

A = TypeVar("A")


class Connection:
    """Of one client. `timeout` is of each request, in seconds; `server` the one in use."""

    def __init__(self, context: Context, namespace: str, timeout: float | None) -> None:
        self.context = context
        self.namespace = namespace
        self.timeout = timeout
        self.server = context.servers[0]
        self._wire = Wire(context)
        self._connecting = asyncio.Lock()

    async def channel(self) -> grpc.aio.Channel:
        """The channel for the next call; raises Forbidden when the certificate has expired."""
        async with self._connecting:
            channel = await self._wire.channel()
            self.server = self._wire.server
            return channel

    async def call(self, call: Awaitable[A]) -> A:
        """What the call answers; raises MeshError."""
        try:
            return await answer(call, self.server)
        except Unavailable:
            self._wire.lost()
            raise

    async def stream(self, call: Stream[A]) -> AsyncGenerator[A, None]:
        """The messages of a stream, which is cancelled when the reader stops; raises MeshError."""
        try:
            async with aclosing(answers(call, self.server)) as messages:
                async for message in messages:
                    yield message
        except Unavailable:
            self._wire.lost()
            raise

    async def close(self) -> None:
        """Ends the connection and every stream on it."""
        await self._wire.close()
