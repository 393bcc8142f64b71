"""Looks at everything on the host: when the agent begins, now and then, when told to, and often while nothing answers.

Rule: it never acts on a pod itself. It pokes the workers whose pods have changed, and has leftovers hired or removed,
which it may only after the first Assignment.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from mesh.model.pauses import Pauses
from nodeagent.crew import Crew
from nodeagent.runtime.port import Runtime, RuntimeFailure
from nodeagent.runtime.seen import SeenPod
from nodeagent.sweep import leftovers, manifest_of
from nodeagent.volumes.tree import Tree
from nodeagent.waiting import until

log = structlog.get_logger()

RESYNC = (60.0, 90.0)  # L21
SEARCH = (1.0, 10.0)  # how often a runtime that is away is looked for
CALM = 1.0  # at most one look at everything per this many seconds


class Lookout:
    """`may_sweep` says whether an Assignment came yet; `back` is awaited when a runtime that was away is there again.
    `away_since` is 0 while it answers, else nanoseconds of `clock`."""

    def __init__(
        self, runtime: Runtime, tree: Tree, crew: Crew, clock: Callable[[], int], may_sweep: Callable[[], bool],
        back: Callable[[], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._runtime = runtime
        self._tree = tree
        self._crew = crew
        self._clock = clock
        self._may_sweep = may_sweep
        self._back = back
        self._look = asyncio.Event()
        self.away_since = 0

    async def first(self) -> None:
        """The look with which an agent begins."""
        try:
            self._crew.found = await self._runtime.pods()
            self._crew.blind = False
        except RuntimeFailure as failure:
            log.warning("runtime_away", why=failure.message)
            self.away()

    def look(self) -> None:
        """Everything is looked at soon."""
        self._look.set()

    def poked(self, uid: str) -> None:
        """From the runtime: a container of `uid` ended, or ("") anything may have changed."""
        if uid in self._crew.workers:
            self._crew.workers[uid].poke()
        else:
            self._look.set()

    def away(self) -> None:
        """The runtime does not answer."""
        if not self.away_since:
            self.away_since = self._clock()
            self._look.set()

    async def run(self) -> None:
        """Looks at everything now and then (L21), when told to, and often while the runtime is away."""
        pauses = Pauses(*SEARCH)
        while True:
            wait = pauses.next() if self.away_since else random.uniform(*RESYNC)  # noqa: S311 - jitter
            await until(self._look, wait)
            self._look.clear()
            try:
                seen = await self._runtime.pods()
            except RuntimeFailure as failure:
                log.warning("runtime_away", why=failure.message)
                self.away_since = self.away_since or self._clock()
                continue
            pauses.reset()
            was_away, self.away_since = bool(self.away_since), 0
            if was_away:
                await self._back()
            self._compare(seen, poke_all=was_away or self._crew.blind)
            self._crew.blind = False
            await self._sweep(seen)
            await asyncio.sleep(CALM)

    def _compare(self, seen: dict[str, SeenPod], *, poke_all: bool) -> None:
        for uid, worker in self._crew.workers.items():
            if poke_all or worker.seen != seen.get(uid):
                worker.poke()

    async def _sweep(self, seen: dict[str, SeenPod]) -> None:
        if not self._may_sweep():
            return
        crew = self._crew
        known = {*crew.workers, *crew.wanted()}
        found = await asyncio.to_thread(leftovers, seen, self._tree, known)
        for uid, pod in found.pods.items():
            if uid not in crew.workers and uid not in crew.wanted():
                log.info("leftover_pod", pod=f"{pod.namespace}/{pod.name}", uid=uid)
                crew.found[uid] = pod
                crew.hire(manifest_of(pod), leftover=True)
        for uid in found.files:
            if uid not in crew.workers and uid not in crew.wanted():
                try:
                    await asyncio.to_thread(self._tree.remove, uid)
                except OSError as error:  # the next look tries again
                    log.warning("leftover_stays", uid=uid, why=str(error))
