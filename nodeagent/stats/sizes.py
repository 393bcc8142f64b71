"""How much of the disk pods hold: writable layers, logs and volumes, walked at a slow pace.

Rule: nobody waits for a walk, and none is made unless somebody asked lately; between two walks lie at least EVERY
seconds and a hundred times what the last one took, so that big trees cost no more than a hundredth of a processor.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from nodeagent.config import AgentConfig
from nodeagent.runtime import layers
from nodeagent.runtime.places import Places
from nodeagent.stats.subjects import Subject
from nodeagent.stats.values import Held
from nodeagent.usage import usage_of
from nodeagent.volumes.tree import Tree

EVERY = 60.0
SHARE = 100.0


class Sizes:
    """Those of one host's pods; `held` is what the last walk found, by uid."""

    def __init__(self, config: AgentConfig, tree: Tree) -> None:
        self._graph = Places.of(config).graph
        self._tree = tree
        self._due = 0.0
        self._walking: asyncio.Task[None] | None = None
        self.held: dict[str, Held] = {}
        self.at = 0  # when, in nanoseconds since the epoch

    def asked(self, subjects: list[Subject]) -> None:
        """Somebody wants to know; what is known is in `held`."""
        if self._walking is None and asyncio.get_running_loop().time() >= self._due:
            self._walking = asyncio.create_task(self._walk(subjects))

    async def walked(self) -> None:
        """Returns once no walk is under way."""
        if self._walking is not None:
            await asyncio.wait({self._walking})

    async def _walk(self, subjects: list[Subject]) -> None:
        try:
            seconds, self.held = await asyncio.to_thread(self._measure, subjects)
            self.at = time.time_ns()
            self._due = asyncio.get_running_loop().time() + max(EVERY, SHARE * seconds)
        finally:
            self._walking = None

    def _measure(self, subjects: Iterable[Subject]) -> tuple[float, dict[str, Held]]:
        began, writable = time.thread_time(), layers.writable(self._graph)
        found = {s.uid: self._one(s, writable) for s in subjects}
        return time.thread_time() - began, found

    def _one(self, subject: Subject, writable: Mapping[str, Path]) -> Held:
        logs = self._tree.log_directory(subject.uid)
        return Held(
            {c.name: usage_of(writable[c.id]) for c in subject.containers if c.id in writable},
            {c.name: usage_of(logs / c.name) for c in subject.containers} if logs else {},
            {v.name: usage_of(Path(self._tree.volume_path(subject.pod, v))) for v in subject.pod.spec.volumes
             if v.HasField("empty_dir") and v.empty_dir.medium != "Memory"},
        )  # fmt: skip
