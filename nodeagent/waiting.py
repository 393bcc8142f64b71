"""Waiting for what may happen, at most so long.

Rule: one timer, which goes with the wait.
"""

import asyncio


async def until(event: asyncio.Event, seconds: float) -> None:
    """Until the event, at most so long; the event is set afterwards."""
    timer = asyncio.get_running_loop().call_later(seconds, event.set)
    await event.wait()
    timer.cancel()
