"""How a store lies in etcd: its keys, what their values say, and events read back from what etcd tells of a change.

    <prefix>head                       revision and compacted revision, JSON; every change of the store writes it anew
    <prefix>log/<revision, 16 hex>     one commit: which keys it wrote, in order, JSON
    <prefix>objects/<kind>/<ns>/<name> an object: its revision (8 bytes), then the codec's bytes
    <prefix>leader                     who leads, by a lease (mesh/leader.py)
    <prefix>keys, <prefix>authority    the store's keys and the mesh's authority, in boxes (mesh/store/etcdboxes.py)
    <prefix>place                      where Ray's head is (mesh/store/etcdplace.py)

Rule: pure. An object's value carries its own revision, for etcd's are other numbers: a box made anew (a key's rotation)
changes etcd's and not ours. History is etcd's own: the values before and after lie nowhere twice.
"""

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mesh.errors import Unavailable
from mesh.etcd.etcd_pb2 import Event as EtcdEvent
from mesh.model.keys import Key
from mesh.model.kinds import Object
from mesh.store.port import Codec, Event

SCHEMA = 1
KEYS, AUTHORITY = "store keys", "authority"  # what is in boxes
_REVISION = struct.Struct(">Q")


@dataclass(frozen=True, slots=True)
class Head:
    """Where a store is: the newest revision, up to which one history is forgotten, and how many events, and of which
    size, it has ever told. `filling`: a copy into it was begun and has not ended."""

    revision: int = 0
    compacted: int = 0
    events: int = 0
    size: int = 0
    filling: bool = False

    def encode(self) -> bytes:
        """As it lies in etcd."""
        told = {"schema": SCHEMA, "revision": self.revision, "compacted": self.compacted, "events": self.events,
                "size": self.size}  # fmt: skip
        return json.dumps({**told, "filling": True} if self.filling else told).encode()

    @classmethod
    def decode(cls, value: bytes) -> "Head":
        """Raises Unavailable for what no mesh, or a newer one, has written."""
        try:
            told = json.loads(value)
            schema = int(told["schema"])
            head = cls(int(told["revision"]), int(told["compacted"]), int(told["events"]), int(told["size"]),
                       bool(told.get("filling")))  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable("cannot read the store in etcd: its head is damaged; restore a backup") from error
        if schema > SCHEMA:
            raise Unavailable(
                f"cannot open the store in etcd: its schema is version {schema}, this mesh knows up to {SCHEMA}; "
                "use the newer mesh"
            )
        return head


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit in the log: when (seconds since the epoch), which transaction wrote it, the keys in the order of the
    writes, and the head's sums of events and sizes after it."""

    revision: int
    at: int
    writer: str
    keys: tuple[Key, ...]
    events: int
    size: int

    def encode(self) -> bytes:
        """As it lies in etcd; the revision is the key's."""
        return json.dumps({"at": self.at, "writer": self.writer, "keys": self.keys, "events": self.events,
                           "size": self.size}).encode()  # fmt: skip

    @classmethod
    def decode(cls, revision: int, value: bytes) -> "Entry":
        """Raises Unavailable for what is damaged."""
        try:
            told = json.loads(value)
            keys = tuple(Key(*(str(part) for part in key)) for key in told["keys"])
            return cls(revision, int(told["at"]), str(told["writer"]), keys, int(told["events"]), int(told["size"]))
        except (ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"cannot read revision {revision} in etcd: it is damaged; restore a backup") from error


class Layout:
    """The keys below one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix.encode()
        self.head = self.prefix + b"head"
        self.leader = self.prefix + b"leader"
        self.boxes = {KEYS: self.prefix + b"keys", AUTHORITY: self.prefix + b"authority"}
        self.place = self.prefix + b"place"
        self.log = self.prefix + b"log/"
        self.objects = self.prefix + b"objects/"

    def entry(self, revision: int) -> bytes:
        """The key of a commit."""
        return self.log + f"{revision:016x}".encode()

    def revision_of(self, entry: bytes) -> int:
        """The revision of a commit's key."""
        return int(entry[len(self.log) :], 16)

    def object(self, key: Key) -> bytes:
        """The key of an object."""
        return self.objects + "/".join(key).encode()

    def key_of(self, key: bytes) -> Key:
        """Whose an object's key is."""
        kind, namespace, name = key[len(self.objects) :].decode().split("/", 2)
        return Key(kind, namespace, name)


def beyond(prefix: bytes) -> bytes:
    """The first key after all that begin with `prefix`, which ends in no 0xff."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def packed(revision: int, value: bytes) -> bytes:
    """An object's value in etcd."""
    return _REVISION.pack(revision) + value


def unpacked(value: bytes) -> tuple[int, bytes]:
    """The object's revision, and the codec's bytes."""
    return _REVISION.unpack_from(value)[0], value[_REVISION.size :]


@dataclass(frozen=True, slots=True)
class Change:
    """What one transaction in etcd meant: the head after it, and the commits in it, each with its events."""

    head: Head | None
    events: Sequence[Event]


def change_of(layout: Layout, codec: Codec, told: Iterable[EtcdEvent]) -> Change:
    """All events of one of etcd's revisions, as the store's; raises Unavailable for what can't be decoded."""
    head, entries, objects = None, [], {}
    for event in told:
        key = event.kv.key
        if key.startswith(layout.objects):
            objects[key] = event
        elif event.type == EtcdEvent.DELETE:
            continue  # of the log: history that is forgotten
        elif key == layout.head:
            head = Head.decode(event.kv.value)
        elif key.startswith(layout.log):
            entries.append(Entry.decode(layout.revision_of(key), event.kv.value))
    events = [
        _event(codec, entry.revision, key, objects[layout.object(key)])
        for entry in sorted(entries, key=lambda entry: entry.revision)
        for key in entry.keys
    ]
    return Change(head, events)


def _event(codec: Codec, revision: int, key: Key, told: EtcdEvent) -> Event:
    now = decoded(codec, key, told.kv.value) if told.type == EtcdEvent.PUT else None
    return Event(revision, key, now, decoded(codec, key, told.prev_kv.value) if told.prev_kv.value else None)


def decoded(codec: Codec, key: Key, value: bytes) -> Object:
    """The object of a value in etcd; raises Unavailable when it can't be read."""
    revision, stored = unpacked(value)
    return codec.decode(key, stored, revision)
