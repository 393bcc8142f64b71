"""Commits that go to etcd in one transaction: checked against what is held, encoded, each a revision of its own.

Rule: pure; a commit that is refused leaves no trace and takes no revision. No key twice: etcd refuses that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from mesh.etcd import etcd_pb2 as pb
from mesh.model.keys import Key
from mesh.store.etcdlayout import Entry, Head, Layout, packed
from mesh.store.expect import check_commit, check_write
from mesh.store.history import Retention
from mesh.store.port import Codec, Write

MOST = 120  # writes in one transaction; etcd takes 128 unless told otherwise
LARGEST = 1 << 20  # bytes of objects in one; etcd takes one and a half


class Batch:
    """`head` is the store's, and after each `add` the one to write."""

    def __init__(self, layout: Layout, codec: Codec, head: Head, at: int, writer: str) -> None:
        self.head = head
        self.first = head.revision + 1
        self.writer = writer
        self.operations: list[pb.RequestOp] = []
        self._layout = layout
        self._codec = codec
        self._at = at
        self._keys: set[Key] = set()
        self._size = 0

    def fits(self, writes: Sequence[Write]) -> bool:
        """Whether these go into the same transaction; the first ones always do."""
        if not self.operations:
            return True
        size = self._size + sum(write.object.ByteSize() for write in writes if write.object is not None)
        apart = self._keys.isdisjoint(write.key for write in writes)
        return apart and size <= LARGEST and len(self.operations) + len(writes) < MOST

    def add(self, writes: Sequence[Write], held: Mapping[Key, int]) -> int:
        """Takes one commit; returns its revision, or raises as `Store.commit`."""
        if not writes:
            return self.head.revision
        check_commit(writes)
        for write in writes:
            check_write(write, held.get(write.key))
        revision = self.head.revision + 1
        operations = [self._operation(write, revision) for write in writes]
        size = sum(len(operation.request_put.value) for operation in operations)
        events, size_told = self.head.events + len(writes), self.head.size + size
        head = replace(self.head, revision=revision, events=events, size=size_told)
        keys = tuple(write.key for write in writes)
        entry = Entry(revision, self._at, self.writer, keys, head.events, head.size)
        self.operations += [*operations, put(self._layout.entry(revision), entry.encode())]
        self.head = head
        self._keys.update(keys)
        self._size += size
        return revision

    def _operation(self, write: Write, revision: int) -> pb.RequestOp:
        key = self._layout.object(write.key)
        if write.object is None:
            return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key))
        return put(key, packed(revision, self._codec.encode(write.key, write.object, revision)))


def put(key: bytes, value: bytes, lease: int = 0) -> pb.RequestOp:
    """One write."""
    return pb.RequestOp(request_put=pb.PutRequest(key=key, value=value, lease=lease))


def get(key: bytes, end: bytes = b"", limit: int = 0) -> pb.RequestOp:
    """One read."""
    return pb.RequestOp(request_range=pb.RangeRequest(key=key, range_end=end, limit=limit))


def unchanged(key: bytes, revision: int) -> pb.Compare:
    """That a key was last written at one of etcd's revisions; 0: that there is none."""
    return pb.Compare(target=pb.Compare.MOD, key=key, mod_revision=revision)


def made_at(key: bytes, revision: int) -> pb.Compare:
    """That a key was made at one of etcd's revisions; 0: that there is none."""
    return pb.Compare(target=pb.Compare.CREATE, key=key, create_revision=revision)


def forgotten(head: Head, entries: Sequence[Entry], keep: Retention, now: int) -> int:
    """Up to which revision history may go: what is neither among the newest nor young, and what passes a ceiling."""

    def goes(entry: Entry) -> bool:
        newer, size = head.events - entry.events, head.size - entry.size
        old = newer >= keep.events and entry.at <= now - keep.seconds
        return old or newer >= keep.ceiling or size >= keep.bytes

    return _last(entries, goes, head.compacted)


def _last(entries: Sequence[Entry], goes: Callable[[Entry], bool], none: int) -> int:
    last = none
    for entry in entries:
        if not goes(entry):
            break
        last = entry.revision
    return last
