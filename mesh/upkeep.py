"""Keeps the store's history bounded: what no watch needs any more is forgotten.

Rule: once a minute, and not at all when there is nothing to forget.
"""

import asyncio

import structlog

from mesh.errors import MeshError
from mesh.store.feed import Feed
from mesh.store.port import Store

_log = structlog.get_logger("mesh.upkeep")
PERIOD = 60.0  # seconds


async def keep_up(store: Store, feed: Feed, revisions: int) -> None:
    """For ever keeps about the newest `revisions` of the history."""
    compacted = 0
    while True:
        await asyncio.sleep(PERIOD)
        revision = feed.view.revision - revisions
        if revision <= compacted:
            continue
        try:
            await store.compact(revision)
        except MeshError as error:
            _log.warning("cannot_compact", error=error.message)
        else:
            compacted = revision
