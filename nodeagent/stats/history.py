"""What this host and its pods used in the last six hours, every 15 s: rings of a fixed size, without any other server.

Rule: memory is bound (HOST_SERIES rings, and two for each of at most MOST_PODS pods) and so is the work: a sample is
some files of cgroupfs, read a few pods at a time, so that the agent's loop is never held for long. A pod that is gone
takes its rings with it.
"""

import asyncio
from array import array
from collections.abc import Callable, Sequence

from mesh.model.times import SECOND
from mesh.v1.stats_pb2 import History as Told
from mesh.v1.stats_pb2 import Series
from nodeagent.stats.reading import Reader
from nodeagent.stats.subjects import Subject
from nodeagent.stats.values import HostReading

STEP = 15.0  # seconds
KEPT = 1440  # samples: six hours
MOST_PODS = 250
AT_ONCE = 10  # pods between two looks at the loop
CPU, MEMORY, RECEIVED, SENT = "cpu", "memory", "received", "sent"
NAN = float("nan")


class Ring:
    """The newest KEPT values, and for those that count up the last count."""

    def __init__(self, first: int) -> None:
        self._values = array("f", [NAN]) * KEPT
        self._counted: float | None = None
        self.first = first  # the step at which it began

    def put(self, step: int, value: float) -> None:
        """A value as it is."""
        self._values[step % KEPT] = value

    def count(self, step: int, total: float, seconds: float) -> None:
        """What grew since the last step, by the second; nothing at first, or when it began anew."""
        before, self._counted = self._counted, total
        grown = before is not None and total >= before and seconds > 0
        self.put(step, (total - before) / seconds if grown and before is not None else NAN)

    def last(self, step: int, samples: int, points: int) -> list[float]:
        """The last samples up to `step`, as means of `points` equal parts; NaN where nothing is known."""
        every = [self._values[s % KEPT] if s >= self.first else NAN for s in range(step - samples + 1, step + 1)]
        width = max(1, -(-samples // points))
        parts = (every[i : i + width] for i in range(samples % width if samples > width else 0, samples, width))
        return [_mean(part) for part in parts]


class History:
    """One host's; `subjects` are its pods now, `clock` gives nanoseconds since the epoch."""

    def __init__(self, reader: Reader, subjects: Callable[[], Sequence[Subject]], clock: Callable[[], int]) -> None:
        self._reader = reader
        self._subjects = subjects
        self._clock = clock
        self._step = 0
        self._at = 0
        self._host = {name: Ring(1) for name in (CPU, MEMORY, RECEIVED, SENT)}
        self._pods: dict[str, dict[str, Ring]] = {}
        self._names: dict[str, tuple[str, str]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await self.sample()
            due = max(due + STEP, loop.time())
            await asyncio.sleep(due - loop.time())

    async def sample(self) -> None:
        """One more."""
        before, self._at = self._at, self._clock()
        seconds = (self._at - before) / SECOND if before else 0.0
        self._step += 1
        self._take_host(self._reader.host(quick=True), seconds)
        subjects = [s for s in self._subjects() if s.containers][:MOST_PODS]
        for uid in self._pods.keys() - {s.uid for s in subjects}:
            del self._pods[uid], self._names[uid]
        for number, subject in enumerate(subjects):
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            self._take(subject, seconds)

    def told(self, seconds: int, points: int) -> Told:
        """The last so many seconds in so many points."""
        samples = max(1, min(int(seconds / STEP), KEPT))
        points = max(1, min(points, samples))
        told = Told(step_seconds=seconds / points, end_seconds=self._at // SECOND)
        for name, ring in self._host.items():
            told.series.add(name=name, values=ring.last(self._step, samples, points))
        for uid, rings in self._pods.items():
            namespace, pod = self._names[uid]
            told.series.extend(
                Series(namespace=namespace, pod=pod, name=name, values=ring.last(self._step, samples, points))
                for name, ring in rings.items()
            )
        return told

    def _take_host(self, host: HostReading, seconds: float) -> None:
        outside = [i for name, i in host.interfaces.items() if name != "lo" and not name.startswith(("v", "mesh"))]
        self._host[CPU].count(self._step, host.cpu_used / SECOND, seconds)
        self._host[MEMORY].put(self._step, float(host.working_set))
        self._host[RECEIVED].count(self._step, float(sum(i.rx_bytes for i in outside)), seconds)
        self._host[SENT].count(self._step, float(sum(i.tx_bytes for i in outside)), seconds)

    def _take(self, subject: Subject, seconds: float) -> None:
        group = self._reader.group(subject.cgroup, quick=True)
        rings = self._pods.get(subject.uid)
        if rings is None:
            rings = self._pods[subject.uid] = {CPU: Ring(self._step), MEMORY: Ring(self._step)}
            self._names[subject.uid] = (subject.namespace, subject.name)
        if group.cpu is not None:
            rings[CPU].count(self._step, group.cpu.usage / SECOND, seconds)
        else:
            rings[CPU].put(self._step, NAN)
        rings[MEMORY].put(self._step, float(group.memory.working_set) if group.memory else NAN)


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if v == v]  # noqa: PLR0124 - NaN
    return sum(known) / len(known) if known else NAN
