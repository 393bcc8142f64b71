"""Reads of a store in etcd: every object as of one moment, and history older than what is at hand.

Rule: whatever is read is of one of etcd's revisions; what etcd has forgotten meanwhile is read anew, or raised.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import groupby

from mesh.errors import Unavailable
from mesh.etcd import etcd_pb2 as pb
from mesh.store.etcdbatch import get
from mesh.store.etcdclient import Compacted, EtcdClient
from mesh.store.etcdlayout import Entry, Head, Layout, beyond, change_of
from mesh.store.history import too_old, whole_revisions
from mesh.store.port import Codec, Event

_PAGE = 200  # objects read at a time


@dataclass(frozen=True, slots=True)
class Page:
    """Some objects, in order, and the head, all at one of etcd's revisions."""

    revision: int
    head: pb.KeyValue
    objects: Sequence[pb.KeyValue]


async def pages(client: EtcdClient, layout: Layout) -> AsyncGenerator[Page, None]:
    """All objects at one moment. Raises Unavailable, also when etcd forgets that moment before they are read."""
    end = beyond(layout.objects)
    answer = await client.txn(pb.TxnRequest(success=[get(layout.head), get(layout.objects, end, _PAGE)]))
    heads, found = (response.response_range for response in answer.responses)
    if not heads.kvs:
        raise Unavailable("cannot read the store in etcd: its head is gone; restore a backup")
    revision = answer.header.revision
    yield Page(revision, heads.kvs[0], found.kvs)
    while found.more:
        after = found.kvs[-1].key + b"\0"
        try:
            found = await client.range(pb.RangeRequest(key=after, range_end=end, limit=_PAGE, revision=revision))
        except Compacted:
            raise Unavailable("cannot read the store in etcd: it forgets too quickly; try again") from None
        yield Page(revision, heads.kvs[0], found.kvs)


async def read_old(client: EtcdClient, layout: Layout, codec: Codec, revision: int, limit: int) -> list[Event]:
    """Events as `Store.since` gives them, from etcd's own history; raises TooOld, Compacted."""
    after = get(layout.entry(revision + 1), beyond(layout.log), limit + 1)
    answer = await client.txn(pb.TxnRequest(success=[get(layout.head), after]))
    heads, found = (response.response_range for response in answer.responses)
    compacted = Head.decode(heads.kvs[0].value).compacted
    if revision < compacted:
        raise too_old(revision, compacted)
    if not found.kvs:
        return []
    last = _enough(layout, found.kvs, limit)
    events: list[Event] = []
    async with aclosing(client.watch(layout.prefix, beyond(layout.prefix), found.kvs[0].mod_revision)) as told:
        async for changes in told:
            for at, group in groupby(changes, key=lambda event: event.kv.mod_revision):
                if at <= last:
                    events += change_of(layout, codec, group).events
            if changes and changes[-1].kv.mod_revision >= last:
                break
    return list(whole_revisions([event for event in events if event.revision > revision], limit))


def _enough(layout: Layout, entries: Sequence[pb.KeyValue], limit: int) -> int:
    """The etcd revision of the entry with which there are more events than the limit, or of the last one."""
    count = 0
    for kv in entries:
        count += len(Entry.decode(layout.revision_of(kv.key), kv.value).keys)
        if count > limit:
            return kv.mod_revision
    return entries[-1].mod_revision
