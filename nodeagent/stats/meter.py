"""The host's meter: takes samples when somebody asks, and tells them as a summary or as a page of figures.

Rules: files are read and texts are made in a thread, never on the agent's loop; nothing is read when nobody asks, but
for the history's quick samples. A rate is that of the time since the last sample, or of a short wait when that is too
long ago.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from mesh.errors import MeshError, NotFound
from mesh.exposition.process import process
from mesh.exposition.text import CONTENT_TYPE, Page
from mesh.exposition.web import Answer
from mesh.v1 import stats_pb2 as pb
from mesh.v1.node_pb2 import Flows, FlowsRequest
from nodeagent.config import AgentConfig
from nodeagent.pods.worker import Worker
from nodeagent.stats import applications, cadvisor, kubelet, nodefigures
from nodeagent.stats.applications import Told
from nodeagent.stats.operations import Operations
from nodeagent.stats.proxyfigures import proxied
from nodeagent.stats.reading import Reader
from nodeagent.stats.sizes import Sizes
from nodeagent.stats.subjects import Subject, subject_of
from nodeagent.stats.summary import Summarizer, as_json
from nodeagent.stats.values import Sample
from nodeagent.volumes.tree import Tree

SHORTEST, LONGEST = 0.4, 30.0  # seconds between two samples that make a rate
SUMMARY = "/stats/summary"
PARTS = (
    "kubelet",
    "probes",
    "cadvisor",
    "host",
    "proxy",
    "applications",
)  # of /metrics; "resource" says again what they say
PATIENCE = 3.0  # seconds that the host's proxy may take to answer
Carried = Callable[[FlowsRequest], Awaitable[Flows]]
PATHS = ("/metrics", *(f"/metrics/{part}" for part in (*PARTS, "resource")), SUMMARY)


class Meter:
    """One host's; `workers` are those of its pods now, `clock` gives nanoseconds since the epoch."""

    def __init__(
        self, config: AgentConfig, tree: Tree, workers: Callable[[], Iterable[Worker]], operations: Operations,
        clock: Callable[[], int], reader: Reader | None = None,
    ) -> None:  # fmt: skip
        self._config = config
        self._workers = workers
        self._clock = clock
        self.reader = reader or Reader()
        self._known: dict[str, Subject] = {}
        self._last: tuple[float, Sample] | None = None  # by the loop's time
        self._began = clock()
        self._counted: dict[str, set[str]] = {"started": set(), "evicted": set()}  # uids
        self.operations = operations
        self.sizes = Sizes(config, tree)
        self.carried: Carried | None = None  # by the host's proxy, if it has one

    # ---- what is told

    async def summary(self) -> pb.Summary:
        """What the host and its pods use now."""
        subjects = self.subjects()
        self.sizes.asked(subjects)
        before = self._before(subjects)
        if before is None:
            await self.sample(subjects)
            await asyncio.sleep(SHORTEST)
            before = self._before(subjects)
        now = await self.sample(subjects)
        summarizer = Summarizer(before, now, self.sizes.held, self.sizes.at)
        root = str(self._config.root)
        return await asyncio.to_thread(summarizer.whole, self._config.node_name, root, subjects)

    async def answer(self, path: str) -> Answer:
        """What the host's endpoint says; raises NotFound."""
        path = path.rstrip("/")
        if path == SUMMARY:
            summary = as_json(await self.summary())
            return Answer(json.dumps(summary, indent=1).encode() + b"\n", "application/json")
        part = path.removeprefix("/metrics").removeprefix("/")
        if not path.startswith("/metrics") or part not in ("", *PARTS, "resource"):
            raise NotFound(f'there are no figures at "{path}"; there are: {" ".join(PATHS)}')
        subjects = self.subjects()
        self.sizes.asked(subjects)
        parts = (part,) if part else PARTS
        reads = bool({"cadvisor", "host", "resource"}.intersection(parts))
        sample = await self.sample(subjects) if reads else None
        told: list[Told] = []
        if "applications" in parts:
            told = await applications.ask_all(applications.targets(subjects, self._config.node_ip))
        page = Page()
        if "proxy" in parts and self.carried is not None:
            proxied(page, await self._carried(self.carried))
        return Answer(await asyncio.to_thread(self._page, page, parts, sample, subjects, told), CONTENT_TYPE)

    @staticmethod
    async def _carried(ask: Carried) -> Flows | None:
        try:
            async with asyncio.timeout(PATIENCE):
                return await ask(FlowsRequest())
        except (MeshError, TimeoutError):
            return None

    # ---- inside

    def subjects(self) -> list[Subject]:
        """The pods that are on the host now."""
        found = {}
        for worker in self._workers():
            pod, seen, status = worker.pod, worker.seen, worker.status
            known = self._known.get(pod.metadata.uid)
            if known is None or known.pod is not pod or known.seen is not seen or known.status is not status:
                known = subject_of(pod, status, seen, worker.prober.counts)
            found[known.uid] = known
        self._known = found
        self._count(found)
        return list(found.values())

    def _count(self, subjects: Mapping[str, Subject]) -> None:
        """Pods that this agent has started, or evicted, since it was last asked."""
        for uids in self._counted.values():
            uids.intersection_update(subjects)
        for uid, subject in subjects.items():
            if uid not in self._counted["started"] and (seconds := subject.took_to_start(self._began)):
                self._counted["started"].add(uid)
                self.operations.starts.observe(seconds)
            if subject.status.reason == "Evicted" and uid not in self._counted["evicted"]:
                self._counted["evicted"].add(uid)
                self.operations.evictions += 1

    async def sample(self, subjects: Sequence[Subject]) -> Sample:
        """Everything, now."""
        sample = await asyncio.to_thread(self._read, self._clock(), subjects)
        self._last = (asyncio.get_running_loop().time(), sample)
        return sample

    def _read(self, now: int, subjects: Sequence[Subject]) -> Sample:
        groups = {path: self.reader.group(path) for s in subjects for path in s.groups()}
        return Sample(now, self.reader.host(), groups)

    def _before(self, subjects: Sequence[Subject]) -> Sample | None:
        """The last sample, if it makes a good rate of everything there is now."""
        if self._last is None:
            return None
        age = asyncio.get_running_loop().time() - self._last[0]
        knows_all = all(path in self._last[1].groups for s in subjects for path in s.groups())
        return self._last[1] if SHORTEST <= age <= LONGEST and knows_all else None

    def _page(
        self,
        page: Page,
        parts: Sequence[str],
        sample: Sample | None,
        subjects: Sequence[Subject],
        told: Sequence[Told],
    ) -> bytes:
        if "kubelet" in parts:
            process(page)
            kubelet.kubelet(page, self._config.node_name, subjects, self.operations)
        if "probes" in parts:
            kubelet.probes(page, subjects)
        if sample is not None and "cadvisor" in parts:
            held = self.sizes.held
            roots = {c.id: size for s in subjects if s.uid in held for c in s.containers
                     if (size := held[s.uid].roots.get(c.name))}  # fmt: skip
            cadvisor.cadvisor(page, sample, subjects, roots)
        if sample is not None and "host" in parts:
            nodefigures.host(page, sample.host, frozenset(s.link for s in subjects))
        if sample is not None and "resource" in parts:
            cadvisor.resource(page, sample, subjects)
        applications.applications(page, told)  # last: of two heads of a family the host's counts
        return page.render()
