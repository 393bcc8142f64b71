"""A whole store as values, and its way between a file and etcd: migration, backup and restore are made of it.

Rule: nothing is decoded: objects keep revisions and bytes, so what is encrypted stays so and no key is needed. History
does not come along: whoever follows lists anew. A file is replaced whole or stays as it was; a copy into etcd that was
cut off leaves a store that no meshd opens.
"""

import secrets
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mesh.errors import AlreadyExists, Conflict, NotFound, Unavailable
from mesh.etcd import etcd_pb2 as pb
from mesh.model.keys import Key
from mesh.store import backup
from mesh.store.database import check, connect, explained, open_database, read_meta, transaction, write_meta
from mesh.store.etcdbatch import LARGEST, MOST, get, put, unchanged
from mesh.store.etcdclient import Address, EtcdClient
from mesh.store.etcdlayout import Head, Layout, beyond, packed, unpacked
from mesh.store.etcdreading import pages

_COLUMNS = "SELECT kind, namespace, name, revision, value FROM objects"


@dataclass(frozen=True, slots=True)
class Copy:
    """Every object as it lies in a store: key, revision, the codec's bytes; and the store's revision."""

    revision: int
    objects: Sequence[tuple[Key, int, bytes]]


# ---- files


def read_backup(path: Path) -> Copy:
    """What a backup holds; raises NotFound, Unavailable for what is none or damaged."""
    if not path.is_file():
        raise NotFound(f"cannot read {path}: there is no such file")
    with explained(path), closing(connect(path)) as connection:
        check(connection, path)
        with transaction(connection, "BEGIN"):
            rows = [(Key(*row[:3]), row[3], row[4]) for row in connection.execute(_COLUMNS)]
            return Copy(read_meta(connection, "revision"), rows)


def read_file(path: Path) -> Copy:
    """What a store's file holds; raises NotFound, Unavailable while a meshd has it open."""
    if not path.is_file():
        raise NotFound(f"cannot read store {path}: there is no such file")
    with backup.locked(path):
        return read_backup(path)


def write_file(copy: Copy, path: Path) -> Path | None:
    """Replaces a store's file; returns where the old one is kept, None if there was none. Raises Unavailable."""
    with backup.locked(path), _fresh(copy, path) as fresh:
        return backup.replace(fresh, path)


def write_backup(copy: Copy, path: Path) -> None:
    """Writes a backup, 0600; replaces an older one there. Raises Invalid, Unavailable."""
    with _fresh(copy, path) as fresh:
        backup.put_backup(fresh, path)


@contextmanager
def _fresh(copy: Copy, beside: Path) -> Iterator[Path]:
    """A whole store in a file of its own, which is gone afterwards unless it was renamed."""
    fresh = beside.with_name(f".{beside.name}.{secrets.token_hex(4)}")
    rows = [(*key, revision, value) for key, revision, value in copy.objects]
    try:
        with explained(beside), closing(open_database(fresh)) as connection:
            with transaction(connection):
                connection.executemany("INSERT INTO objects VALUES (?, ?, ?, ?, ?)", rows)
                for name in ("revision", "compacted"):
                    write_meta(connection, name, copy.revision)
            connection.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
        yield fresh
    finally:
        fresh.unlink(missing_ok=True)


# ---- etcd


@asynccontextmanager
async def reaching(address: Address) -> AsyncGenerator[EtcdClient, None]:
    """A client for one piece of work."""
    client = EtcdClient(address)
    try:
        yield client
    finally:
        await client.close()


async def read_etcd(client: EtcdClient, layout: Layout) -> Copy:
    """What etcd holds, as of one moment; raises NotFound when there is no store, Unavailable."""
    head = await _head(client, layout)
    if head is None:
        raise NotFound(f'there is no store below "{layout.prefix.decode()}" in etcd')
    found = [page async for page in pages(client, layout)]
    head = Head.decode(found[0].head.value)
    if head.filling:
        raise Unavailable("cannot read the store in etcd: a copy into it has not ended; begin it again")
    rows = [(layout.key_of(kv.key), *unpacked(kv.value)) for page in found for kv in page.objects]
    return Copy(head.revision, rows)


async def write_etcd(client: EtcdClient, layout: Layout, copy: Copy, *, over: bool = False) -> None:
    """Fills the store in etcd; what it holds is replaced if `over`, or if it is half of an earlier copy.

    Raises:
        AlreadyExists: it holds something.
        Conflict: a meshd leads on it, or something else writes it meanwhile.
    """
    held = await _head(client, layout)
    if held is not None and held.revision and not held.filling and not over:
        raise AlreadyExists("the store in etcd is not empty: --overwrite replaces it")
    await refuse_in_use(client, layout)
    head = Head(copy.revision, copy.revision, filling=True)
    answer = await client.txn(filling(layout, head))
    at = await _written_at(client, layout, head)
    if not answer.succeeded or not at:
        raise Conflict("the store in etcd is used by something else; stop every meshd, and begin again")
    for piece in _pieces(layout, copy):
        await _guarded(client, layout, at, piece)
    await _guarded(client, layout, at, [put(layout.head, replace(head, filling=False).encode())])


def filling(layout: Layout, head: Head) -> pb.TxnRequest:
    """Empties the store in etcd, unless a meshd leads on it, and says that a copy into it has begun: one whose keys and
    authority are those of who copies."""
    begun = put(layout.head, replace(head, filling=True).encode())
    boxes = (pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key)) for key in layout.boxes.values())
    emptied = [_all_below(layout.objects), _all_below(layout.log), *boxes, begun]
    return pb.TxnRequest(compare=[unchanged(layout.leader, 0)], success=emptied)


async def restore_etcd(client: EtcdClient, layout: Layout, copy: Copy, kept: Path) -> Path | None:
    """Puts a backup in the place of the store in etcd, whose revision leaps ahead; returns where the old one is kept,
    None if there was none. Raises Conflict, Unavailable."""
    held = await _head(client, layout)
    passed, before = copy.revision, None
    if held is not None and held.revision and not held.filling:
        write_backup(await read_etcd(client, layout), kept)
        passed, before = max(passed, held.revision), kept
    await write_etcd(client, layout, replace(copy, revision=passed + backup.LEAP), over=True)
    return before


async def refuse_in_use(client: EtcdClient, layout: Layout) -> None:
    """Raises Conflict while a meshd leads on the store in etcd."""
    if not (await client.txn(pb.TxnRequest(compare=[unchanged(layout.leader, 0)]))).succeeded:
        raise Conflict("a meshd has the store in etcd in use: stop every meshd first, and wait until its lease ends")


async def _head(client: EtcdClient, layout: Layout) -> Head | None:
    found = await client.range(pb.RangeRequest(key=layout.head))
    return Head.decode(found.kvs[0].value) if found.kvs else None


async def _written_at(client: EtcdClient, layout: Layout, head: Head) -> int:
    """At which of etcd's revisions the head was written, 0 when it is another one."""
    found = await client.range(pb.RangeRequest(key=layout.head))
    return found.kvs[0].mod_revision if found.kvs and found.kvs[0].value == head.encode() else 0


async def _guarded(client: EtcdClient, layout: Layout, at: int, operations: Sequence[pb.RequestOp]) -> None:
    answer = await client.txn(pb.TxnRequest(
        compare=[unchanged(layout.head, at), unchanged(layout.leader, 0)], success=operations,
        failure=[get(layout.head)],
    ))  # fmt: skip
    if answer.succeeded:
        return
    found = answer.responses[0].response_range.kvs
    last = operations[-1].request_put
    if not found or last.key != layout.head or found[0].value != last.value:  # else an earlier try went through
        raise Conflict("the store in etcd is used by something else; stop every meshd, and begin again")


def _all_below(prefix: bytes) -> pb.RequestOp:
    return pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=prefix, range_end=beyond(prefix)))


def _pieces(layout: Layout, copy: Copy) -> Iterator[list[pb.RequestOp]]:
    """Objects in transactions that etcd takes."""
    piece: list[pb.RequestOp] = []
    size = 0
    for key, revision, value in copy.objects:
        if piece and (len(piece) >= MOST or size + len(value) > LARGEST):
            yield piece
            piece, size = [], 0
        piece.append(put(layout.object(key), packed(revision, value)))
        size += len(value)
    if piece:
        yield piece
