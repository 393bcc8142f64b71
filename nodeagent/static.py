"""Static pods: manifests in a directory of the host, run without meshd and shown there as mirrors (G10).

Rule: a pod's uid follows from its manifest, so an edited manifest is another pod, and a restart makes no difference.
What can't be run is logged and left out; the others run.
"""

import asyncio
import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path

import structlog

from mesh.errors import MeshError
from mesh.model import manifest
from mesh.model.pods import containers
from mesh.v1.core_pb2 import Pod
from nodeagent.desired import MIRROR
from nodeagent.runtime import syscalls

log = structlog.get_logger()

RESCAN = 20.0
SETTLE = 0.1  # an editor writes more than once
SOURCE = "kubernetes.io/config.source"
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
            return [static_pod(obj, self._node) for obj in loaded.objects]
        except (MeshError, OSError, UnicodeDecodeError, ValueError, TypeError) as error:
            log.error("static_pod_refused", file=str(path), why=str(error))
            return []


def static_pod(obj: object, node: str) -> Pod:
    """The pod as it runs here; raises ValueError for what a static pod can't be."""
    if not isinstance(obj, Pod):
        raise TypeError("only Pods can be static")
    refused = why_not(obj)
    if refused:
        raise ValueError(f"Pod {obj.metadata.name}: {refused}")
    pod = Pod()
    pod.CopyFrom(obj)
    pod.ClearField("status")
    digest = hashlib.sha256(node.encode() + b"\0" + pod.SerializeToString(deterministic=True)).digest()
    uid = str(uuid.UUID(bytes=digest[:16]))
    pod.metadata.uid = uid
    pod.metadata.name = f"{obj.metadata.name}-{node}"
    pod.metadata.annotations[SOURCE] = "file"
    pod.metadata.annotations[MIRROR] = uid
    pod.spec.node_name = node
    return pod


def why_not(pod: Pod) -> str:
    """Why this pod can't be static, "" if it can: it must stand without meshd's objects."""
    spec = pod.spec
    if not pod.metadata.name:
        return "metadata.name is required"
    if not spec.containers:
        return "spec.containers must name at least one container"
    names = [c.name for c in containers(spec)]
    if len(names) != len(set(names)):
        return "two containers have the same name"
    if any(not c.image for c in containers(spec)):
        return "every container needs an image"
    if spec.service_account_name:
        return "a static pod can't use a ServiceAccount"
    for container in containers(spec):
        if container.env_from or any(
            v.value_from.HasField("config_map_key_ref") or v.value_from.HasField("secret_key_ref")
            for v in container.env
        ):
            return "a static pod can't refer to ConfigMaps or Secrets"
        if container.HasField("liveness_probe") or container.HasField("readiness_probe"):
            return "probes are not honoured yet"
        if container.HasField("lifecycle"):
            return "lifecycle hooks are not honoured yet"
    for volume in spec.volumes:
        if not (volume.HasField("empty_dir") or volume.HasField("host_path")):
            return f"volume {volume.name}: a static pod's volumes are emptyDir or hostPath"
    known = {v.name for v in spec.volumes}
    unknown = [m.name for c in containers(spec) for m in c.volume_mounts if m.name not in known]
    return f"there is no volume {unknown[0]}" if unknown else ""
