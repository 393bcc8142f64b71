"""Room on the host: whom it takes (S7), and who goes when the host or a volume is full, every 10 s (R9 to R11).

Rule: it decides nothing (pods/admit.py and pressure.py do); what nobody needs goes before any pod does; a pod that is
evicted fails, stops and gives back what it held. While one is still stopping for pressure, no other is chosen.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from mesh.model import fit
from mesh.model.pods import grace_seconds, is_mirror
from mesh.v1.core_pb2 import Node, NodeStatus, Pod
from nodeagent import pressure
from nodeagent.config import AgentConfig
from nodeagent.events import Events
from nodeagent.imagegc import ImageGc
from nodeagent.machine import abilities as found_abilities
from nodeagent.machine import allocatable, amounts
from nodeagent.pods.abilities import Abilities, refusal
from nodeagent.pods.admit import Answer, Space, answer, ports
from nodeagent.pods.worker import Worker
from nodeagent.pressure import Gauge, Signal
from nodeagent.runtime.port import RuntimeFailure
from nodeagent.shares import shares_of
from nodeagent.usage import HostMeasure, Measure
from nodeagent.vitals import Vitals
from nodeagent.volumes.tree import Tree

log = structlog.get_logger()

EVERY = 10.0
EASE = 20  # a measurement that took a while is made again only after so many times as long
HARD_GRACE = 1  # seconds (R10)


class Room:
    """A host's; `workers` are those of its pods now, `labels` those of its Node; `remove` removes a container,
    `weigh` gives cgroups their shares."""

    def __init__(  # noqa: PLR0913 - what room depends on
        self, config: AgentConfig, tree: Tree, workers: Mapping[str, Worker], labels: Callable[[], Mapping[str, str]],
        *, vitals: Callable[[], Vitals], clock: Callable[[], int], gauge: Gauge, measure: Measure | None,
        events: Events, images: ImageGc, remove: Callable[[str], Awaitable[None]],
        weigh: Callable[[Mapping[str, int]], Awaitable[None]], abilities: Abilities | None = None,
    ) -> None:  # fmt: skip
        self._config = config
        self._workers = workers
        self._labels = labels
        self._measure = measure or HostMeasure(tree, config)
        self._vitals = vitals
        self._clock = clock
        self._gauge = gauge
        self._events = events
        self._images = images
        self._remove = remove
        self._weigh = weigh
        self._abilities = abilities or found_abilities(config)
        self.closing: Callable[[], bool] = lambda: False  # whether the host shuts down (L19)
        self._due: dict[str, float] = {}  # when a pod with limits is measured next, by the loop's time

    def admit(self, pod: Pod) -> Answer:
        """See Door."""
        if self.closing():
            static = any(w.static for w in self._workers.values() if w.pod.metadata.uid == pod.metadata.uid)
            return Answer("NodeShutdown", "the node is shutting down", wait=static)  # those come back with the host
        if (refused := refusal(pod, self._abilities))[0]:
            return Answer(*refused)
        vitals = self._vitals()
        node = Node(status=NodeStatus(allocatable=allocatable(vitals, self._config)))
        there = [w for w in self._workers.values() if w.admitted]
        taken = ports(pod, [w.granted for w in there if not w.going], [w.granted for w in there if w.going])
        if taken.reason:
            return taken
        staying = fit.used_by(w.granted for w in there if not w.going)
        going = fit.used_by(w.granted for w in there if w.going)
        conditions = self._gauge.look(vitals, self._clock()).conditions
        return answer(
            pod, self._config.node_name, self._labels(), staying, going, fit.allocatable_of(node), conditions
        )  # fmt: skip

    def freed(self) -> None:
        """See Door."""
        for worker in self._workers.values():
            if worker.queued or worker.deferred:
                worker.poke(look=False)

    def space(self, pod: Pod) -> Space:
        """See Door."""
        node = Node(status=NodeStatus(allocatable=allocatable(self._vitals(), self._config)))
        others = [w for w in self._workers.values() if w.admitted and w.pod.metadata.uid != pod.metadata.uid]
        return Space(fit.used_by(w.granted for w in others), fit.allocatable_of(node))

    async def run(self, may: Callable[[], bool]) -> None:
        """For ever; nothing is removed before it `may`."""
        while True:
            await asyncio.sleep(EVERY)
            await self._look(may)
            await self._divide()
            self.freed()

    async def _divide(self) -> None:
        """The processor, between all pods and the rest of the host, and among them (R7)."""
        there = [w.granted for w in self._workers.values() if w.admitted]
        await self._weigh(shares_of(amounts(self._vitals(), self._config).cpu, there))

    async def _look(self, may: Callable[[], bool]) -> None:
        crossed = self._gauge.look(self._vitals(), self._clock()).crossed
        if await self._keep_limits() or not crossed or any(w.leaving for w in self._workers.values()):
            return
        signal = crossed[0]
        self._events.host_warning("EvictionThresholdMet", f"Attempting to reclaim {signal.resource}")
        if signal.resource in (pressure.STORAGE, "inodes") and may() and await self._reclaim():
            log.info("room_reclaimed", low=signal.resource)
            return
        await self._choose(signal)

    async def _choose(self, signal: Signal) -> None:
        """Evicts one pod, if there is any that may go."""
        alive = self._evictable()
        disk = signal.resource in (pressure.STORAGE, "inodes")
        measured = [(w.granted, await asyncio.to_thread(self._measure.pod, w.pod, w.seen, disk=disk)) for w in alive]
        chosen = pressure.victim(measured, signal)
        if chosen is None:
            log.warning("nothing_to_evict", low=signal.resource)
            return
        worker = next(w for w in alive if w.pod.metadata.uid == chosen[0].metadata.uid)
        grace = HARD_GRACE
        if signal.soft:
            grace = self._config.eviction.max_pod_grace_seconds or grace_seconds(worker.pod)
        self._evict(worker, chosen[1], grace, disrupted=True)

    def _evictable(self) -> list[Worker]:
        """Static pods stay, and those that go anyway."""
        workers = [w for w in list(self._workers.values()) if not w.static and not is_mirror(w.pod)]
        return [w for w in workers if w.admitted and not w.failed and not w.ending]

    # ---- limits of pods' own (R11)

    async def _keep_limits(self) -> bool:
        """Evicts every pod that holds more on disk than it may; whether there was one."""
        full, split = False, self._vitals().images is not None
        now = asyncio.get_running_loop().time
        limited = {
            w.pod.metadata.uid: w
            for w in self._evictable()
            if pressure.is_limited(w.pod) or pressure.limited_claims(w.pod, w.given.claims)
        }
        self._due = {uid: at for uid, at in self._due.items() if uid in limited}
        for uid, worker in limited.items():
            began = now()
            if began < self._due.get(uid, 0.0):
                continue
            pod, bound = worker.pod, worker.given.claims
            claims = pressure.limited_claims(pod, bound)
            usage = await asyncio.to_thread(self._measure.pod, pod, worker.seen, claims=claims)
            self._due[uid] = now() + EASE * (now() - began)
            if words := pressure.over_limit(pod, usage, split=split) or pressure.over_claim(pod, usage, bound):
                self._evict(worker, words, HARD_GRACE, disrupted=False)
                full = True
        return full

    # ---- what nobody needs (R10)

    async def _reclaim(self) -> bool:
        """Removes containers that have ended, then images that nobody uses; whether that was enough."""
        try:
            for worker in list(self._workers.values()):
                for container_id in worker.dead:
                    await self._remove(container_id)
                    worker.poke()
            if not self._enough():
                await self._images.reclaim(self._enough)
        except RuntimeFailure as failure:
            log.warning("not_reclaimed", why=failure.message)
        return self._enough()

    def _enough(self) -> bool:
        return not self._gauge.look(self._vitals(), self._clock()).crossed

    @staticmethod
    def _evict(worker: Worker, words: str, grace: int, *, disrupted: bool) -> None:
        log.warning("pod_evicted", pod=worker.pod.metadata.uid, why=words)
        worker.evict(words, grace, disrupted=disrupted)
