"""A measurement as a stream: what the host uses goes out through the agent's port, in one piece or several."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from mesh.errors import MeshError
from mesh.v1.node_pb2 import Channel, MeasureOptions
from nodeagent.stats.hoststats import HostStats

Put = Callable[["Channel.ValueType", bytes], Awaitable[None]]


class Finish(Protocol):
    """Ends a stream; see `streams.Stream.finish`."""

    def __call__(self, *, exit_code: int | None = None, error: str = "") -> None: ...


class MeasureSource:
    """Takes no input; ends by itself."""

    def __init__(self, put: Put, finish: Finish, stats: HostStats, wanted: MeasureOptions) -> None:
        self._put = put
        self._finish = finish
        self._stats = stats
        self._wanted = wanted
        self.ended = False

    async def begin(self) -> None:
        """Nothing to find."""

    async def run(self) -> None:
        """Measures, and hands it on."""
        try:
            data = await self._measured()
        except MeshError as error:
            self._finish(error=error.message)
            return
        await self._put(Channel.STDOUT, data)
        self._finish(exit_code=0)

    async def _measured(self) -> bytes:
        wanted, stats = self._wanted, self._stats
        if wanted.path:
            return (await stats.meter.answer(wanted.path)).body
        if wanted.history_seconds:
            return stats.history.told(wanted.history_seconds, wanted.points).SerializeToString()
        return (await stats.meter.summary()).SerializeToString()

    async def write(self, data: bytes) -> None:
        """Takes none."""

    async def close_input(self) -> None:
        """There is none."""

    def resize(self, rows: int, columns: int) -> None:
        """There is no terminal."""

    def end(self) -> None:
        """Nobody is interested any more."""
        self.ended = True
