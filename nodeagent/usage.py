"""What pods hold of a host: memory, processes, bytes and inodes on disk, measured when somebody must go (R10, R11).

Rule: blocking, and it costs what `du` costs; whoever asks runs it in a thread, and only when it must be known.
"""

import os
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from mesh.model.pods import qos_class
from mesh.v1.core_pb2 import Pod
from mesh.v1.node_pb2 import LocalVolume
from nodeagent import pressure
from nodeagent.config import AgentConfig
from nodeagent.pressure import Usage, Used
from nodeagent.runtime import cgroups, layers, names
from nodeagent.runtime.places import Places
from nodeagent.runtime.seen import SeenPod
from nodeagent.volumes.tree import Tree

NONE: Mapping[str, LocalVolume] = MappingProxyType({})


class Measure(Protocol):
    """What pods hold; blocking."""

    def pod(
        self, pod: Pod, seen: SeenPod | None, *, disk: bool = True, claims: Mapping[str, LocalVolume] = NONE
    ) -> Usage:
        """All of it; without `disk`, memory and processes alone; with those claims, by volume."""
        ...


class HostMeasure:
    """Measures on this host."""

    def __init__(self, tree: Tree, config: AgentConfig) -> None:
        self._tree = tree
        self._graph = Places.of(config).graph

    def pod(
        self, pod: Pod, seen: SeenPod | None, *, disk: bool = True, claims: Mapping[str, LocalVolume] = NONE
    ) -> Usage:
        """See Measure."""
        cgroup = f"/mesh/{qos_class(pod.spec).lower()}/pod{pod.metadata.uid}"
        memory, pids = cgroups.working_set(cgroup), cgroups.processes(cgroup)
        newest = {c.name: c.id for c in (seen.containers if seen else ())}
        each = {n: cgroups.working_set(names.container_cgroup(cgroup, i)) for n, i in newest.items()}
        if not disk:
            return Usage(memory, pids=pids, containers={n: Used(held) for n, held in each.items()})
        layer_sizes = self._layers(seen)
        logs = self._logs(pod.metadata.uid)
        rest = usage_of(self._tree.directory(pod.metadata.uid))
        total, layer_total = [rest, *layer_sizes.values(), *logs.values()], list(layer_sizes.values())
        return Usage(
            memory, sum(t[0] for t in total), sum(t[1] for t in total), pids,
            sum(t[0] for t in layer_total), sum(t[1] for t in layer_total),
            {n: Used(each[n], layer_sizes.get(i, (0, 0))[0], logs.get(n, (0, 0))[0]) for n, i in newest.items()},
            {n: usage_of(place)[0] for n, place in self._places(pod, claims).items()},
        )  # fmt: skip

    def _places(self, pod: Pod, claims: Mapping[str, LocalVolume]) -> dict[str, Path]:
        """Where those volumes lie that have a limit of their own."""
        limited = [v for v in pod.spec.volumes if v.name in pressure.limits(pod)]
        own = {v.name: Path(self._tree.volume_path(pod, v)) for v in limited}
        return own | {name: self._tree.claim_path(bound.name) for name, bound in claims.items()}

    def _layers(self, seen: SeenPod | None) -> dict[str, tuple[int, int]]:
        """Bytes and inodes of writable layers, by container id."""
        layer = layers.writable(self._graph)
        return {c.id: usage_of(layer[c.id]) for c in (seen.containers if seen else ()) if c.id in layer}

    def _logs(self, uid: str) -> dict[str, tuple[int, int]]:
        """Bytes and inodes of logs, by container's name."""
        directory = self._tree.log_directory(uid)
        found: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        with suppress(FileNotFoundError):  # the pod is just going
            for below in directory.iterdir() if directory else ():
                found[below.name] = usage_of(below)
        return found


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
