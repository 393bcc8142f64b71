"""Which images this host holds, for its report: looked at now and then, and soon after they changed.

Rule: the look is taken when the host's report is made, never beside it; one that fails is taken again with the next.
"""

import asyncio

import structlog

from nodeagent.runtime.port import Image, Runtime, RuntimeFailure

log = structlog.get_logger()

EVERY = 300.0  # seconds
SETTLE = 1.0  # an image that comes is written many times


class Census:
    """`beat` is set when a report is due because of images."""

    def __init__(self, runtime: Runtime, beat: asyncio.Event) -> None:
        self._runtime = runtime
        self._beat = beat
        self._due = 0.0  # by the loop's time

    async def look(self) -> list[Image] | None:
        """The images when a look is due; None when not, or when they can't be told."""
        now = asyncio.get_running_loop().time()
        if now < self._due:
            return None
        self._due = now + EVERY
        try:
            return await self._runtime.images()
        except RuntimeFailure as failure:
            self._due = 0.0
            log.warning("images_unknown", why=failure.message)
            return None

    def changed(self) -> None:
        """They are others now: look at once."""
        self._due = 0.0
        self._beat.set()

    def stirred(self) -> None:
        """They are changing: look when what belongs together is over."""
        loop = asyncio.get_running_loop()
        if self._due > (soon := loop.time() + SETTLE):
            self._due = soon
            loop.call_at(soon, self._beat.set)
