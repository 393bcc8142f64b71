"""A number that only grows, and the waiting for it: how stores and the feed wake whoever follows, without polling.

Rule: used on one event loop only; `advance` never blocks and never runs a waiter's code itself.
"""

import asyncio

from mesh.errors import MeshError


class Mark:
    """The newest revision somewhere; `value` is -1 as long as none is known."""

    def __init__(self, value: int = -1) -> None:
        self.value = value
        self._error: MeshError | None = None
        self._moved = asyncio.Event()

    def advance(self, value: int) -> None:
        """Moves on to `value` and wakes everyone who waits; a smaller value changes nothing."""
        if value > self.value:
            self.value = value
            self._wake()

    def close(self, error: MeshError) -> None:
        """Ends all waiting, now and later, with `error`."""
        self._error = error
        self._wake()

    async def reached(self, value: int) -> int:
        """Returns the newest value once it is at least `value`; raises what `close` was given."""
        while self._error is None:
            if self.value >= value:
                return self.value
            await self._moved.wait()
        raise self._error

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
