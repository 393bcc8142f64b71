"""Watch: what happens to the selected objects, from a revision on, for as long as the client listens (A8).

Rule: nothing is buffered per watcher: each keeps a revision and reads on from there, so a slow one costs nothing and,
once history is forgotten before it, ends with TooOld. One that takes nothing at all for a minute is cut.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from grpc import aio

from mesh.errors import TooOld
from mesh.model.keys import Key
from mesh.model.kinds import Object, key_of, pack, revision_of
from mesh.rpc.selection import Selection, selection_of
from mesh.store.feed import Feed
from mesh.store.port import Event
from mesh.v1.control_pb2 import WatchEvent, WatchRequest

_BEHIND = frozenset(("Service", "Pod", "Node", "Endpoints", "EndpointSlice"))  # what endpoints are derived from
PATIENCE = 60.0  # seconds that one event may wait for a client to take it


async def watch(
    request: WatchRequest, context: aio.ServicerContext[Any, Any], feed: Feed, bookmark_seconds: float
) -> None:
    """Serves one Watch until the client ends it; raises TooOld, NotFound, Invalid."""
    selection = selection_of(request)
    await feed.reached(0)
    after = request.after_revision
    if after == 0:
        after, objects = feed.view.revision, selection.of(feed.view)
        for obj in objects:
            await _send(context, WatchEvent(type=WatchEvent.ADDED, object=pack(obj), revision=after))
    await _send(context, _bookmark(after))  # at once, so that a client knows that it watches
    loop = asyncio.get_running_loop()
    sent = loop.time()
    async with aclosing(feed.follow(after)) as batches:  # type: ignore[type-var]  # it is an async generator
        async for events in _with_pauses(batches, bookmark_seconds):
            for event in events:
                after = event.revision
                for news in _news(event, selection):
                    await _send(context, news)
                    sent = loop.time()
            if loop.time() - sent >= bookmark_seconds:
                await _send(context, _bookmark(after))
                sent = loop.time()


async def watch_derived(
    request: WatchRequest, context: aio.ServicerContext[Any, Any], feed: Feed, bookmark_seconds: float
) -> None:
    """As `watch`, of a kind that is derived: what differs between two states of the view is what happened."""
    selection = selection_of(request)
    await feed.reached(0)
    known = {key_of(obj): obj for obj in selection.of(feed.view)}
    after, revision = request.after_revision, feed.view.revision
    for obj in known.values():
        if revision_of(obj) > after:
            kind = WatchEvent.MODIFIED if after else WatchEvent.ADDED
            await _send(context, WatchEvent(type=kind, object=pack(obj), revision=revision))
    await _send(context, _bookmark(revision))
    async with aclosing(feed.follow(revision)) as batches:  # type: ignore[type-var]  # it is an async generator
        async for events in _with_pauses(batches, bookmark_seconds):
            if not events:
                await _send(context, _bookmark(revision))
            elif any(event.key.kind in _BEHIND for event in events):
                now = {key_of(obj): obj for obj in selection.of(feed.view)}
                revision = feed.view.revision
                for change in _differences(known, now, revision):
                    await _send(context, change)
                known = now


def _differences(before: dict[Key, Object], now: dict[Key, Object], revision: int) -> Iterator[WatchEvent]:
    for key, obj in now.items():
        if key not in before:
            yield WatchEvent(type=WatchEvent.ADDED, object=pack(obj), revision=revision)
        elif before[key] != obj:
            yield WatchEvent(type=WatchEvent.MODIFIED, object=pack(obj), revision=revision)
    for key, obj in before.items():
        if key not in now:
            yield WatchEvent(type=WatchEvent.DELETED, object=_last(obj, revision), revision=revision)


async def _with_pauses(batches: AsyncIterator[Sequence[Event]], seconds: float) -> AsyncIterator[Sequence[Event]]:
    """The batches, and an empty one after each `seconds` without any."""
    while True:
        task = asyncio.ensure_future(anext(batches))
        try:
            while not (await asyncio.wait({task}, timeout=seconds))[0]:
                yield ()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        yield task.result()


def _news(event: Event, selection: Selection) -> Iterator[WatchEvent]:
    """An object that begins to be selected is ADDED, one that ceases to be is DELETED, with its last selected state."""
    was = event.previous if selection.wants(event.key, event.previous) else None
    is_ = event.object if selection.wants(event.key, event.object) else None
    if is_ is not None:
        kind = WatchEvent.MODIFIED if was is not None else WatchEvent.ADDED
        yield WatchEvent(type=kind, object=pack(is_), revision=event.revision)
    elif was is not None:
        yield WatchEvent(type=WatchEvent.DELETED, object=_last(was, event.revision), revision=event.revision)


def _last(obj: Object, revision: int) -> AnyMessage:
    last = type(obj)()
    last.CopyFrom(obj)  # type: ignore[arg-type]  # the copy is of the object's own type
    last.metadata.resource_version = str(revision)
    return pack(last)


def _bookmark(revision: int) -> WatchEvent:
    return WatchEvent(type=WatchEvent.BOOKMARK, revision=revision)


async def _send(context: aio.ServicerContext[Any, Any], event: WatchEvent) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            await context.write(event)
    except TimeoutError:
        raise TooOld(
            f"the watch was cut: its reader took nothing for {PATIENCE:g} s; list again and watch from there"
        ) from None
