"""What objects of one loop tell a test: who changes something rings; who waits looks again then, and never else."""

import asyncio
from collections.abc import Callable


class News:
    """One bell; any number may wait for it."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Something is new."""
        self._rung.set()

    async def until(self, true: Callable[[], object], seconds: float = 60.0) -> None:
        """Waits for news that make it true; TimeoutError after so many seconds of the loop's time."""
        async with asyncio.timeout(seconds):
            while not true():
                self._rung.clear()
                await self._rung.wait()
