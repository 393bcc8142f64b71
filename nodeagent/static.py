"""Static pods: manifests in a directory of the host, run without meshd and shown there as mirrors (G10).

Rule: a pod's uid follows from its manifest, so an edited manifest is another pod, and a restart makes no difference.
What can't be run is logged and left out; the others run.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from mesh.errors import Invalid, MeshError
from mesh.model import manifest
from mesh.model.kinds import Object, kind_of
from mesh.model.staticpods import static_pod
from mesh.v1.core_pb2 import Pod
from nodeagent.runtime import syscalls

log = structlog.get_logger()

RESCAN = 20.0
SETTLE = 0.1  # an editor writes more than once
IN_DELETE, IN_MOVED_FROM = 0x200, 0x40
WATCHED = syscalls.IN_CLOSE_WRITE | syscalls.IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE
SUFFIXES = (".yaml", ".yml", ".json")


class StaticPods:
    """The directory; `pods` are what it asks for now, by uid. `on_change` is called when that is something else."""

    def __init__(self, directory: Path, node: str, on_change: Callable[[], None]) -> None:
        self._directory = directory
        self._node = node
        self._on_change = on_change
        self._stamps: dict[str, tuple[int, int]] = {}
        self.pods: dict[str, Pod] = {}

    async def run(self) -> None:
        """Watches by inotify, and rescans for what that misses."""
        watch = syscalls.Inotify()
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def wake() -> None:
            watch.read()
            changed.set()

        loop.add_reader(watch.fd, wake)
        try:
            while True:
                if self._directory.is_dir():
                    watch.add(self._directory, WATCHED)
                timer = loop.call_later(RESCAN, changed.set)
                await changed.wait()
                timer.cancel()
                await asyncio.sleep(SETTLE)
                changed.clear()
                if await self.scan():
                    self._on_change()
        finally:
            loop.remove_reader(watch.fd)
            watch.close()

    async def scan(self) -> bool:
        """Reads the directory; says whether `pods` changed."""
        return await asyncio.to_thread(self._scan)

    def _scan(self) -> bool:
        files = sorted(p for p in self._directory.glob("*") if p.suffix in SUFFIXES) if self._directory.is_dir() else []
        stamps: dict[str, tuple[int, int]] = {}
        for path in files:
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            stamps[path.name] = (stat.st_mtime_ns, stat.st_size)
        if stamps == self._stamps:
            return False
        self._stamps = stamps
        found: dict[str, Pod] = {}
        for name in stamps:
            for pod in self._read(self._directory / name):
                found[pod.metadata.uid] = pod
        changed = found.keys() != self.pods.keys()
        self.pods = found
        return changed

    def _read(self, path: Path) -> list[Pod]:
        try:
            loaded = manifest.load(path.read_text(), path.name, default_namespace="default")
            return [static_pod(_only_pods(obj), self._node) for obj in loaded.objects]
        except (MeshError, OSError, UnicodeDecodeError) as error:
            log.error("static_pod_refused", file=str(path), why=str(error))
            return []


def _only_pods(obj: Object) -> Pod:
    if isinstance(obj, Pod):
        return obj
    raise Invalid(f"a {kind_of(obj).name} can't be static, only a Pod can")
