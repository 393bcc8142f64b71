"""Alerts as events of what they are about: a Warning when one begins, a Normal word when it is over.

Rule: looked at when the view has moved, at most once in SETTLE, and once a minute for what time alone changes; nothing
is written while nothing begins or ends. A meshd that starts tells what it finds once more, as a count.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from mesh.errors import MeshError
from mesh.model.keys import Key
from mesh.model.kinds import Object
from mesh.reconcile.record import record
from mesh.store.change import change
from mesh.store.feed import Feed
from mesh.store.port import Event, Store, Write
from mesh.v1.control_pb2 import AlertStatus
from mesh.view import View

SETTLE, CLOCK = 1.0, 60.0  # seconds
_KEEPER = Key("Namespace", "", "kube-system")  # what is about no object of its own is about the mesh
_log = structlog.get_logger("mesh.figures")
_Name = tuple[str, str, str, str]


class Telling:
    """Of one meshd; `alerts` says what needs somebody now, `clock` nanoseconds since the epoch."""

    def __init__(
        self, store: Store, feed: Feed, alerts: Callable[[], Sequence[AlertStatus]], clock: Callable[[], int]
    ) -> None:  # fmt: skip
        self._store = store
        self._feed = feed
        self._alerts = alerts
        self._clock = clock
        self._told: dict[_Name, AlertStatus] = {}
        self._moved = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        leave = self._feed.on_events(self._on_events)
        try:
            while True:
                await self._look()
                with suppress(TimeoutError):  # wait_for would lose a cancellation that comes together with the news
                    async with asyncio.timeout(CLOCK):
                        await self._moved.wait()
                await asyncio.sleep(SETTLE)
                self._moved.clear()
        finally:
            leave()

    def _on_events(self, events: Sequence[Event]) -> None:
        if any(event.key.kind != "Event" for event in events):
            self._moved.set()

    async def _look(self) -> None:
        now = {(a.name, a.kind, a.namespace, a.object): a for a in self._alerts()}
        begun = [alert for name, alert in now.items() if name not in self._told]
        over = [alert for name, alert in self._told.items() if name not in now]
        if not begun and not over:
            return
        try:
            await change(self._store, self._feed, lambda view: self._writes(view, begun, over))
        except MeshError as error:
            _log.warning("alerts_not_told", why=error.message)  # and tried again with the next look
        else:
            self._told = now

    def _writes(self, view: View, begun: Sequence[AlertStatus], over: Sequence[AlertStatus]) -> list[Write]:
        writes: dict[Key, Write] = {}
        for alert, words, warning in (
            *((a, a.message, True) for a in begun), *((a, f"over: {a.message.partition(';')[0]}", False) for a in over),
        ):  # fmt: skip
            about = self._about(view, alert)
            if about is not None:
                told = record(view, about, alert.name, words, self._clock(), warning=warning)
                writes |= {write.key: write for write in told}
        return list(writes.values())

    @staticmethod
    def _about(view: View, alert: AlertStatus) -> Object | None:
        """The object, None when it has gone."""
        if alert.kind == "Certificate":
            return view.get(_KEEPER)
        return view.get(Key(alert.kind, alert.namespace, alert.object))
