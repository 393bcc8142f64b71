"""Waiting for what may happen: at most so long, or for room in a descriptor.

Rule: what is armed for a wait, a timer or a watch, goes with it.
"""

import asyncio
from collections.abc import Callable


async def until(event: asyncio.Event, seconds: float) -> None:
    """Until the event, at most so long; the event is set afterwards."""
    timer = asyncio.get_running_loop().call_later(seconds, event.set)
    await event.wait()
    timer.cancel()


async def writable(descriptor: int, room: asyncio.Event, is_open: Callable[[], bool]) -> None:
    """Until the descriptor takes more, or whoever closes it sets `room`; the event is clear afterwards."""
    loop = asyncio.get_running_loop()
    loop.add_writer(descriptor, room.set)
    try:
        await room.wait()
    finally:
        room.clear()
        if is_open():
            loop.remove_writer(descriptor)
