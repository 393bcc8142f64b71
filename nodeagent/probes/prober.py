"""One pod's probes: a loop for each container instance and kind, from what is wanted to what is decided (P3, P11, P18).

Rules: no two runs of one probe overlap; the prober decides nothing about the pod, it only tells verdicts; a loop ends
with its container, and its streak with it. How late this host was to send a check is kept apart from how long the
application took to answer.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from mesh.v1.core_pb2 import Pod
from nodeagent.events import Events
from nodeagent.probes.checks import Checks
from nodeagent.probes.counts import Count
from nodeagent.probes.state import COUNTS, Kind, Outcome, Result, Streak, reached
from nodeagent.probes.wanted import Wanted

log = structlog.get_logger()

RETRIES = 3  # of a check that could not be done, in a row (P18)
EVENT_EVERY = 0.95  # seconds between two equal events
Key = tuple[str, Kind]
Told = Callable[[str, Kind, bool], None]


@dataclass(slots=True)
class Bench:
    """What all probers of a host share. `spawn` runs a loop until cancelled; `began` is the loop's time at which this
    agent began (P3)."""

    checks: Checks
    events: Events
    clock: Callable[[], int]
    began: float = 0.0


class Prober:
    """See the module. `told(container_id, kind, good)` is called whenever a threshold is reached."""

    def __init__(self, bench: Bench, pod: Callable[[], Pod], told: Told) -> None:
        self._bench = bench
        self._pod = pod
        self._told = told
        self._loops: dict[Key, _Loop] = {}
        self.counts: dict[tuple[str, Kind], Count] = {}  # by container name

    def want(self, wanted: Sequence[Wanted], group: asyncio.TaskGroup) -> None:
        """These probes run from now on, and no others; a changed one goes on with its streak."""
        now = {w.key: w for w in wanted}
        for key in [k for k in self._loops if k not in now]:
            self._loops.pop(key).stop()
        for key, one in now.items():
            loop = self._loops.get(key)
            if loop is None:
                count = self.counts.setdefault((one.container.name, one.kind), Count())
                loop = self._loops[key] = _Loop(one, self._bench, self._pod, self._told, count)
                loop.task = group.create_task(loop.run())
            elif loop.wanted != one:
                loop.wanted = one

    def hurry(self, unready: set[str]) -> None:
        """Something changed: readiness of these containers, by id, is looked at now instead of a period later (P11)."""
        for (container_id, kind), loop in self._loops.items():
            if kind is Kind.READINESS and container_id in unready:
                loop.hurry.set()

    def stop(self) -> None:
        """Ends all loops."""
        for loop in self._loops.values():
            loop.stop()
        self._loops.clear()


class _Loop:
    """One probe of one container instance."""

    def __init__(self, wanted: Wanted, bench: Bench, pod: Callable[[], Pod], told: Told, count: Count) -> None:
        self.wanted = wanted
        self.hurry = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self._bench = bench
        self._pod = pod
        self._told = told
        self._count = count
        self._streak = Streak()
        self._said: tuple[str, float] = ("", 0.0)

    def stop(self) -> None:
        """Ends it, and a check that is under way."""
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()
        self.task = None

    async def run(self) -> None:
        """Until stopped: the first run at once or after the initial delay, then every period, never two at a time."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._first(loop.time())
        initial = due
        while True:
            await self._until(due, initial)
            lag = max(0.0, loop.time() - due) if not self.hurry.is_set() else 0.0
            if self.hurry.is_set():
                self.hurry.clear()
                due = loop.time()
            outcome = await self._check()
            self._count.add(outcome, lag)
            self._judge(outcome)
            if self.task is None:  # what was told has ended this loop
                return
            due = max(due + self.wanted.period, loop.time())

    def _first(self, now: float) -> float:
        """Seconds until the first run: the rest of the initial delay; a container that this agent found is looked at
        some time within its first period, so that an agent that begins does not ask all at once (P3)."""
        age = (self._bench.clock() - self.wanted.container.started_at) / 1e9
        wait = max(0.0, self.wanted.initial_delay - age)
        up = now - self._bench.began
        if not wait and age > up and up < self.wanted.period:
            return random.uniform(0, self.wanted.period)  # noqa: S311 - jitter
        return wait

    async def _until(self, due: float, initial: float) -> None:
        """Until it is due, or hurried; the initial delay is never cut short."""
        loop = asyncio.get_running_loop()
        if loop.time() < initial:
            await asyncio.sleep(initial - loop.time())
            self.hurry.clear()
        if loop.time() < due and not self.hurry.is_set():
            timer = loop.call_at(due, self.hurry.set)
            try:
                await self.hurry.wait()
            finally:
                timer.cancel()
            if loop.time() >= due:
                self.hurry.clear()

    async def _check(self) -> Outcome:
        """One check; what could not be done is tried again, three times in all."""
        wanted = self.wanted
        for _ in range(RETRIES):
            outcome = await self._bench.checks.perform(wanted.check, wanted.container, wanted.timeout)
            if outcome.result is not Result.ERROR:
                break
        return outcome

    def _judge(self, outcome: Outcome) -> None:
        wanted = self.wanted
        match outcome.result:
            case Result.FAILURE:
                self._say("Unhealthy", f"{wanted.kind} probe failed: {outcome.output}")
            case Result.WARNING:
                self._say("ProbeWarning", f"{wanted.kind} probe warning: {outcome.output}")
            case Result.ERROR:
                self._say("Unhealthy", f"{wanted.kind} probe errored and resulted in unknown state: {outcome.output}")
            case Result.STARVED:
                log.warning("probe_starved", container=wanted.container.name, kind=wanted.kind, why=outcome.output)
            case Result.SUCCESS:
                pass
        good = COUNTS.get(outcome.result)
        if good is None:
            return
        self._streak = self._streak.after(good)
        if reached(self._streak, wanted.success_threshold, wanted.failure_threshold):
            self._told(wanted.container.id, wanted.kind, good)

    def _say(self, reason: str, words: str) -> None:
        """An event for each attempt (P19); of periods below a second, one a second."""
        now = asyncio.get_running_loop().time()
        if self._said[0] == words and now - self._said[1] < EVENT_EVERY:
            return
        self._said = (words, now)
        self._bench.events.warning(self._pod(), reason, words, self.wanted.container.name)
