"""One host's link: follows what the host sees, and gives it its pods whenever it holds other ones than it should.

Rule: everything is idempotent, nobody remembers "told": the host's own word says what it holds. A failed call is
repeated after 0.1 s, then doubling to 3 s; nothing else polls. What the link knows is lost with it, and is no loss.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import structlog

from mesh.access.revoked import LIST as REVOKED
from mesh.access.revoked import is_revoked
from mesh.errors import Conflict, MeshError, Unavailable
from mesh.fleet.concerns import concerns
from mesh.fleet.entrusting import Entrusting
from mesh.fleet.keeping import Keeping
from mesh.fleet.line import Line
from mesh.fleet.needs import (
    NOTHING_TOLD,
    SECRET_BUDGET,
    Told,
    digest_of,
    needs_of,
    next_token_at,
    nothing_for,
    ordered_alike,
)
from mesh.fleet.news import News, reached
from mesh.fleet.picture import Picture
from mesh.fleet.port import AgentPort
from mesh.fleet.programming import Programming
from mesh.fleet.publisher import Publisher
from mesh.fleet.report import writes_for
from mesh.model.hosts import unheard
from mesh.model.pauses import Pauses
from mesh.model.times import SECOND
from mesh.sessions import Trust
from mesh.store.change import change
from mesh.store.feed import Feed
from mesh.store.port import Event, Store, Write
from mesh.tracing.walks import Walks
from mesh.v1 import node_pb2
from mesh.v1.core_pb2 import Node, Pod
from mesh.view import View

_log = structlog.get_logger("mesh.fleet.link")

AGAIN = 0.1, 3.0  # seconds until a failed call is repeated: at first, at most
CALM = 0.1, 1.0  # and until a host is asked again that had nothing to say, and said so too early
LONGEST_ALARM = 600.0  # seconds between two looks at the clock, which may be set
FIRST_PATIENCE = 1.5  # seconds beyond an observe's own wait; doubling up to the limit of a call


@dataclass(frozen=True, slots=True)
class Fleet:
    """What all links share. `epoch` is this meshd's fence; `range_for` gives a new host its pod addresses; `clock`
    is nanoseconds since the epoch. In seconds: `wait` of an idle observe, `settle` between orders, `limit` of a call.
    `told` is what all hosts are told of Services, `publisher` has their table, `news` says what happened. `trust` and
    `secret_budget` (bytes for each host) say how hosts are given Secrets.
    """

    store: Store
    feed: Feed
    epoch: int
    cluster_cidr: str
    range_for: Callable[[str, View], str]
    clock: Callable[[], int]
    publisher: Publisher
    news: News
    told: Told = NOTHING_TOLD
    wait: float = 2.0
    settle: float = 0.02
    limit: float = 10.0
    trust: Trust | None = None
    keeping: Keeping | None = None
    secret_budget: int = SECRET_BUDGET
    walks: Walks | None = None  # traces, when they are on
    refused: Callable[[str, node_pb2.Refusal], None] = lambda _node, _refusal: None  # by hosts


class Link:
    """`line`: how the host last answered; `picture`: what it said; `held`: the digest of what it holds."""

    def __init__(self, name: str, agent: AgentPort, fleet: Fleet) -> None:
        self.name = name
        self.line = Line(name, agent, fleet.clock)
        self.held = ""
        self._fleet = fleet
        self.picture = Picture(name)
        self._ordered = (0, 0)  # fence of the newest accepted order
        self._look = asyncio.Event()  # the wanted or the held assignment may have changed
        self._again = asyncio.Event()  # objects of pods that the host spoke of have changed
        self._touched: set[str] = set()
        self._programming = Programming(name, self.line, fleet.publisher, fleet.limit)
        self._patience = FIRST_PATIENCE
        self._alarm: asyncio.TimerHandle | None = None
        self._entrusting = Entrusting(name, fleet.trust, fleet.clock, fleet.secret_budget)

    def receipts(self, uid: str) -> Sequence[node_pb2.SecretReceipt]:
        """Which Secrets are in a pod, as the host last said."""
        return self.picture.receipts(uid)

    @property
    def settled(self) -> bool:
        """Whether the host holds the newest assignment."""
        fleet = self._fleet
        view = fleet.feed.view
        wanted = digest_of(self.name, view, fleet.cluster_cidr, self._entrusting.state, self._told)
        if not wanted and self._barred(view):
            wanted = nothing_for(self.name, view, fleet.epoch).digest
        return bool(wanted) and wanted == self.held

    @property
    def barred(self) -> bool:
        """Whether the host was removed."""
        return self._barred(self._fleet.feed.view)

    def _barred(self, view: View) -> bool:
        """Whether the host was removed: the certificate that it has is revoked."""
        identity = self._entrusting.identity
        return identity is not None and is_revoked(identity, view)

    @property
    def _told(self) -> Told:
        now, publisher = self._fleet.clock() // SECOND, self._fleet.publisher
        trust = self._fleet.trust
        roots = trust.ca().decode() if trust is not None else ""
        return replace(
            self._fleet.told, held=publisher.held_on(self.name), links=publisher.links, hosts=publisher.hosts, now=now,
            roots=roots,
        )  # fmt: skip

    async def run(self) -> None:
        """For ever; only a bug ends it."""
        off = self._fleet.news.follow(self.name, self._on_events)
        leave = self._fleet.publisher.listen(self._programming.look, self._look.set)
        trust, loop = self._fleet.trust, asyncio.get_running_loop()
        ignore = trust.listen(lambda: loop.call_soon_threadsafe(self._look.set)) if trust is not None else None
        self._look.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow(), name=f"observe {self.name}")
                tasks.create_task(self._give(), name=f"assign {self.name}")
                tasks.create_task(self._repeat(), name=f"repeat {self.name}")
                tasks.create_task(self._programming.run(), name=f"program {self.name}")
        finally:
            off()
            leave()
            if ignore is not None:
                ignore()
            self._set_alarm(0)
            self._fleet.publisher.part(self.name)

    # ---- host -> store

    async def _follow(self) -> None:
        pauses, calm, wait = Pauses(*AGAIN), Pauses(*CALM), self._fleet.wait
        loop = asyncio.get_running_loop()
        while True:
            began, before = loop.time(), (self.picture.boot, self.picture.version)
            try:
                await self._observe(wait)
            except MeshError as error:
                self.line.failed("observe", error)
                await asyncio.sleep(pauses.next())
                wait = 0.0  # first of all: is it there?
                continue
            pauses.reset()
            idle = before == (self.picture.boot, self.picture.version)
            if idle and loop.time() - began < wait / 2:
                await asyncio.sleep(calm.next())  # an agent that does not wait must not make us spin
            else:
                calm.reset()
            wait = self._fleet.wait

    async def _observe(self, wait: float) -> None:
        request = node_pb2.ObserveRequest(
            boot=self.picture.boot, after_version=self.picture.version, wait_milliseconds=int(wait * 1000),
            nonce=self._entrusting.nonce, credentials=self._due(),
        )  # fmt: skip
        # A lost call must cost less than the silence that makes a host Unknown, a slow host must be heard all the same.
        patience, self._patience = self._patience, min(self._patience * 2, self._fleet.limit)
        observed = await self.line.call(self.line.agent.observe(request), wait + patience)
        self._patience = FIRST_PATIENCE
        if observed.node != self.name:
            raise Unavailable(f'the agent at host "{self.name}" says that it is "{observed.node}"')
        self.line.seen()
        if self._hear(observed):
            self._look.set()
            log_key(self.name, self._entrusting)
        # The cursor moves only once the news are stored: what can't be written is asked for again.
        cursor = (self.picture.boot, self.picture.version)
        node, now = self._fleet.feed.view.node(self.name), asyncio.get_running_loop().time()
        idle = not self.picture.is_news(observed) and self.picture.is_compared(node, now)
        for refusal in self.picture.refusals(observed):
            self._fleet.refused(self.name, refusal)
        news = self.picture.take(observed)
        if self._fleet.walks is not None:
            self._fleet.walks.reported(news.pods)
        try:
            if not idle:
                await self._write(news)
        except MeshError:
            self.picture.boot, self.picture.version = cursor
            self.picture.doubt()
            raise
        self._forget_gone(news)
        if observed.boot != cursor[0]:
            self._look.set()
        self._programming.hear(
            observed if not self.picture.skew else node_pb2.Observed(node=self.name, boot=observed.boot)
        )
        if observed.boot != cursor[0] or _fence(observed.fence) >= self._ordered:
            self._hold(observed.run_digest)

    def _due(self) -> node_pb2.HostCredentials | None:
        """What keeps the credentials of a host good that has proved itself and was not removed."""
        keeping, told = self._fleet.keeping, self._entrusting.announced
        return None if keeping is None or told is None or self.barred else keeping.due(self.name, told)

    def _hear(self, observed: node_pb2.Observed) -> bool:
        """Takes the announcement of the host's key, and whether it still counts; says whether that is new."""
        changed = self._entrusting.hear(observed)
        return self._entrusting.bar() if self._barred(self._fleet.feed.view) else changed

    async def _write(self, news: node_pb2.Observed) -> None:
        fleet = self._fleet

        def compute(view: View) -> list[Write]:
            if self._barred(view):
                return writes_for(news, view, fleet.clock(), "", barred=True)
            return writes_for(news, view, fleet.clock(), fleet.range_for(self.name, view), skew=self.picture.skew)

        await change(fleet.store, fleet.feed, compute)

    async def _repeat(self) -> None:
        """Says again what the host said of pods whose objects someone else has changed."""
        pauses = Pauses(*AGAIN)
        while True:
            await self._again.wait()
            self._again.clear()
            uids, self._touched = self._touched, set()
            try:
                await self._write(self.picture.again(uids))
            except MeshError as error:
                _log.warning("cannot_write_news", node=self.name, error=str(error))
                self._touch(uids)
                await asyncio.sleep(pauses.next())
            else:
                pauses.reset()

    # ---- store -> host

    async def _give(self) -> None:
        pauses = Pauses(*AGAIN)
        while True:
            await self._look.wait()
            self._look.clear()
            if not self.picture.boot or self.picture.skew:
                continue  # the first answer of another agent looks again
            self._set_alarm(next_token_at(self.name, self._fleet.feed.view, self._fleet.clock() // SECOND))
            if self.settled:
                continue
            view = self._fleet.feed.view
            entrusted = self._entrusting.state
            wanted = needs_of(self.name, view, self._fleet.cluster_cidr, self._fleet.epoch, entrusted, self._told)
            if wanted is None and self._barred(view):
                wanted = nothing_for(self.name, view, self._fleet.epoch)
            if wanted is None:
                continue
            try:
                await self._assign(wanted)
            except MeshError as error:
                self.line.failed("assign", error)
                self._look.set()
                await asyncio.sleep(pauses.next())
            else:
                pauses.reset()
                await asyncio.sleep(self._fleet.settle)

    def _set_alarm(self, at: int) -> None:
        """Looks again then (seconds since the epoch; 0: never), though nothing has happened: a token is to be new."""
        if self._alarm is not None:
            self._alarm.cancel()
        wait = at - self._fleet.clock() / SECOND
        loop = asyncio.get_running_loop()
        self._alarm = loop.call_later(min(max(wait, 0.0), LONGEST_ALARM), self._look.set) if at else None

    async def _assign(self, wanted: node_pb2.Assignment) -> None:
        entrusting, walks, began = self._entrusting, self._fleet.walks, self._fleet.clock()
        uids = [pod.metadata.uid for pod in wanted.pods]
        if walks is not None:
            wanted.traceparents.update(walks.traceparents(uids))
        order = await entrusting.order(wanted, self._fleet.feed.view)
        try:
            reply = await self.line.call(self.line.agent.assign(order), self._fleet.limit)
        except Conflict:
            entrusting.refused()
            raise
        self.line.seen()
        if walks is not None:
            walks.ordered(uids, began)
        entrusting.took(wanted)
        self._ordered = max(self._ordered, _fence(reply.fence))
        self.held = reply.run_digest
        if reply.run_digest != wanted.digest:
            raise Unavailable(f'the host "{self.name}" holds another assignment than it was given')
        _log.debug("assigned", node=self.name, pods=len(wanted.pods), revision=wanted.fence.revision)

    # ---- both

    def _on_events(self, events: Iterable[Event]) -> None:
        for event in events:
            alike = ordered_alike(event.object, event.previous)
            for obj in (event.object, event.previous):
                if isinstance(obj, Node) and obj.metadata.name == self.name:
                    self._look.set()
                    if unheard(obj):  # if it was: what was made of its pods meanwhile is over
                        self._touch(pod.metadata.uid for pod in self._fleet.feed.view.pods_on(self.name))
                elif isinstance(obj, Pod) and obj.spec.node_name == self.name:
                    if not alike:
                        self._look.set()
                    self._touch([obj.metadata.uid])
                elif concerns(self.name, obj, self._fleet.feed.view):
                    self._look.set()
            if event.key == REVOKED:
                self.picture.doubt()
                self._look.set()
                if self._barred(self._fleet.feed.view) and self._entrusting.bar():
                    log_key(self.name, self._entrusting)
            if event.key.kind == "Node" and reached(event.object) != reached(event.previous):
                self._look.set()  # a neighbour came, went or moved
            if event.object is None and isinstance(event.previous, Pod):
                self.picture.forget(event.previous.metadata.uid)

    def _forget_gone(self, news: node_pb2.Observed) -> None:
        for report in news.pods:
            pod = self._fleet.feed.view.pod(report.namespace, report.name)
            if pod is None or pod.metadata.uid != report.uid:
                self.picture.forget(report.uid)

    def _touch(self, uids: Iterable[str]) -> None:
        known = {uid for uid in uids if self.picture.knows(uid)}
        if known and not unheard(self._fleet.feed.view.node(self.name)):  # what it said last is not repeated for it
            self._touched |= known
            self._again.set()

    def _hold(self, digest: str) -> None:
        if digest != self.held:
            self.held = digest
            self._look.set()


def log_key(node: str, entrusting: Entrusting) -> None:
    """Says whose key counts, or why none does."""
    state = entrusting.state
    if state.key_id:
        _log.info("host_key_counts", node=node, key=state.key_id)
    else:
        _log.warning("host_key_does_not_count", node=node, why=state.why)


def _fence(fence: node_pb2.Fence) -> tuple[int, int]:
    return fence.epoch, fence.revision
