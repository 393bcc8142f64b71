"""A measurement as a stream: what the host uses goes out through the agent's port, in one piece or several."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from mesh.errors import MeshError
from mesh.v1.node_pb2 import Channel
from nodeagent.stats.meter import Meter

Put = Callable[["Channel.ValueType", bytes], Awaitable[None]]


class Finish(Protocol):
    """Ends a stream; see `streams.Stream.finish`."""

    def __call__(self, *, exit_code: int | None = None, error: str = "") -> None: ...


class MeasureSource:
    """Takes no input; ends by itself."""

    def __init__(self, put: Put, finish: Finish, meter: Meter, path: str) -> None:
        self._put = put
        self._finish = finish
        self._meter = meter
        self._path = path
        self.ended = False

    async def begin(self) -> None:
        """Nothing to find."""

    async def run(self) -> None:
        """Measures, and hands it on."""
        try:
            if self._path:
                data = (await self._meter.answer(self._path)).body
            else:
                data = (await self._meter.summary()).SerializeToString()
        except MeshError as error:
            self._finish(error=error.message)
            return
        await self._put(Channel.STDOUT, data)
        self._finish(exit_code=0)

    async def write(self, data: bytes) -> None:
        """Takes none."""

    async def close_input(self) -> None:
        """There is none."""

    def resize(self, rows: int, columns: int) -> None:
        """There is no terminal."""

    def end(self) -> None:
        """Nobody is interested any more."""
        self.ended = True
