"""What this host sees and holds, each with the version at which it last changed; readers wait here for news.

Rule: versions only grow within one boot of the agent. A cursor of another boot, or one older than something that was
dropped, is answered in full. Statuses are news at once; events and digests travel with them, or a moment later; that a
pod is ready no more waits for nothing, for it still gets connections.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterable
from typing import TypeVar

from mesh.model import protocol
from mesh.model.conditions import is_true
from mesh.v1.core_pb2 import Event
from mesh.v1.node_pb2 import Fence, HostKey, NodeReport, Observed, ObserveRequest, PodReport, ProxyHeld, Refusal

T = TypeVar("T")

SETTLE = 0.002  # seconds: what happens together is told together
BUSY_SETTLE, BUSY = 0.015, 0.05  # and more of it when the last answer was just given: each costs a commit elsewhere
LAZY = 0.1
EVENTS_KEPT = 1000
REFUSALS_KEPT = 1000  # of one agent process: who sends more is known well enough
LONGEST_WAIT = 60.0
_Proxy = tuple[str, str, tuple[str, ...], str]  # digest and boot, pods it has connections to that serve no more, error
_AWAY: _Proxy = ("", "", (), "")


class Board:
    """One host's."""

    def __init__(
        self, node: str, announce: Callable[[str, bytes], HostKey] | None = None, stamp: Callable[[], int] = lambda: 0
    ) -> None:
        self.node = node
        self._announce = announce  # the host's key, for a boot and a nonce
        self._stamp = stamp  # of the certificate that vouches for it: another one is announced anew
        self._announced = 0
        self.boot = secrets.token_hex(8)
        self.version = 1
        self._floor = 0  # something newer than this was dropped: older cursors need everything
        self._pods: dict[str, tuple[int, PodReport]] = {}
        self._events: dict[str, tuple[int, Event]] = {}
        self._refusals: dict[bytes, tuple[int, Refusal]] = {}
        self._report: tuple[int, NodeReport] | None = None
        self._fence = Fence()
        self._run_digest = ""
        self._proxy: _Proxy = _AWAY
        self.on_pod: Callable[[], None] = lambda: None  # what is said of a pod has changed
        self._waiters: dict[asyncio.Future[None], int] = {}  # with the version that each knows
        self._readings: list[tuple[int, asyncio.Future[None]]] = []
        self._wake: asyncio.TimerHandle | None = None
        self._woke_at = -BUSY

    # ---- what the agent says

    def put_pod(self, report: PodReport) -> None:
        """What is seen of one pod."""
        known = self._pods.get(report.uid)
        if known is None or known[1] != report:
            self._pods[report.uid] = (self._next(), report)
            self._news(SETTLE, pressing=known is not None and _is_ready(known[1]) and not _is_ready(report))
            self.on_pod()

    def drop_pod(self, uid: str) -> None:
        """Nothing is to be said of the pod any more; readers have been told that it is gone, or need not know."""
        dropped = self._pods.pop(uid, None)
        if dropped is not None:
            self.on_pod()
            self._floor = max(self._floor, dropped[0])

    def pod(self, uid: str) -> PodReport | None:
        """What is said of a pod."""
        found = self._pods.get(uid)
        return found[1] if found else None

    def put_event(self, event: Event) -> None:
        """An event, new or with a new count."""
        self._events.pop(event.metadata.name, None)
        self._events[event.metadata.name] = (self._next(), event)
        while len(self._events) > EVENTS_KEPT:
            del self._events[next(iter(self._events))]
        self._news(LAZY)

    def put_report(self, report: NodeReport) -> None:
        """What is seen of the host."""
        if self._report is None or self._report[1] != report:
            self._report = (self._next(), report)
            self._news(LAZY)

    def hold(self, fence: Fence, run_digest: str) -> None:
        """Which Assignment is held."""
        if (self._fence, self._run_digest) != (fence, run_digest):
            self._fence, self._run_digest = fence, run_digest
            self._next()
            self._news(LAZY)

    def hold_route(self, held: ProxyHeld | None) -> None:
        """What the proxy says; None: it is away."""
        said = _AWAY
        if held is not None:
            carrying = tuple(sorted(uid for uid, connections in held.draining.items() if connections))
            digest, boot, _, before = self._proxy
            same = (digest, boot) == (held.digest, held.boot)  # a refusal counts until something else is held
            said = (held.digest, held.boot, carrying, held.error or (before if same else ""))
        if said != self._proxy:
            self._proxy = said
            self._next()
            self._news(SETTLE)

    def refuse(self, refusal: Refusal) -> None:
        """What came as an order and was not carried out; the same again is no news, and neither is one too many."""
        words = refusal.SerializeToString(deterministic=True)
        if words not in self._refusals and len(self._refusals) < REFUSALS_KEPT:
            self._refusals[words] = (self._next(), refusal)
            self._news(LAZY)

    # ---- what readers get

    async def observe(self, request: ObserveRequest) -> Observed:
        """What is newer than the cursor; waits for it when there is nothing, then answers empty."""
        if request.boot == self.boot:
            for version, reading in self._readings:
                if version <= request.after_version:
                    _resolve(reading)
            self._readings = [r for r in self._readings if not r[1].done()]
        if request.boot == self.boot and self._floor <= request.after_version == self.version:
            await self._wait(min(request.wait_milliseconds / 1000, LONGEST_WAIT))  # for something newer
        return self._since(request)

    async def told(self, seconds: float) -> None:
        """Returns once somebody has read all that is said now, or after so many seconds."""
        version = self.version
        reading = asyncio.get_running_loop().create_future()
        self._readings.append((version, reading))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await reading

    def _since(self, request: ObserveRequest) -> Observed:
        known = request.boot == self.boot and self._floor <= request.after_version <= self.version
        after = request.after_version if known else 0
        route, boot, draining, error = self._proxy
        observed = Observed(
            node=self.node, boot=self.boot, version=self.version, full=not known, fence=self._fence,
            run_digest=self._run_digest, route_digest=route, proxy_boot=boot, draining=draining,
            proxy_error=error,
            pods=self._newer(self._pods.values(), after), events=self._newer(self._events.values(), after),
            refusals=self._newer(self._refusals.values(), after),
        )  # fmt: skip
        if observed.full:
            observed.protocol.CopyFrom(protocol.ours())
        if self._report and self._report[0] > after:
            observed.report.CopyFrom(self._report[1])
        if self._announce is not None and (not known or self._stamp() != self._announced):
            self._announced = self._stamp()
            observed.key.CopyFrom(self._announce(self.boot, request.nonce))
        return observed

    @staticmethod
    def _newer(items: Iterable[tuple[int, T]], after: int) -> list[T]:
        return [item for version, item in items if version > after]

    async def _wait(self, seconds: float) -> None:
        if seconds <= 0:
            return
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiters[waiter] = self.version
        timer = loop.call_later(seconds, _resolve, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            del self._waiters[waiter]

    def _next(self) -> int:
        self.version += 1
        return self.version

    def _news(self, delay: float, *, pressing: bool = False) -> None:
        loop = asyncio.get_running_loop()
        if not pressing and loop.time() - self._woke_at < BUSY:
            delay = max(delay, BUSY_SETTLE)
        due = loop.time() + delay
        if self._wake is not None and self._wake.when() <= due:
            return
        if self._wake is not None:
            self._wake.cancel()
        self._wake = loop.call_at(due, self._wake_all)

    def _wake_all(self) -> None:
        self._wake = None
        self._woke_at = asyncio.get_running_loop().time()
        for waiter, known in self._waiters.items():
            if known != self.version:  # who came for these news himself meanwhile waits on for the next
                _resolve(waiter)


def _is_ready(report: PodReport) -> bool:
    return is_true(report.status.conditions, "Ready")


def _resolve(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
