"""The control service, put together: store and feed below, controllers and links beside, the API on top.

Rule: it only wires. Everything runs in one task group on one loop; a bug in any part ends the whole (but for what one
object does to a controller), and the supervisor starts it again: what must survive is in the store. The API is served
before any host is looked for.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from grpc import aio

from mesh.access.accounts import ends_tokens
from mesh.access.revoked import LIST as REVOKED
from mesh.access.revoked import is_revoked
from mesh.admission import allocate
from mesh.authority import Authority
from mesh.config import Limits, Network, pool_of, ports_of
from mesh.console.door import ConsoleDoor
from mesh.console.sessions import Sessions
from mesh.controllers.accounts import Accounts
from mesh.controllers.budgets import Budgets
from mesh.controllers.cronjob import CronJobs
from mesh.controllers.daemonset import DaemonSets
from mesh.controllers.deployment import Deployments
from mesh.controllers.events import Events
from mesh.controllers.evictions import DELAY, Evictions
from mesh.controllers.garbage import Garbage
from mesh.controllers.ingress import Ingresses
from mesh.controllers.job import Jobs
from mesh.controllers.leases import Leases
from mesh.controllers.leftovers import Leftovers
from mesh.controllers.namespaces import Namespaces
from mesh.controllers.nodes import SPARED, Nodes
from mesh.controllers.replicaset import ReplicaSets
from mesh.controllers.rolls import Rolls
from mesh.controllers.statefulset import StatefulSets
from mesh.controllers.unheard import Unheard
from mesh.controllers.volumes import Volumes
from mesh.exposition.tally import Tally
from mesh.exposition.web import Door, Files, allowed
from mesh.figures.meshd import Figures, counted
from mesh.figures.telling import Telling
from mesh.fleet.keeping import Keeping
from mesh.fleet.link import Fleet
from mesh.fleet.needs import Told, address_of
from mesh.fleet.news import News
from mesh.fleet.port import Hosts
from mesh.fleet.publisher import Publisher
from mesh.fleet.ranges import Ranges
from mesh.fleet.raytoken import RayToken
from mesh.fleet.roster import Roster
from mesh.fleet.witness import Witness
from mesh.pki import Identity
from mesh.reconcile.loop import Loop
from mesh.reconcile.plan import Controller
from mesh.rpc.access import Access
from mesh.rpc.audit import Audit, NoAudit, refused_by_host
from mesh.rpc.border import Border
from mesh.rpc.certificates import Certificates, Tell, told_nobody
from mesh.rpc.control import About, Control
from mesh.rpc.enrol import Enrolment
from mesh.rpc.gate import Gate
from mesh.rpc.images import Images
from mesh.rpc.ingresscertificate import IngressCertificate
from mesh.rpc.measurements import Measurements
from mesh.rpc.pods import Pods
from mesh.rpc.publishing import Publishing
from mesh.rpc.rayaccess import RayAccess
from mesh.rpc.resources import Resources
from mesh.rpc.secrets import Secrets
from mesh.rpc.server import serve
from mesh.rpc.tls import Tls
from mesh.scaling.autoscaler import Autoscalers
from mesh.scheduler.scheduler import Scheduler
from mesh.sessions import Trust
from mesh.start import begin
from mesh.store.feed import Feed
from mesh.store.port import Event, Store
from mesh.store.rotation import KeyRotation
from mesh.tracing.store import followed
from mesh.tracing.walks import Walks
from mesh.v1.access_pb2_grpc import add_AccessServicer_to_server
from mesh.v1.control_pb2 import StatusResponse
from mesh.v1.control_pb2_grpc import (
    add_ControlServicer_to_server,
    add_ImagesServicer_to_server,
    add_MeasurementsServicer_to_server,
    add_PodsServicer_to_server,
    add_ResourcesServicer_to_server,
)
from mesh.v1.secrets_pb2_grpc import add_SecretsServicer_to_server

if TYPE_CHECKING:
    from mesh.console.app import Console

GRACE = 0.5  # seconds that calls get to end; watches and streams of pods never end by themselves
_log = structlog.get_logger("mesh.app")


@dataclass(frozen=True, slots=True)
class Settings:
    """How one meshd runs; the numbers are those of `mesh.config`, in seconds. `clock`: nanoseconds since the epoch."""

    listen: Sequence[str] = ("127.0.0.1:0",)
    metrics_listen: Sequence[str] = ()
    console_listen: str = ""
    files: Files | None = None  # certificates of the figures' door
    network: Network = field(default_factory=Network)
    silence: float = 4.0
    wait: float = 2.0
    eviction: float = DELAY
    witness: Witness | None = None  # asked whether a silent host lives
    spared: float = SPARED
    bookmark: float = 45.0
    event_ttl: int = 3600
    autoscale: float = 15.0
    store_name: str = "memory"
    scratch: Path | None = None
    copy_store: Callable[[Path], Awaitable[None]] | None = None
    clock: Callable[[], int] = time.time_ns
    audit: Audit = field(default_factory=NoAudit)
    rotation: KeyRotation | None = None
    authority: Path | None = None  # the directory of the authority and of what it issues here
    tell_authority: Tell = told_nobody  # takes a new one to the other meshd
    authorities: Callable[[], AsyncIterator[Authority]] | None = None  # what other meshd make of it, as it comes
    listen_tokens: Sequence[str] = ()
    limits: Limits = field(default_factory=Limits)
    ray: RayAccess | None = None  # for hosts that join
    walks: Walks | None = None  # traces, when they are on
    exemplars: bool = False  # among the figures, for who asks for OpenMetrics
    servers: Sequence[str] = ()  # where clients reach each meshd, where several share a store
    members: Callable[[], Awaitable[StatusResponse]] | None = None  # of control service and store, where many are
    address: str = "127.0.0.1"  # of this host, for pods that call where meshd listens at all addresses


@dataclass(slots=True)
class Meshd:
    """One control service. `serving` is set once the API answers; `ports` are known then."""

    store: Store
    hosts: Hosts
    tls: Tls | None  # None: no API, for simulations
    settings: Settings = Settings()
    serving: asyncio.Event = field(default_factory=asyncio.Event)
    ports: tuple[int, ...] = ()
    feed: Feed = field(init=False)
    roster: Roster | None = None
    enrolment: Enrolment | None = None

    tally: Tally = field(default_factory=Tally)
    figures: Figures = field(init=False)
    console: ConsoleDoor = field(init=False)

    def __post_init__(self) -> None:
        self.store = counted(self.store, self.tally)
        if self.settings.walks is not None:
            self.store = followed(self.store, self.settings.walks)
        self.feed = Feed(self.store)
        self.figures = Figures(self.feed, self.tally, self.settings.files, self.settings.clock,
                               exemplars=self.settings.exemplars)  # fmt: skip
        self.console = ConsoleDoor(self.settings.console_listen, self.settings.files, self._console)

    async def run(self) -> None:
        """Until cancelled: then clients are told, calls under way get half a second, and the rest follows.

        The store stays its owner's to close. Raises Unavailable.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.feed.run(), name="feed")
            await self.feed.reached(0)
            epoch = await begin(self.store, self.feed, self.settings.clock)
            keeping = self._keep_certificates(tasks)
            settings = self.settings
            fleet = self._fleet(epoch, keeping)
            self.roster = Roster(self.hosts, fleet, settings.silence, settings.witness, settings.spared)
            self.figures.roster = self.roster
            async with self._api():
                self._start(tasks)
                self.serving.set()
                _log.info("serving", ports=self.ports, revision=self.feed.view.revision, epoch=epoch)
                await asyncio.Future()

    def _keep_certificates(self, tasks: asyncio.TaskGroup) -> Keeping | None:
        settings, tls = self.settings, self.tls
        if tls is None or settings.authority is None:
            return None
        certificates = Certificates(settings.authority, tls, "meshd", settings.clock, settings.tell_authority)
        self.enrolment = Enrolment(
            self.store, self.feed, certificates, settings.clock, settings.listen_tokens, settings.ray
        )
        tasks.create_task(certificates.run(), name="certificates")
        shown = IngressCertificate(self.store, self.feed, certificates, settings.clock)
        tasks.create_task(shown.run(), name="ingress certificate")
        token = None
        if settings.ray is not None:
            token = RayToken(settings.ray.token_file, lambda: self._head)
            self.enrolment.host_removed = token.rotate
            tasks.create_task(token.run(self._without_ray_token), name="Ray's token")
        return Keeping(certificates, lambda: tls.ca, settings.clock, token)

    @property
    def _head(self) -> str:
        """The host of Ray's head, which is meshd's own."""
        ray = self.settings.ray
        address = ray.head.rpartition(":")[0] if ray is not None else ""
        return next((n.metadata.name for n in self.feed.view.nodes() if address_of(n) == address), "")

    def _without_ray_token(self, has: Callable[[str], bool]) -> Iterator[str]:
        """Hosts for which it is too early to lose the present token of Ray: who has not been given the next one, and
        who was removed and still runs something."""
        for host in self.roster.hosts() if self.roster is not None else ():
            if host.connected and (not host.settled if host.barred else not has(host.name)):
                yield host.name

    @asynccontextmanager
    async def _api(self) -> AsyncIterator[None]:
        if self.tls is None:
            yield
            return
        settings, tls = self.settings, self.tls
        gate = Gate(self.feed.view, settings.audit, settings.clock, settings.limits, lambda: tls.server.key)
        border = Border(gate, self.tally, settings.walks)
        server = await serve(settings.listen, tls, border, self._register, settings.listen_tokens)
        forget = self.feed.on_events(lambda events: _recheck(border, events))
        try:
            self.ports = server.ports
            if self.enrolment is not None:
                self.enrolment.port, self.enrolment.members = self.ports[0], settings.servers
            yield
        finally:
            forget()
            await server.stop(GRACE)

    def _start(self, tasks: asyncio.TaskGroup) -> None:
        assert self.roster is not None  # noqa: S101 - made by `run`
        settings = self.settings
        tasks.create_task(self.roster.run(), name="roster")
        tasks.create_task(self._publishing().run(), name="publishing")
        tasks.create_task(self.console.run(), name="console")
        tasks.create_task(Telling(self.store, self.feed, self.figures.alerts, settings.clock).run(), name="alerts")
        loop = Loop(self.feed, self.store, controllers(settings), settings.clock, self.tally)
        tasks.create_task(loop.run(), name="controllers")
        scaling = Autoscalers(self.feed, self.store, self.roster.agent, settings.clock, settings.autoscale, self.tally)
        tasks.create_task(scaling.run(), name="autoscalers")
        self.figures.depths = loop.depths
        if settings.files is not None:
            door = Door(settings.files, self.figures.answer, self._may_read_figures)
            for address in settings.metrics_listen:
                host, _, port = address.rpartition(":")
                tasks.create_task(door.keep(host, int(port), self.figures.opened), name="figures")

    def _may_read_figures(self, who: Identity) -> bool:
        """Whose certificate was revoked may not."""
        return allowed(who) and not is_revoked(who, self.feed.view)

    def _publishing(self) -> Publishing:
        """What pods are told of this meshd."""
        told = self.settings.listen_tokens
        doors = [(_reached(address, self.settings.address), port)
                 for address, port in zip(told, self.ports[len(self.settings.listen):], strict=False)]  # fmt: skip
        return Publishing(self.store, self.feed, self.settings.clock, self._ranges(), doors)

    def _console(self, sessions: Sessions) -> "Console":
        from mesh.console.app import Console  # noqa: PLC0415 - what nobody looks at is not loaded

        assert self.roster is not None  # noqa: S101 - made by `run`
        return Console(self.feed, sessions, self.roster.agent, self.figures.alerts, self.roster.receipts)

    def _fleet(self, epoch: int, keeping: Keeping | None) -> Fleet:
        network = self.settings.network
        ranges = Ranges(network.cluster_cidr, network.node_mask)
        settings, tls = self.settings, self.tls
        trust = Trust(lambda: tls.ca, lambda: tls.server, tls.listen) if tls is not None else None
        told = Told(network.service_cidr, self._ranges().dns_address, network.cluster_domain)
        return Fleet(
            self.store, self.feed, epoch, network.cluster_cidr, ranges.of, settings.clock,
            Publisher(self.feed, epoch, tally=self.tally), News(self.feed), told, settings.wait, trust=trust,
            secret_budget=settings.limits.secret_bytes_per_host,
            keeping=keeping, walks=settings.walks,
            refused=lambda node, refusal: refused_by_host(settings.audit, node, refusal, settings.clock()),
        )  # fmt: skip

    def _ranges(self) -> allocate.Ranges:
        network = self.settings.network
        pool = pool_of(network.load_balancer_pool)
        return allocate.Ranges(network.service_cidr, ports_of(network.node_ports), pool, network.dns_address)

    def _register(self, server: aio.Server) -> None:
        assert self.roster is not None  # noqa: S101 - made by `run`
        settings, roster = self.settings, self.roster
        about = About(
            started_ns=settings.clock(),
            store=settings.store_name,
            ray=lambda: roster.state,
            hosts=roster.hosts,
            agent=roster.agent,
            copy_store=settings.copy_store,
            scratch=settings.scratch,
            alerts=self.figures.alerts,
            console=self.console.ticket,
            members=settings.members,
        )
        resources = Resources(self.store, self.feed, settings.clock, settings.bookmark, self._ranges())
        add_ResourcesServicer_to_server(resources, server)
        add_PodsServicer_to_server(Pods(self.feed, roster.agent), server)
        add_ImagesServicer_to_server(Images(self.feed, roster.agent), server)
        add_ControlServicer_to_server(Control(self.feed, about), server)
        add_SecretsServicer_to_server(Secrets(self.feed, roster.receipts, settings.rotation), server)
        add_MeasurementsServicer_to_server(Measurements(self.feed, roster.agent, self.figures.raw), server)
        tls = self.tls
        access = Access(
            self.feed, self.store, settings.clock, self.enrolment, lambda: tls.server.key if tls is not None else b""
        )
        add_AccessServicer_to_server(access, server)


def controllers(settings: Settings) -> Sequence[Controller]:
    """One of each."""
    workloads = (
        Deployments(), ReplicaSets(), StatefulSets(), DaemonSets(), Jobs(), CronJobs(), Garbage(), Budgets(),
    )  # fmt: skip
    keepers = (
        Nodes(settings.spared), Evictions(settings.eviction), Unheard(settings.eviction), Namespaces(), Leftovers(),
        Volumes(), Rolls(), Accounts(), Ingresses(), Events(settings.event_ttl), Leases(settings.clock()),
    )  # fmt: skip
    return (Scheduler(), *workloads, *keepers)


def _recheck(border: Border, events: Sequence[Event]) -> None:
    """Streams that what has happened may end: of everybody, or of those who came with a service account's token."""
    if any(event.key.kind in ("Role", "RoleBinding") or event.key == REVOKED for event in events):
        border.recheck()
    elif any(ends_tokens(event.object, event.previous) for event in events):
        border.recheck(tokens_alone=True)


def _reached(listen: str, own: str) -> str:
    """Where pods reach what listens at ip:port."""
    host = listen.rpartition(":")[0].strip("[]")
    return own if host in ("", "0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
