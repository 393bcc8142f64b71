"""The store on an etcd cluster: several meshd follow it, and the one that leads writes.

Rules: every transaction compares the head that it rests on, and the leader's key while there is one (`fence`), so that
whoever lost the lead writes nothing more. Whatever happened is known from etcd's watch alone, own writes included: a
commit returns once the watch has told it.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

import structlog

from mesh.errors import MeshError, Unavailable
from mesh.etcd import etcd_pb2 as pb
from mesh.model.keys import Key
from mesh.store.encrypted import EncryptedCodec
from mesh.store.etcdbatch import Batch, forgotten, get, made_at, put, unchanged
from mesh.store.etcdclient import PATIENCE, Address, Compacted, EtcdClient
from mesh.store.etcdlayout import Entry, Head, Layout, beyond, change_of, decoded, packed, unpacked
from mesh.store.etcdreading import Page, pages, read_old
from mesh.store.history import History, Retention, too_old
from mesh.store.mark import Mark
from mesh.store.port import Codec, Event, Snapshot, Write

log = structlog.get_logger(__name__)

PREFIX = "/mesh/"
_RECENT = 2048  # events at hand, so that whoever keeps up asks etcd for nothing
_LOOK = 500  # new events between two looks at what may be forgotten
_PIECE = 100  # entries or boxes that one piece of keeping order deals with
_AGAIN = 0.5  # seconds before a watch that broke is begun anew

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Job:
    """A commit (`writes`), or keeping order between commits (`work`)."""

    done: "asyncio.Future[Any]"
    writes: Sequence[Write] = ()
    work: Callable[[], Awaitable[Any]] | None = None


class EtcdStore:
    """See Store; made by `open`, and used on the event loop that opened it. `fence`: of etcd's revisions, the one at
    which this meshd's leader key was made; 0: nobody leads, as for the command line."""

    def __init__(self, client: EtcdClient, layout: Layout, codec: Codec, retention: Retention | None) -> None:
        self.client = client
        self.layout = layout
        self.fence = 0
        self._codec = codec
        self._retention = retention or Retention()
        self._head, self._written_at = Head(), 0  # what etcd holds, and at which of its revisions that was written
        self._held: dict[Key, int] = {}
        self._recent = History()
        self._newest = Mark()
        self._seen = Mark()  # of etcd's revisions
        self._waiting: deque[_Job] = deque()
        self._work, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._looked = 0  # the sum of events at the last look at what may be forgotten
        self._closed: MeshError | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(
        cls, address: Address, codec: Codec, prefix: str = PREFIX, retention: Retention | None = None
    ) -> "EtcdStore":
        """Reads what there is, and follows it from then on.

        Raises:
            Unavailable: no member answers; or what is there is no store, too new, or half of a copy.
        """
        client = EtcdClient(address)
        store = cls(client, Layout(prefix), codec, retention)
        try:
            await client.txn(pb.TxnRequest(
                compare=[unchanged(store.layout.head, 0)], success=[put(store.layout.head, Head().encode())]
            ))  # fmt: skip
            await store._load()
        except BaseException:
            await client.close()
            raise
        store._tasks = [asyncio.create_task(work) for work in (store._follow(), store._write())]
        for task in store._tasks:
            task.add_done_callback(store._ended)
        return store

    async def commit(self, writes: Sequence[Write]) -> int:
        """See Store; a caller that is cancelled, or told Unavailable, does not know whether it went through."""
        revision: int = await self._queue(_Job(asyncio.get_running_loop().create_future(), writes))
        return revision

    async def snapshot(self) -> Snapshot:
        """See Store."""
        self._check_open()
        found: list[Page] = [page async for page in pages(self.client, self.layout)]
        head = Head.decode(found[0].head.value)
        objects = [
            (self.layout.key_of(kv.key), kv.value) for page in found for kv in page.objects
        ]  # decoded elsewhere: many take long
        return Snapshot(
            head.revision,
            await asyncio.to_thread(lambda: [decoded(self._codec, key, value) for key, value in objects]),
        )

    async def since(self, revision: int, limit: int = 1000) -> Sequence[Event]:
        """See Store."""
        self._check_open()
        if revision >= self._recent.compacted:
            return self._recent.since(revision, limit)
        try:
            return await read_old(self.client, self.layout, self._codec, revision, limit)
        except Compacted:
            raise too_old(revision, self._head.compacted) from None

    async def wait(self, revision: int) -> int:
        """See Store."""
        return await self._newest.reached(revision + 1)

    async def compact(self, revision: int) -> None:
        """See Store."""

        await self._keep_order(lambda: self._forget(min(revision, self._head.revision)))
        self._recent.compact(min(revision, self._newest.value))

    async def rewrap(self) -> AsyncGenerator[int, None]:
        """Wraps whatever has another key than the first of the codec's keys, piece by piece, between commits; yields
        how many boxes so far. History, which can't be wrapped anew, is forgotten at the end. Raises Unavailable for a
        box that can't be opened."""
        codec = self._codec
        if not isinstance(codec, EncryptedCodec):
            return
        after, total = self.layout.objects, 0
        while after:
            after, count = await self._keep_order(partial(self._rewrap, codec, after))
            total += count
            yield total
        await self.compact(self._head.revision)

    async def close(self) -> None:
        """See Store."""
        if self._closed is None:
            self._closed = Unavailable("cannot use the store in etcd: it is closed")
            self._newest.close(self._closed)
            await self._idle.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.close()

    # ---- following -------------------------------------------------------------------------------------------------

    async def _load(self) -> None:
        """Where the store is, and at which revision each object; whoever follows reads anew from here."""
        held: dict[Key, int] = {}
        async for page in pages(self.client, self.layout):
            held.update((self.layout.key_of(kv.key), unpacked(kv.value)[0]) for kv in page.objects)
        self._head, self._written_at = Head.decode(page.head.value), page.head.mod_revision
        if self._head.filling:
            raise Unavailable("cannot open the store in etcd: a copy into it has not ended; begin it again")
        self._held = held
        self._recent = History(self._head.revision, _RECENT)
        self._newest.advance(self._head.revision)
        self._seen.advance(page.revision)

    async def _follow(self) -> None:
        prefix = self.layout.prefix
        while True:
            try:
                async with aclosing(self.client.watch(prefix, beyond(prefix), self._seen.value + 1)) as told:
                    async for events in told:
                        self._take(events)
            except Compacted:
                await self._load_again()
            except Unavailable as error:
                log.warning("store_followed_again", why=error.message)
                await asyncio.sleep(_AGAIN)

    async def _load_again(self) -> None:
        try:
            await self._load()
        except Unavailable as error:
            log.warning("store_read_again", why=error.message)
            await asyncio.sleep(_AGAIN)

    def _take(self, told: Sequence[pb.Event]) -> None:
        for revision, events in groupby(told, key=lambda event: event.kv.mod_revision):
            try:
                change = change_of(self.layout, self._codec, events)
            except MeshError as error:
                raise _Unreadable(error) from error
            for event in change.events:
                if event.object is None:
                    self._held.pop(event.key, None)
                else:
                    self._held[event.key] = event.revision
            if change.head is not None:
                self._go_on(change.head, revision, change.events)
            self._seen.advance(revision)

    def _go_on(self, head: Head, written_at: int, events: Sequence[Event]) -> None:
        if head.filling:
            raise _Unreadable(Unavailable("the store in etcd is being replaced; start again when that is done"))
        self._head, self._written_at = head, written_at
        self._recent.add(events)
        self._recent.compact(head.compacted)
        self._newest.advance(head.revision)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """A task of the store has ended, which none does by itself: whoever uses the store hears why."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not isinstance(error, _Unreadable):
            log.critical("store_crashed", exc_info=error)
        why = error.why if isinstance(error, _Unreadable) else Unavailable(f"cannot use the store in etcd: {error!r}")
        self._closed = why
        for mark in (self._newest, self._seen):
            mark.close(why)
        self._refuse(list(self._waiting), why)
        self._idle.set()

    # ---- writing ---------------------------------------------------------------------------------------------------

    async def _queue(self, job: _Job) -> Any:
        self._check_open()
        self._waiting.append(job)
        self._idle.clear()
        self._work.set()
        return await job.done

    async def _keep_order(self, work: Callable[[], Awaitable[T]]) -> T:
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        await self._queue(_Job(done, work=work))
        return done.result()

    async def _write(self) -> None:
        while True:
            await self._work.wait()
            while self._waiting:
                jobs: list[_Job] = []
                try:
                    async with asyncio.timeout(3 * PATIENCE):
                        await self._write_some(jobs)
                except TimeoutError:
                    self._refuse(jobs, Unavailable("cannot tell whether it is written: etcd does not say so in time"))
                except Unavailable as error:
                    self._refuse([*jobs, *self._waiting], error)
                except MeshError as error:
                    self._refuse(jobs, error)
                except Exception as error:
                    self._refuse(jobs, Unavailable(f"cannot write the store in etcd: {error!r}"))
                    raise
            self._work.clear()
            self._idle.set()

    async def _write_some(self, jobs: list[_Job]) -> None:
        """As many commits as fit into one transaction, or one piece of keeping order. `jobs`: those it is about."""
        if (work := self._waiting[0].work) is not None:
            jobs.append(self._waiting.popleft())
            _finish(jobs[0], await work())
            return
        batch = Batch(self.layout, self._codec, self._head, int(time.time()), os.urandom(8).hex())
        revisions = self._fill(batch, jobs)
        if batch.operations and not await self._send(batch.head, batch.operations, batch):
            self._waiting.extendleft(reversed(jobs))
            jobs.clear()
            return
        for job, revision in zip(jobs, revisions, strict=True):
            _finish(job, revision)
        if self._head.events - self._looked >= _LOOK:
            self._looked = self._head.events
            await self._retain()

    def _fill(self, batch: Batch, jobs: list[_Job]) -> list[int]:
        revisions = []
        while self._waiting and self._waiting[0].work is None and batch.fits(self._waiting[0].writes):
            job = self._waiting.popleft()
            try:
                revisions.append(batch.add(job.writes, self._held))
            except Exception as error:  # noqa: BLE001 - handed to the one whose commit it is
                _refuse(job, error)
            else:
                jobs.append(job)
        return revisions

    async def _send(self, head: Head, operations: Sequence[pb.RequestOp], batch: Batch | None = None) -> bool:
        """Writes, and waits until the watch has told so; False when another one wrote first, which is known by then."""
        layout = self.layout
        compare = [unchanged(layout.head, self._written_at)]
        compare += [made_at(layout.leader, self.fence)] if self.fence else []
        entry = layout.entry(batch.first if batch is not None else 0)
        answer = await self.client.txn(pb.TxnRequest(
            compare=compare,
            success=[*operations, put(layout.head, head.encode())],
            failure=[get(layout.head), get(layout.leader), get(entry)],
        ))  # fmt: skip
        if answer.succeeded:
            await self._seen.reached(answer.header.revision)
            return True
        held, leader, written = ([*response.response_range.kvs] for response in answer.responses)
        if batch is not None and written and Entry.decode(0, written[0].value).writer == batch.writer:
            await self._seen.reached(written[0].mod_revision)  # it went through, and the answer was lost
            return True
        if self.fence and (not leader or leader[0].create_revision != self.fence):
            raise Unavailable("cannot write: this meshd does not lead the mesh any more")
        await self._seen.reached(held[0].mod_revision if held else answer.header.revision)
        return False

    async def _retain(self) -> None:
        """Forgets what history need not keep; a piece at a time."""
        log_, limit = self.layout.log, 10 * _PIECE
        found = await self.client.range(pb.RangeRequest(key=log_, range_end=beyond(log_), limit=limit))
        entries = [Entry.decode(self.layout.revision_of(kv.key), kv.value) for kv in found.kvs]
        await self._forget(forgotten(self._head, entries, self._retention, int(time.time())))

    async def _forget(self, revision: int) -> None:
        """Forgets history up to a revision: the log's, then etcd's own."""
        layout = self.layout
        while revision > self._head.compacted:
            gone = pb.DeleteRangeRequest(key=layout.log, range_end=layout.entry(revision + 1))
            head = replace(self._head, compacted=revision)
            await self._send(head, [pb.RequestOp(request_delete_range=gone)])
        found = await self.client.range(
            pb.RangeRequest(key=layout.log, range_end=beyond(layout.log), limit=1, keys_only=True)
        )
        with suppress(Compacted):
            await self.client.compact(found.kvs[0].mod_revision - 1 if found.kvs else found.header.revision)

    async def _rewrap(self, codec: EncryptedCodec, after: bytes) -> tuple[bytes, int]:
        """Wraps the boxes of the next objects anew; returns where to go on (nothing: that was all), and how many."""
        while True:
            request = pb.RangeRequest(key=after, range_end=beyond(self.layout.objects), limit=_PIECE)
            found = await self.client.range(request)
            operations = []
            for kv in found.kvs:
                revision, value = unpacked(kv.value)
                if (fresh := codec.rewrapped(self.layout.key_of(kv.key), value, revision)) is not None:
                    operations.append(put(kv.key, packed(revision, fresh)))
            if not operations or await self._send(self._head, operations):
                return (found.kvs[-1].key + b"\0" if found.kvs else b""), len(operations)

    def _refuse(self, jobs: Sequence[_Job], error: Exception) -> None:
        for job in jobs:
            _refuse(job, error)
            if job in self._waiting:
                self._waiting.remove(job)

    def _check_open(self) -> None:
        if self._closed is not None:
            raise self._closed


class _Unreadable(Exception):  # noqa: N818 - not an error of the mesh's six: what ends the following
    def __init__(self, why: MeshError) -> None:
        super().__init__(why.message)
        self.why = why


def _finish(job: _Job, revision: int) -> None:
    if not job.done.done():
        job.done.set_result(revision)


def _refuse(job: _Job, error: Exception) -> None:
    if not job.done.done():
        job.done.set_exception(error)
