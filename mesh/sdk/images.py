"""Images on hosts: taken there as archives, removed from there; a part of the client that stands apart for its size.

Rule: as of the client: every failure is a `mesh.errors` error; what became of each host is told in its result.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from mesh.sdk.connection import Connection
from mesh.v1 import control_pb2
from mesh.v1.control_pb2_grpc import ImagesStub


@dataclass(frozen=True, slots=True)
class Images:
    """Asks over a client's connection."""

    over: Connection

    async def load(
        self, archive: AsyncIterable[bytes], *, hosts: Sequence[str] = ()
    ) -> AsyncGenerator[int | control_pb2.ImageResult, None]:
        """Takes an archive (`podman save`) to hosts, all when none is named. Yields how many bytes every host has by
        now, then each host's result."""
        stub = ImagesStub(await self.over.channel())
        accepted = asyncio.Event()

        async def requests() -> AsyncGenerator[control_pb2.ImageLoadInput, None]:
            yield control_pb2.ImageLoadInput(start=control_pb2.ImageLoadStart(hosts=hosts))
            await accepted.wait()  # a call that is refused while it is written to does not tell why
            async for data in archive:
                yield control_pb2.ImageLoadInput(data=data)

        async with aclosing(self.over.stream(stub.Load(requests()))) as stream:
            async for output in stream:
                accepted.set()
                yield output.taken if output.WhichOneof("what") == "taken" else output.result

    async def remove(self, image: str, *, hosts: Sequence[str] = ()) -> Sequence[control_pb2.ImageResult]:
        """Removes an image under all its names from hosts, from all that hold it when none is named."""
        stub = ImagesStub(await self.over.channel())
        request = control_pb2.ImageRemoveRequest(image=image, hosts=hosts)
        return (await self.over.call(stub.Remove(request))).results
