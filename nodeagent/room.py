"""Room on the host: whom it takes (S7), and who goes when the host or a volume is full, every 10 s (R9 to R11).

Rule: it decides nothing (pods/admit.py and pressure.py do); a pod that is evicted fails, stops and gives back what it
held. While one is still stopping for pressure, no other is chosen.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import structlog

from mesh.model import fit
from mesh.model.pods import is_mirror, qos_class
from mesh.v1.core_pb2 import Node, NodeStatus, Pod
from nodeagent import pressure
from nodeagent.config import AgentConfig
from nodeagent.machine import Vitals, allocatable
from nodeagent.pods.admit import Answer, answer
from nodeagent.pods.worker import Worker
from nodeagent.pressure import Usage
from nodeagent.runtime import cgroups, layers
from nodeagent.runtime.places import Places
from nodeagent.runtime.seen import SeenPod
from nodeagent.volumes.tree import Tree

log = structlog.get_logger()

EVERY = 10.0


class Measure(Protocol):
    """What pods hold; blocking."""

    def pod(self, pod: Pod, seen: SeenPod | None) -> Usage:
        """All of it."""
        ...

    def volumes(self, pod: Pod) -> dict[str, int]:
        """Bytes of its emptyDirs that have a limit, by volume."""
        ...


class HostMeasure:
    """Measures on this host."""

    def __init__(self, tree: Tree, config: AgentConfig) -> None:
        self._tree = tree
        self._graph = Places.of(config).graph

    def pod(self, pod: Pod, seen: SeenPod | None) -> Usage:
        """See Measure."""
        uid = pod.metadata.uid
        logs = self._tree.log_directory(uid)
        layer = layers.writable(self._graph)
        ids = [c.id for c in (seen.containers if seen else ())]
        places = [self._tree.directory(uid), *([logs] if logs else []), *(layer[i] for i in ids if i in layer)]
        sizes = [usage_of(place) for place in places]
        memory = cgroups.working_set(f"/mesh/{qos_class(pod.spec).lower()}/pod{uid}")
        return Usage(memory, sum(s[0] for s in sizes), sum(s[1] for s in sizes))

    def volumes(self, pod: Pod) -> dict[str, int]:
        """See Measure."""
        limited = pressure.limits(pod)
        return {
            v.name: usage_of(Path(self._tree.volume_path(pod, v)))[0] for v in pod.spec.volumes if v.name in limited
        }


class Room:
    """A host's; `workers` are those of its pods now, `labels` those of its Node."""

    def __init__(
        self, config: AgentConfig, tree: Tree, workers: Mapping[str, Worker], labels: Callable[[], Mapping[str, str]],
        vitals: Callable[[], Vitals], measure: Measure | None,
    ) -> None:  # fmt: skip
        self._config = config
        self._workers = workers
        self._labels = labels
        self._measure = measure or HostMeasure(tree, config)
        self._vitals = vitals

    def admit(self, pod: Pod) -> Answer:
        """See Door."""
        node = Node(status=NodeStatus(allocatable=allocatable(self._vitals(), self._config)))
        there = [w for w in self._workers.values() if w.admitted]
        staying = fit.used_by(w.pod for w in there if not w.going)
        going = fit.used_by(w.pod for w in there if w.going)
        return answer(pod, self._config.node_name, self._labels(), staying, going, fit.allocatable_of(node))

    def freed(self) -> None:
        """See Door."""
        for worker in self._workers.values():
            if worker.queued:
                worker.poke(look=False)

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(EVERY)
            await self._look()

    async def _look(self) -> None:
        alive = [w for w in list(self._workers.values()) if w.admitted and not w.failed and not w.ending]
        full = False
        for worker in [w for w in alive if pressure.limits(w.pod)]:
            used = await asyncio.to_thread(self._measure.volumes, worker.pod)
            if words := pressure.over_limit(worker.pod, used):
                self._evict(worker, words)
                full = True
        crossed = pressure.signals(self._vitals())
        if full or not crossed or any(w.leaving for w in list(self._workers.values())):
            return
        candidates = {w.pod.metadata.uid: w for w in alive if not w.static and not is_mirror(w.pod)}
        measured = [
            (w.pod, await asyncio.to_thread(self._measure.pod, w.pod, w.seen)) for w in candidates.values()
        ]  # fmt: skip
        for signal in crossed:
            if chosen := pressure.victim(measured, signal):
                self._evict(candidates[chosen[0].metadata.uid], chosen[1])
                return
        log.warning("nothing_to_evict", low=[s.resource for s in crossed])

    @staticmethod
    def _evict(worker: Worker, words: str) -> None:
        log.warning("pod_evicted", pod=worker.pod.metadata.uid, why=words)
        worker.evict(words)


def usage_of(directory: Path) -> tuple[int, int]:
    """Bytes and inodes below a directory on its filesystem, as `du -x` counts; what disappears counts as nothing."""
    size = count = 0
    try:
        device = directory.lstat().st_dev
    except OSError:
        return 0, 0
    todo = [str(directory)]
    while todo:
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    stat = entry.stat(follow_symlinks=False)
                    if stat.st_dev != device:
                        continue
                    size, count = size + stat.st_blocks * 512, count + 1
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
        except OSError:
            continue
    return size, count
