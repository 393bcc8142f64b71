"""How a store lies in etcd, and what etcd's answers mean: values in, values out."""

import grpc
import pytest

from mesh.errors import AlreadyExists, Invalid, Unavailable
from mesh.etcd import etcd_pb2 as pb
from mesh.model.keys import Key
from mesh.model.kinds import key_of
from mesh.store.codec import PlainCodec
from mesh.store.etcdbatch import LARGEST, MOST, Batch, forgotten
from mesh.store.etcdclient import explained
from mesh.store.etcdlayout import Entry, Head, Layout, beyond, change_of, packed, unpacked
from mesh.store.history import Retention
from mesh.store.port import Write
from mesh.v1.core_pb2 import ConfigMap

LAYOUT, CODEC = Layout("/mesh/"), PlainCodec()


def config(name: str, text: str = "") -> ConfigMap:
    obj = ConfigMap(data={"text": text})
    obj.metadata.name, obj.metadata.namespace = name, "default"
    return obj


def put(obj: ConfigMap, expect: int | None = None) -> Write:
    return Write(key_of(obj), obj, expect)


def batch(head: Head | None = None) -> Batch:
    return Batch(LAYOUT, CODEC, head or Head(), 1000, "me")


@pytest.mark.parametrize("key", [Key("Pod", "default", "web-0"), Key("Node", "", "host1"), Key("Role", "a", "x:y.z")])
def test_keys_come_back_as_they_were(key: Key) -> None:
    assert LAYOUT.key_of(LAYOUT.object(key)) == key
    assert LAYOUT.revision_of(LAYOUT.entry(77)) == 77
    assert LAYOUT.objects < LAYOUT.object(key) < beyond(LAYOUT.objects)


def test_entries_lie_in_the_order_of_their_revisions() -> None:
    keys = [LAYOUT.entry(n) for n in (1, 9, 10, 255, 256, 1_000_000)]
    assert keys == sorted(keys)


@pytest.mark.parametrize("value", [b"", b"{}", b"junk", b'{"schema": 1, "revision": "x"}'])
def test_a_damaged_head_and_one_of_a_newer_mesh_are_refused(value: bytes) -> None:
    with pytest.raises(Unavailable, match="restore a backup"):
        Head.decode(value)
    newer = Head().encode().replace(b'"schema": 1', b'"schema": 2')
    with pytest.raises(Unavailable, match="use the newer mesh"):
        Head.decode(newer)


def test_a_batch_gives_each_commit_a_revision_and_a_refused_one_none() -> None:
    made = batch(Head(7, 3, 10, 100))
    assert made.add([put(config("a"), 0), put(config("b"))], {}) == 8
    with pytest.raises(AlreadyExists):
        made.add([put(config("c")), put(config("d"), 0)], {key_of(config("d")): 2})
    assert made.add([Write(key_of(config("e")), None)], {key_of(config("e")): 5}) == 9
    assert (made.head.revision, made.head.compacted, made.head.events, made.first) == (9, 3, 13, 8)
    keys = [op.request_put.key or op.request_delete_range.key for op in made.operations]
    assert keys == [LAYOUT.object(key_of(config("a"))), LAYOUT.object(key_of(config("b"))), LAYOUT.entry(8),
                    LAYOUT.object(key_of(config("e"))), LAYOUT.entry(9)]  # fmt: skip


def test_a_batch_takes_no_key_twice_and_no_more_than_etcd_takes() -> None:
    made = batch()
    assert made.fits([put(config(str(n), "x" * LARGEST)) for n in range(2 * MOST)])  # alone, whatever etcd says of it
    made.add([put(config("a"))], {})
    assert not made.fits([put(config("a"))])
    assert made.fits([put(config("b"))])
    assert not made.fits([put(config("b", "x" * LARGEST))])
    assert not made.fits([put(config(str(n))) for n in range(MOST)])


def told(key: bytes, value: bytes | None, before: bytes = b"") -> pb.Event:
    kind = pb.Event.DELETE if value is None else pb.Event.PUT
    event = pb.Event(type=kind, kv=pb.KeyValue(key=key, value=value or b"", mod_revision=50))
    if before:
        event.prev_kv.CopyFrom(pb.KeyValue(key=key, value=before))
    return event


def test_events_are_told_by_commits_in_the_order_of_their_writes() -> None:
    values = {name: packed(rev, CODEC.encode(key_of(config(name)), config(name), rev)) for name, rev in
              (("a", 4), ("b", 3), ("z", 3))}  # fmt: skip
    entries = [Entry(4, 0, "w", (key_of(config("a")),), 3, 0),
               Entry(3, 0, "w", (key_of(config("z")), key_of(config("b"))), 2, 0)]  # fmt: skip
    changes = [
        told(LAYOUT.object(key_of(config("a"))), values["a"]),
        told(LAYOUT.object(key_of(config("b"))), None, values["b"]),
        told(LAYOUT.object(key_of(config("z"))), values["z"]),
        *(told(LAYOUT.entry(entry.revision), entry.encode()) for entry in entries),
        told(LAYOUT.head, Head(4).encode()),
        told(b"/mesh/leader", b"{}"),
    ]
    change = change_of(LAYOUT, CODEC, changes)
    assert change.head == Head(4)
    assert [(e.revision, e.key.name, e.object is None, e.previous is None) for e in change.events] == [
        (3, "z", False, True), (3, "b", True, False), (4, "a", False, True)]  # fmt: skip


def test_a_box_that_is_only_wrapped_anew_and_forgotten_history_are_no_events() -> None:
    value = packed(3, b"box")
    wrapped, gone = told(LAYOUT.object(key_of(config("a"))), value, value), told(LAYOUT.entry(2), None)
    change = change_of(LAYOUT, CODEC, [wrapped, gone, told(LAYOUT.head, Head(3, 2).encode())])
    assert (change.head, list(change.events)) == (Head(3, 2), [])
    assert unpacked(value) == (3, b"box")


def test_history_keeps_the_newest_and_the_young_within_its_ceilings() -> None:
    entries = [Entry(n, 100 * n, "w", (), n, 1000 * n) for n in range(1, 11)]
    head = Head(10, 0, 10, 10_000)
    keep = Retention(events=4, seconds=300, ceiling=100, bytes=1 << 20)
    assert forgotten(head, entries, keep, now=1000) == 6  # 7 to 10 are the newest, and 8 on are young
    assert forgotten(head, entries, keep, now=600) == 3  # 4 is young
    assert forgotten(head, entries, Retention(events=100, ceiling=7), now=1000) == 3
    assert forgotten(head, entries, Retention(events=100, bytes=2000), now=1000) == 8
    assert forgotten(Head(10, 5, 10, 0), entries[5:], Retention(), now=0) == 5  # nothing more


@pytest.mark.parametrize(
    ("code", "said", "kind", "words"),
    [
        (grpc.StatusCode.UNAVAILABLE, "etcdserver: no leader", Unavailable, "lost its majority"),
        (grpc.StatusCode.UNAVAILABLE, "etcdserver: request timed out", Unavailable, "lost its majority"),
        (grpc.StatusCode.UNAVAILABLE, "failed to connect", Unavailable, "no member of etcd (m1, m2) answers"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", Unavailable, "no member of etcd"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", Unavailable, "is full"),
        (grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: request is too large", Invalid, "--max-request-bytes"),
        (grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: too many operations in txn request", Invalid, "--max-txn-ops"),
        (grpc.StatusCode.PERMISSION_DENIED, "etcdserver: permission denied", Unavailable, "refuses"),
    ],
)
def test_what_etcd_says_in_words(code: grpc.StatusCode, said: str, kind: type[Exception], words: str) -> None:
    error = explained(code, said, "m1, m2")
    assert type(error) is kind
    assert words in str(error)
