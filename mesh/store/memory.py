"""A store in memory, for tests and simulation: the same promises but for durability.

Rule: a commit has no await inside, so it is atomic on its event loop.
"""

from collections.abc import Sequence

from mesh.errors import Unavailable
from mesh.model.keys import Key
from mesh.model.kinds import Object
from mesh.store.codec import PlainCodec
from mesh.store.expect import check_commit, check_write
from mesh.store.history import History
from mesh.store.mark import Mark
from mesh.store.port import Codec, Event, Snapshot, Write


class MemoryStore:
    """Objects lie encoded, so that nothing a caller holds is what the store holds."""

    def __init__(self, codec: Codec | None = None, capacity: int = 10_000) -> None:
        self._codec = codec or PlainCodec()
        self._values: dict[Key, tuple[int, bytes]] = {}
        self._history = History(capacity=capacity)
        self._newest = Mark(0)
        self._closed = False

    async def commit(self, writes: Sequence[Write]) -> int:
        """See Store."""
        self._check_open()
        check_commit(writes)
        for write in writes:
            held = self._values.get(write.key)
            check_write(write, held and held[0])
        if not writes:
            return self._newest.value
        revision = self._newest.value + 1
        values = [self._encoded(write, revision) for write in writes]
        events = [self._put(write.key, value, revision) for write, value in zip(writes, values, strict=True)]
        self._history.add(events)
        self._newest.advance(revision)
        return revision

    async def snapshot(self) -> Snapshot:
        """See Store."""
        self._check_open()
        objects = [self._codec.decode(key, value, revision) for key, (revision, value) in self._values.items()]
        return Snapshot(self._newest.value, objects)

    async def since(self, revision: int, limit: int = 1000) -> Sequence[Event]:
        """See Store."""
        self._check_open()
        return self._history.since(revision, limit)

    async def wait(self, revision: int) -> int:
        """See Store."""
        return await self._newest.reached(revision + 1)

    async def compact(self, revision: int) -> None:
        """See Store."""
        self._check_open()
        self._history.compact(min(revision, self._newest.value))

    async def close(self) -> None:
        """See Store; what was stored is gone."""
        self._closed = True
        self._newest.close(Unavailable("cannot use the store: it is closed"))

    def _encoded(self, write: Write, revision: int) -> bytes | None:
        return None if write.object is None else self._codec.encode(write.key, write.object, revision)

    def _put(self, key: Key, value: bytes | None, revision: int) -> Event:
        before = self._values.pop(key, None)
        if value is not None:
            self._values[key] = (revision, value)
        return Event(revision, key, self._decoded(key, value, revision),
                     self._decoded(key, before[1], before[0]) if before else None)  # fmt: skip

    def _decoded(self, key: Key, value: bytes | None, revision: int) -> Object | None:
        return None if value is None else self._codec.decode(key, value, revision)

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("cannot use the store: it is closed")
