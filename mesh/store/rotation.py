"""Rotates the key that wraps the data keys of Secrets, while the store is in use.

Rule: the new key is kept, and told to every meshd that may lead, before anything is wrapped with it, and an old one
goes when nothing is wrapped with it any more, history included; so whatever moment it is killed at, every Secret can be
read, and it goes on where it stopped.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from mesh.errors import Conflict
from mesh.store.keyring import SIZE, Keyring
from mesh.store.keysource import KeySource


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is: `wrapped` boxes have the key `key_id` by now; `words` say what is being done."""

    words: str
    key_id: str
    wrapped: int = 0


class Rewraps(Protocol):
    """A store whose boxes can be wrapped anew."""

    def rewrap(self) -> AsyncGenerator[int, None]:
        """Wraps whatever has another key than the first, piece by piece; yields how many boxes so far."""
        ...


Tell = Callable[[Keyring], Awaitable[None]]


async def _told_nobody(_ring: Keyring) -> None:
    """Of a meshd that is alone."""


class KeyRotation:
    """One store's. `tell`: takes the keys, as they are kept now, to the other meshd; raises Unavailable."""

    def __init__(self, source: KeySource, ring: Keyring, store: Rewraps, tell: Tell = _told_nobody) -> None:
        self._source = source
        self._ring = ring
        self._store = store
        self._tell = tell
        self._busy = False

    async def run(self) -> AsyncGenerator[Progress, None]:
        """Rotates, or ends what an earlier call began; raises Conflict while another one is under way, or when a new
        key must be made elsewhere first."""
        if self._busy:
            raise Conflict("the key is being rotated already")
        self._busy = True
        try:
            async for progress in self._steps():
                yield progress
        finally:
            self._busy = False

    async def _steps(self) -> AsyncGenerator[Progress, None]:
        ring = self._ring
        if len(ring) == 1:
            fresh = secrets.token_bytes(SIZE)
            await asyncio.to_thread(self._source.save, [fresh, *ring.all()])
            await self._tell(Keyring([fresh, *ring.all()]))
            ring.lead(fresh)
            yield Progress("a new key encrypts from now on", ring.primary)
        else:
            await self._tell(ring)
            yield Progress("goes on with a rotation that was not finished", ring.primary)
        wrapped = 0
        async for wrapped in self._store.rewrap():
            yield Progress("wrapping what there is with it", ring.primary, wrapped)
        try:
            await asyncio.to_thread(self._source.save, ring.all()[:1])
        except Conflict as error:
            yield Progress(f"done; now remove all keys but the first: {error.message}", ring.primary, wrapped)
            return
        ring.retire()
        await self._tell(ring)
        yield Progress("done: the old key is retired", ring.primary, wrapped)
