"""A watch that outlives its connection: it goes on from the last revision, and lists again when that is forgotten.

Rule: every change is told once. After a gap (TooOld) the present objects are compared with those known, so that what
was added, changed or removed meanwhile is told as ADDED, MODIFIED, DELETED like anything else.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from mesh.errors import TooOld, Unavailable
from mesh.model.keys import Key
from mesh.model.kinds import Object, key_of, unpack
from mesh.model.pauses import Pauses
from mesh.v1 import control_pb2

T = TypeVar("T", bound=Object)
Source = Callable[[int], AsyncGenerator[control_pb2.WatchEvent, None]]
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 5.0


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """One change: `type` is ADDED, MODIFIED or DELETED; `object` is its newest state, the last one for DELETED."""

    type: str
    object: T
    revision: int


class Listing(list[T]):
    """Objects, and the revision of the store that they were listed at: where a watch goes on."""

    revision: int = 0


@dataclass(slots=True)
class _Cursor:
    """What a watch remembers between connections; `revision` 0 means that it is listing."""

    revision: int
    known: dict[Key, Object] = field(default_factory=dict)
    listed: set[Key] = field(default_factory=set)
    told: set[Key] = field(default_factory=set)  # keys of the newest revision, which may not be complete yet
    telling: int = 0  # that newest revision

    def after(self) -> int:
        """Where to go on: a revision of which some events came is asked for again."""
        return self.telling - 1 if self.telling > max(self.revision, 1) else self.revision

    def restart(self) -> None:
        """Begins to list."""
        self.revision, self.telling = 0, 0
        self.told.clear()
        self.listed.clear()

    def take(self, event: control_pb2.WatchEvent) -> list[Change[Object]]:
        """What an event of the wire tells that was not told before."""
        if event.type == control_pb2.WatchEvent.BOOKMARK:
            return self._bookmark(event.revision)
        obj = unpack(event.object)
        return self._present(obj, event.revision) if self.revision == 0 else self._changed(obj, event)

    def _bookmark(self, revision: int) -> list[Change[Object]]:
        gone = [k for k in self.known if k not in self.listed] if self.revision == 0 else []
        self.revision = max(self.revision, revision)
        return [Change("DELETED", self.known.pop(key), revision) for key in gone]

    def _present(self, obj: Object, revision: int) -> list[Change[Object]]:
        key = key_of(obj)
        before = self.known.get(key)
        self.listed.add(key)
        self.known[key] = obj
        if before is None:
            return [Change("ADDED", obj, revision)]
        same = before.metadata.resource_version == obj.metadata.resource_version
        return [] if same else [Change("MODIFIED", obj, revision)]

    def _changed(self, obj: Object, event: control_pb2.WatchEvent) -> list[Change[Object]]:
        key = key_of(obj)
        if event.revision > self.telling:
            self.revision = max(self.revision, self.telling)
            self.telling, self.told = event.revision, set()
        elif key in self.told:
            return []
        self.told.add(key)
        if event.type == control_pb2.WatchEvent.DELETED:
            self.known.pop(key, None)
        else:
            self.known[key] = obj
        return [Change(control_pb2.WatchEvent.Type.Name(event.type), obj, event.revision)]


async def watch(source: Source, after: int = 0) -> AsyncGenerator[Change[T], None]:
    """Changes after a revision, for ever; 0 tells the present objects first. `source(revision)` opens one stream.

    Raises MeshError when the very first connection fails or meshd refuses; later losses of the connection are healed.
    """
    cursor, pauses, connected = _Cursor(after), Pauses(_FIRST_DELAY, _LONGEST_DELAY), False
    while True:
        try:
            async with aclosing(source(cursor.after())) as stream:
                async for event in stream:
                    connected = True
                    pauses.reset()
                    for change in cursor.take(event):
                        yield cast("Change[T]", change)  # the request named the kind
        except TooOld:
            cursor.restart()
            continue
        except Unavailable:
            if not connected:
                raise
        if cursor.revision == 0:
            cursor.restart()  # a listing that broke off is begun again
        await asyncio.sleep(pauses.next())
