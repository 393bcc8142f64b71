"""The agent of one host: Assignment in, Observed out; plain asyncio, and itself an AgentPort.

Rule: it owns nothing that it can't lose. Containers, sandboxes and records are on the host; a new Agent over the same
host goes on where the last one stopped, restarts nothing, and removes nothing before its first Assignment.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog

from mesh.errors import Forbidden, MeshError
from mesh.v1 import node_pb2
from mesh.v1.core_pb2 import Pod
from nodeagent.board import Board
from nodeagent.census import Census
from nodeagent.checkpoint import Checkpoint, Keeper
from nodeagent.config import AgentConfig
from nodeagent.crew import Crew
from nodeagent.desired import accept, restored
from nodeagent.events import Events
from nodeagent.identity import Identity
from nodeagent.imagegc import ImageGc, images_of, used_by
from nodeagent.images import Images
from nodeagent.imagestreams import ImageStreams
from nodeagent.ingress import opened
from nodeagent.installation import installation
from nodeagent.lookout import Lookout
from nodeagent.machine import Machine, amounts
from nodeagent.pods.execute import Executor
from nodeagent.pods.failures import Failures
from nodeagent.pods.hooks import Hooks
from nodeagent.pods.pulling import Pulling
from nodeagent.pods.reactions import Reactions
from nodeagent.pods.spec import Host
from nodeagent.pods.worker import Worker
from nodeagent.pressure import Gauge
from nodeagent.probes.checks import Checks, RealChecks
from nodeagent.probes.prober import Bench
from nodeagent.proxy import OnHeld, ProxyPort
from nodeagent.refusals import Refusals
from nodeagent.room import Room
from nodeagent.rotation import LogRotation
from nodeagent.runtime.places import Places
from nodeagent.runtime.port import Runtime, RuntimeFailure
from nodeagent.runtime.seen import SeenPod
from nodeagent.services import HostNetwork, Services, telling
from nodeagent.shutdown import TROUBLE, Shutdown
from nodeagent.static import StaticPods
from nodeagent.stats.hoststats import HostStats
from nodeagent.streams import Connect, StreamCalls, Streams
from nodeagent.usage import Measure
from nodeagent.vitals import Vitals, read_vitals
from nodeagent.volumes import memory
from nodeagent.volumes.tree import Tree
from nodeagent.volumes.vault import Vault
from nodeagent.waiting import until

log = structlog.get_logger()

HEARTBEAT = 10.0  # G12: how often the host's state is computed


class Agent(StreamCalls):
    """See the module. `run` must run for `assign` to answer. `clock` gives nanoseconds since the epoch."""

    def __init__(  # noqa: PLR0913 - what may differ between a host and a test of one
        self, config: AgentConfig, runtime: Runtime, *, clock: Callable[[], int] = time.time_ns,
        proxy: Callable[[OnHeld], ProxyPort] | None = None, runtime_version: str = "",
        connect: Connect | None = None, vitals: Callable[[], Vitals] | None = None, checks: Checks | None = None,
        measure: Measure | None = None, exposure: Callable[[Path], str] = memory.exposure,
        network: HostNetwork | None = None, identity: Identity | None = None,
    ) -> None:  # fmt: skip
        self.config = config
        self.vault = Vault(config.node_name, lambda refusal: self.refusals.take(refusal))  # noqa: PLW0108 - made below
        self._identity = identity or Identity.of(config)
        announce = lambda boot, nonce: self._identity.announce(boot, nonce, self.vault.public)  # noqa: E731
        self.board = Board(config.node_name, announce, lambda: self._identity.stamp)
        self._clock = clock
        self._vitals = vitals or (lambda: read_vitals(config.root, Places.of(config).graph))
        gauge = Gauge(config.eviction)
        self._machine = Machine(config, runtime_version, gauge)
        self._tree = Tree(config.state_dir, config.log_dir, config.memory_dir, exposure)
        self._static = StaticPods(config.manifest_dir, config.node_name, self._static_changed)
        self._events = events = Events(self.board, clock)
        self._crew = Crew(self._static, self.board, self._engage, self._spawn, self._failed)
        self.stats = HostStats(
            config, self._tree, lambda: list(self._crew.workers.values()), clock, lambda: self._crew.desired.revoked
        )
        self._runtime = runtime = self.stats.counted(runtime)
        self._lookout = Lookout(runtime, self._tree, self._crew, clock, lambda: self._assigned, self._back)
        self._checkpoint = Checkpoint(config.state_dir / "checkpoint")
        self._keeper = Keeper(self._checkpoint)
        self._assigned = False
        self._configured: tuple[str, str] | None = None
        self._trouble = ""  # why no pod can be run, in words
        self._beat = asyncio.Event()
        self._started = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self.refusals = Refusals(self.board, events, clock, self.stats.meter.operations.refused)
        self._services = self._serving(events, proxy, network)
        self._census = Census(runtime, self._beat)
        self._images = Images(runtime, clock, self._spawn, config.max_parallel_pulls)
        self._gc = ImageGc(config, runtime, clock, self._vitals, self._images_in_use)
        checks = checks or RealChecks(runtime)
        self._bench = Bench(checks, events, clock)
        self._executor = self._hands(checks, events, exposure)
        self._room = self._space(gauge, measure, events)
        self._shutdown = Shutdown(config.run_dir, self._crew.workers, self.board, self._beat.set)
        self._room.closing = self._services.leaving = lambda: self._shutdown.closing
        self._rotation = LogRotation(config, runtime, self._crew.running, clock)
        self._streams = self._carrying(connect)

    def _serving(
        self, events: Events, proxy: Callable[[OnHeld], ProxyPort] | None, network: HostNetwork | None
    ) -> Services:
        """The host's part of Services."""
        said = telling(self.board.hold_route, lambda why: events.host_warning("ProxyProblem", why))
        services = Services(self.config, proxy(said) if proxy else None, network, self._crew.placed)
        self.stats.meter.carried = services.flows if proxy else None
        self.board.on_pod = services.refresh
        return services

    def _space(self, gauge: Gauge, measure: Measure | None, events: Events) -> Room:
        """What the host has left for pods, and whom it asks to go."""
        return Room(
            self.config, self._tree, self._crew.workers, lambda: self._crew.desired.node_labels, vitals=self._vitals,
            clock=self._clock, gauge=gauge, measure=measure, events=events, images=self._gc,
            remove=self._runtime.remove, weigh=self._runtime.weigh,
        )  # fmt: skip

    def _carrying(self, connect: Connect | None) -> Streams:
        """The streams between pods and clients."""
        runtime, workers = self._runtime, self._crew.workers
        images = ImageStreams(runtime, self.config.podman_dir / "tmp", self._census.changed)
        return Streams(runtime, self._tree, workers.get, self._spawn, images, self.stats, connect)

    def _hands(self, checks: Checks, events: Events, exposure: Callable[[Path], str]) -> Executor:
        """What all workers act with."""
        config, clock, now, poke = self.config, self._clock, self._vitals(), self._crew.poke_timer
        host = Host(config.node_name, config.node_ip, now.memory, amounts(now, config), str(config.seccomp_dir),
                    config.crash_loop_max_seconds)  # fmt: skip
        anyway, failures = config.env_in_swap == "anyway", Failures(self._images, events, clock)
        return Executor(
            self._runtime, self._images, self._tree, events, host, clock, poke, self._keeper.kept,
            Hooks(checks, events, host.ip, clock, poke, self._spawn),
            failures, Pulling(self._images, events, self.vault, failures, poke), self.vault,
            Reactions(self._runtime, checks, events, self._spawn),
            lambda: "" if anyway else exposure(config.run_dir),
            lambda pod: self._crew.desired.names_of(pod),  # noqa: PLW0108 - of the newest order
            lambda uid: self._crew.desired.traceparents.get(uid, ""),
            lambda uid: self._crew.desired.held.get(uid, ""),
        )  # fmt: skip

    async def kept(self) -> None:
        """Returns once the newest Assignment is on disk."""
        await self._keeper.kept()

    # ---- the port
    async def assign(self, assignment: node_pb2.Assignment) -> node_pb2.AssignReply:
        """Takes the whole set of pods; raises Conflict for an older fence than is held or a missing box, Forbidden for
        an order that meshd has not signed, Invalid."""
        await self._started.wait()
        assignment = self._proven(assignment)
        desired = accept(self._crew.desired, assignment, self.config.node_name)
        self.vault.take(assignment.sealed_secrets)
        before, self._crew.desired = self._crew.desired, desired
        self._keeper.keep(assignment)
        await self._configure()
        await self._services.follow(desired)
        self._services.entrust(opened(desired, self.vault))
        first, self._assigned = not self._assigned, True
        self._crew.spread()
        self._spawn(self._retire([v.name for v in desired.volumes if v.retired]))
        for uid in before.held.keys() | desired.held.keys():
            if before.held.get(uid) != desired.held.get(uid):
                self._crew.poke_timer(uid)
        self.board.hold(desired.wire_fence, desired.digest)
        if first:
            log.info("first_assignment", pods=len(desired.pods))
            for worker in self._crew.workers.values():
                worker.poke(look=False)
            self._lookout.look()  # and sweep
        return node_pb2.AssignReply(fence=desired.wire_fence, run_digest=desired.digest)

    def _proven(self, assignment: node_pb2.Assignment) -> node_pb2.Assignment:
        try:
            return self._identity.order(assignment, self._clock() // 1_000_000_000)
        except Forbidden as error:
            self.refusals.take(node_pb2.Refusal(method="assign", why=error.message))
            raise

    async def program(self, table: node_pb2.ServiceTable) -> node_pb2.AssignReply:
        """Gives the host's proxy a piece of its table; raises Unavailable while it is away."""
        self._services.program(table)
        return node_pb2.AssignReply(fence=self._crew.desired.wire_fence, run_digest=self._crew.desired.digest)

    async def flows(self, request: node_pb2.FlowsRequest) -> node_pb2.Flows:
        """What the host's proxy carries; raises Unavailable."""
        return await self._services.flows(request)

    async def observe(self, request: node_pb2.ObserveRequest) -> node_pb2.Observed:
        """What is newer than the cursor, as soon as there is any."""
        return await self.board.observe(request)

    # ---- life

    async def emptied(self) -> None:
        """Returns once nothing of any pod is on this host."""
        await self._crew.empty.wait()

    async def run(self) -> None:
        """Until cancelled; containers go on."""
        self._bench.began = asyncio.get_running_loop().time()
        try:
            async with asyncio.TaskGroup() as self._group:
                await self._start()
                for loop in (self._lookout.run(), self._heartbeat(), self._keeper.run(), self._static.run(),
                             self._gc.run(lambda: self._assigned, self._census.changed), self.stats.run(),
                             self._rotation.run(), self._room.run(lambda: self._assigned),
                             self._services.run(), self._shutdown.run()):  # fmt: skip
                    self._group.create_task(loop)
        finally:
            self._group = None
            await self._streams.close_all()

    async def _start(self) -> None:
        self._machine.installation = await asyncio.to_thread(installation, self.config.state_dir)
        kept = await asyncio.to_thread(self._checkpoint.read)
        if kept is not None:
            try:
                self._crew.desired = restored(kept, self.config.node_name)
            except MeshError as error:
                log.error("checkpoint_refused", why=error.message)
            self.board.hold(self._crew.desired.wire_fence, "")
        await self._static.scan()
        self._runtime.on_change(self._lookout.poked)
        self._runtime.on_images(self._census.stirred)
        self.board.put_report(self._report())
        await self._lookout.first()
        await self._configure()
        await self._services.follow(self._crew.desired)
        self._crew.spread()
        log.info("agent_started", node=self.config.node_name, boot=self.board.boot, pods=len(self._crew.workers))
        self._started.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._group is None:
            work.close()
        else:
            self._group.create_task(work)

    # ---- pods

    def _engage(self, pod: Pod, seen: SeenPod | None, leftover: bool) -> Worker:
        return Worker(
            pod, self._executor, self.board, lambda: self._assigned, self._lookout.away, self._bench, door=self._room,
            seen=seen, mirror=pod.metadata.uid in self._static.pods, quiet=leftover,
            given=self._crew.desired.given(pod),
        )  # fmt: skip

    def _failed(self, pod: Pod, error: Exception) -> None:
        """Tells of a bug that the pod brought out, without the error's words: they may hold what is secret."""
        self.stats.meter.operations.failed += 1
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        why = f"the agent of this host fails on the pod ({type(error).__name__}); its log tells where"
        self._events.warning(pod, "AgentFailed", why)

    def _static_changed(self) -> None:
        if self._started.is_set():
            self._crew.spread()

    # ---- the host

    async def _configure(self) -> None:
        """Tells the runtime which addresses are ours; a failure is told as the host's trouble and tried again."""
        wanted = (self._crew.desired.pod_cidr or self.config.pod_cidr, self._crew.desired.cluster_cidr)
        if not wanted[0] or wanted == self._configured:
            return
        try:
            await self._runtime.configure(*wanted)
        except RuntimeFailure as failure:
            log.warning("network_not_ready", why=failure.message)
            self._trouble = f"the pod network is not ready: {failure.message}"
            if failure.transient:
                self._lookout.away()
        else:
            self._configured, self._trouble = wanted, ""
        self._beat.set()

    async def _back(self) -> None:
        """The runtime answers again."""
        self._beat.set()
        await self._configure()

    async def _heartbeat(self) -> None:
        """Keeps what is said of the host true (G12)."""
        while True:
            if self._trouble and not self._lookout.away_since:
                await self._configure()
            self._beat.clear()  # what was told until here is in the report below
            if not self._lookout.away_since and (images := await self._census.look()) is not None:
                self._machine.images = images
                self._gc.saw(images)
            self.board.put_report(self._report())
            await self._services.follow(self._crew.desired)
            await until(self._beat, HEARTBEAT)

    async def _retire(self, volumes: list[str]) -> None:
        """Removes directories that claims had, and says so (V17)."""
        self._machine.removed_volumes = await asyncio.to_thread(self._tree.retire, volumes)
        self._beat.set()

    async def _images_in_use(self) -> set[str]:
        return await used_by(self._runtime, images_of(self._crew.wanted().values()))

    def _report(self) -> node_pb2.NodeReport:
        why = TROUBLE if self._shutdown.closing else self._trouble
        return self._machine.report(
            self._vitals(), self._clock(), runtime_away_since=self._lookout.away_since, trouble=why
        )
