"""The shell of autoscalers: while there are any, it asks the hosts of their pods every so often, and writes (C16).

Rule: nobody is asked while there is no autoscaler. A host that does not answer is a figure that is not known. What is
remembered is this process' own: after a restart the size found counts as recommended. One on which a look fails is
told, and keeps no other from its own.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from mesh.errors import MeshError
from mesh.exposition.reading import Sample, read
from mesh.exposition.tally import Tally
from mesh.fleet.port import AgentPort
from mesh.fleet.streams import measured
from mesh.model.keys import Key
from mesh.model.kinds import key_of
from mesh.reconcile.failures import RECONCILES, tell
from mesh.scaling.behavior import Memory
from mesh.scaling.look import Looked, look, pods_of, target_of
from mesh.scaling.metrics import names_of
from mesh.scaling.readings import Readings, Seen, Usage, metrics_of, usage_of
from mesh.store.change import change
from mesh.store.feed import Feed
from mesh.store.port import Event, Store, Write
from mesh.v1.core_pb2 import Pod
from mesh.v1.node_pb2 import MeasureOptions
from mesh.v1.policy_pb2 import HorizontalPodAutoscaler
from mesh.v1.stats_pb2 import Summary
from mesh.view import View

log = structlog.get_logger("mesh.scaling")

_KIND = "HorizontalPodAutoscaler"
_TELLS = "prometheus.io/scrape"
_APPLICATIONS = "/metrics/applications"


@dataclass(slots=True)
class _Kept:
    """What is remembered of one autoscaler: its sizes, and the counters of its last look."""

    memory: Memory = field(default_factory=Memory)
    seen: Seen = field(default_factory=Seen)


class Autoscalers:
    """`agent` finds the agent of a host; `period` is how often they look, in seconds, `clock` in nanoseconds."""

    def __init__(
        self, feed: Feed, store: Store, agent: Callable[[str], AgentPort | None], clock: Callable[[], int],
        period: float, tally: Tally | None = None,
    ) -> None:  # fmt: skip
        self._tally = tally or Tally()
        self._feed, self._store, self._agent, self._clock, self._period = feed, store, agent, clock, period
        self._kept: dict[str, _Kept] = {}  # by uid
        self._fresh: set[Key] = set()
        self._woken = asyncio.Event()

    async def run(self) -> None:
        """For ever; an autoscaler that is new or changed is looked at at once."""
        leave = self._feed.on_events(self._notice)
        loop = asyncio.get_running_loop()
        try:
            await self._feed.reached(0)
            due = loop.time()
            while True:
                everyone = self._everyone()
                if not everyone:
                    await self._woken.wait()
                elif (wait := due - loop.time()) > 0:
                    await self._nap(wait)
                self._woken.clear()
                fresh, self._fresh = self._fresh, set()
                if loop.time() >= due:
                    fresh, due = {key_of(h) for h in self._everyone()}, loop.time() + self._period
                await self._look([h for h in self._everyone() if key_of(h) in fresh])
        finally:
            leave()

    async def _nap(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass

    def _notice(self, events: Sequence[Event]) -> None:
        for event in events:
            held, before = event.object, event.previous
            if event.key.kind != _KIND or held is None:
                continue
            if before is None or before.metadata.generation != held.metadata.generation:
                self._fresh.add(event.key)
                self._woken.set()

    def _everyone(self) -> list[HorizontalPodAutoscaler]:
        found = self._feed.view.of_kind(_KIND)
        return [h for h in found if isinstance(h, HorizontalPodAutoscaler)]

    # ---- one round

    async def _look(self, due: Sequence[HorizontalPodAutoscaler]) -> None:
        if not due:
            return
        there = {h.metadata.uid for h in self._everyone()}
        self._kept = {uid: kept for uid, kept in self._kept.items() if uid in there}
        usage, samples, silent = await self._measure(due)
        for held in due:
            kept, key = self._kept.setdefault(held.metadata.uid, _Kept()), key_of(held)
            names, now = names_of(held.spec.metrics), self._clock()
            own = (s for s in samples if s.name in names)
            try:
                metrics, kept.seen = metrics_of(own, kept.seen, now)
                await self._step(key, Readings(usage, metrics, silent), kept, now)
            except MeshError as error:
                log.warning("autoscaler_later", key=str(key), why=error.message)
            except Exception as error:
                log.exception("autoscaler_failed", key=str(key))
                self._tally.add(RECONCILES, 'controller="autoscalers",result="error"')
                await tell(self._store, self._feed, self._clock, "autoscalers", key, error)

    async def _step(self, key: Key, readings: Readings, kept: _Kept, now: int) -> None:
        looked = Looked((), kept.memory)

        def compute(view: View) -> Sequence[Write]:
            nonlocal looked
            looked = look(key, view, readings, kept.memory, now)
            return looked.writes

        await change(self._store, self._feed, compute)
        kept.memory = looked.memory

    # ---- what hosts say

    async def _measure(
        self, due: Sequence[HorizontalPodAutoscaler]
    ) -> tuple[dict[str, Usage], list[Sample], tuple[str, ...]]:
        """What pods use, what they tell, and why a host says nothing."""
        used, tellers, names = self._wanted(due)
        asked = [self._usage(host) for host in sorted(used)]
        told = [self._told(host, names) for host in sorted(tellers)]
        answers = await asyncio.gather(*asked)
        samples = await asyncio.gather(*told)
        usage = {uid: containers for found, _ in answers for uid, containers in found.items()}
        silent = dict.fromkeys(why for _, why in (*answers, *samples) if why)
        return usage, [sample for found, _ in samples for sample in found], tuple(silent)

    def _wanted(self, due: Sequence[HorizontalPodAutoscaler]) -> tuple[set[str], set[str], set[str]]:
        """Hosts whose pods' usage is needed, hosts whose pods tell metrics that are, and these metrics."""
        used, tellers, names = set[str](), set[str](), set[str]()
        for held in due:
            target = target_of(held, self._feed.view)
            if target is None:
                continue
            wanted = names_of(held.spec.metrics)
            if any(m.type in ("Resource", "ContainerResource") for m in held.spec.metrics):
                used |= _hosts(pods_of(target, self._feed.view))
            if wanted:
                names |= wanted
                pods = self._feed.view.of_kind("Pod", held.metadata.namespace)
                tellers |= _hosts(p for p in pods if p.metadata.annotations.get(_TELLS) == "true")
        return used, tellers, names

    async def _usage(self, host: str) -> tuple[dict[str, Usage], str]:
        try:
            return usage_of(Summary.FromString(await measured(host, self._agent(host), MeasureOptions()))), ""
        except MeshError as error:
            return {}, error.message

    async def _told(self, host: str, names: Collection[str]) -> tuple[list[Sample], str]:
        try:
            page = await measured(host, self._agent(host), MeasureOptions(path=_APPLICATIONS))
            return await asyncio.to_thread(read, page.decode(errors="replace"), names), ""
        except MeshError as error:
            return [], error.message


def _hosts(pods: Iterable[object]) -> set[str]:
    return {p.spec.node_name for p in pods if isinstance(p, Pod) and p.spec.node_name}
