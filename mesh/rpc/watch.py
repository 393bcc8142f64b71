"""Watch: what happens to the selected objects, from a revision on, for as long as the client listens (A8).

Rule: nothing is buffered per watcher: each keeps a revision and reads on from there, so a slow one costs nothing and,
once history is forgotten before it, ends with TooOld. One that takes nothing at all for a minute is cut. What happened
is made into bytes once, for however many watch it.
"""

import asyncio
from collections.abc import Iterator
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


class Encoded:
    """What watchers are sent of events, as bytes: the newest of them, up to `room` bytes, are not made again."""

    def __init__(self, room: int = 8 << 20) -> None:
        self._room = room
        self._made: dict[tuple[int, Key, int], bytes] = {}

    def of(self, kind: "WatchEvent.Type.ValueType", event: Event) -> bytes:
        """The WatchEvent of this kind about an event; of DELETED the object is the last one, at the new revision."""
        known = event.revision, event.key, kind
        if (made := self._made.get(known)) is None:
            made = self._made[known] = _encode(kind, event)
            self._room -= len(made)
            while self._room < 0:
                self._room += len(self._made.pop(next(iter(self._made))))
        return made


async def watch(
    request: WatchRequest, context: aio.ServicerContext[Any, Any], feed: Feed, encoded: Encoded, bookmark_seconds: float
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
    async with aclosing(feed.follow(after, bookmark_seconds)) as batches:
        async for events in batches:
            for event in events:
                after = event.revision
                if (kind := _happened(event, selection)) is not None:
                    await _send(context, encoded.of(kind, event))
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
    async with aclosing(feed.follow(revision, bookmark_seconds)) as batches:
        async for events in batches:
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


def _happened(event: Event, selection: Selection) -> "WatchEvent.Type.ValueType | None":
    """An object that begins to be selected is ADDED, one that ceases to be is DELETED, with its last selected state."""
    was = selection.wants(event.key, event.previous)
    if selection.wants(event.key, event.object):
        return WatchEvent.MODIFIED if was else WatchEvent.ADDED
    return WatchEvent.DELETED if was else None


def _encode(kind: "WatchEvent.Type.ValueType", event: Event) -> bytes:
    obj = event.previous if kind == WatchEvent.DELETED else event.object
    assert obj is not None  # noqa: S101 - it was selected
    box = _last(obj, event.revision) if kind == WatchEvent.DELETED else pack(obj)
    return WatchEvent(type=kind, object=box, revision=event.revision).SerializeToString()


def _last(obj: Object, revision: int) -> AnyMessage:
    last = type(obj)()
    last.CopyFrom(obj)  # type: ignore[arg-type]  # the copy is of the object's own type
    last.metadata.resource_version = str(revision)
    return pack(last)


def _bookmark(revision: int) -> WatchEvent:
    return WatchEvent(type=WatchEvent.BOOKMARK, revision=revision)


async def _send(context: aio.ServicerContext[Any, Any], event: WatchEvent | bytes) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            await context.write(event)
    except TimeoutError:
        raise TooOld(
            f"the watch was cut: its reader took nothing for {PATIENCE:g} s; list again and watch from there"
        ) from None
