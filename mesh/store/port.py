"""What a store promises: every object by key, atomic commits with compare-and-set, and a history to follow.

Rules: a commit is all or nothing and durable before `commit` returns; all writes of a commit share one revision,
which is also the `metadata.resourceVersion` of the objects written; revisions only grow. One contract suite
(tests/contract/test_store.py) holds every body to this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mesh.model.keys import Key
from mesh.model.kinds import Object


@dataclass(frozen=True, slots=True)
class Write:
    """One change. `object` None removes. `expect`: None any, 0 must not exist, n must be at revision n."""

    key: Key
    object: Object | None
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One change that happened: `object` is None when removed; `previous` is None when new."""

    revision: int
    key: Key
    object: Object | None
    previous: Object | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every object at one revision."""

    revision: int
    objects: Sequence[Object]


class Store(Protocol):
    """Objects given to and taken from a store are never mutated afterwards, by either side."""

    async def commit(self, writes: Sequence[Write]) -> int:
        """Writes all or nothing; returns the revision.

        Raises:
            AlreadyExists: `expect` is 0 and the key exists.
            NotFound: a removal, or an expected revision, of a key that does not exist.
            Conflict: the key is at another revision than expected.
            Unavailable: the store can't write (disk full, closed).
        """
        ...

    async def snapshot(self) -> Snapshot:
        """Every object at the newest revision."""
        ...

    async def since(self, revision: int, limit: int = 1000) -> Sequence[Event]:
        """Events after `revision`, oldest first, whole revisions only, at least one revision if there is any.

        Raises:
            TooOld: the events right after `revision` are compacted.
        """
        ...

    async def wait(self, revision: int) -> int:
        """Returns the newest revision as soon as it is greater than `revision`."""
        ...

    async def compact(self, revision: int) -> None:
        """Forgets events up to and including `revision`."""
        ...

    async def close(self) -> None:
        """Finishes what was begun and lets go of files and threads."""
        ...


class Codec(Protocol):
    """How an object lies in a store: plain bytes, or encrypted for kinds that hold secrets."""

    def encode(self, key: Key, obj: Object, revision: int) -> bytes:
        """The bytes to store for `obj` as of `revision`."""
        ...

    def decode(self, key: Key, value: bytes, revision: int) -> Object:
        """The object, with `metadata.resourceVersion` set; raises Unavailable when it can't be read."""
        ...
