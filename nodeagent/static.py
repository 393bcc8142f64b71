"""Static pods: manifests in a directory of the host, run without meshd and shown there as mirrors (G10).

Rule: a pod's uid follows from its manifest, so an edited manifest is another pod, and a restart makes no difference.
What can't be run is logged and left out; the others run.
"""

import asyncio
import hashlib
import json
import uuid
from collections.abc import Callable
from pathlib import Path

import structlog

from mesh.errors import MeshError, Violation
from mesh.model import manifest, podchecks, poddefaults, support
from mesh.model.pods import MIRROR, containers
from mesh.v1.core_pb2 import EnvVar, Pod
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
    """The pod as it runs here; raises TypeError and ValueError for what can't be a static pod."""
    if not isinstance(obj, Pod):
        raise TypeError("only Pods can be static")
    refused = [str(v) for v in why_not(obj)]
    if refused:
        raise ValueError(f"Pod {obj.metadata.name}: " + "; ".join(refused))
    pod = Pod()
    pod.CopyFrom(obj)
    pod.ClearField("status")
    poddefaults.fill(pod.spec)
    text = json.dumps(manifest.to_dict(obj), sort_keys=True)
    uid = str(uuid.UUID(bytes=hashlib.sha256(f"{node}\0{text}".encode()).digest()[:16]))
    pod.metadata.uid = uid
    pod.metadata.name = f"{obj.metadata.name}-{node}"
    pod.metadata.annotations[SOURCE] = "file"
    pod.metadata.annotations[MIRROR] = uid
    pod.spec.node_name = node
    return pod


def why_not(pod: Pod) -> list[Violation]:
    """Why this pod can't run here as a static one: what no pod may ask, and whatever needs meshd's objects."""
    if not pod.metadata.name:
        return [Violation("metadata.name", "is required")]
    filled = Pod()
    filled.CopyFrom(pod)
    poddefaults.fill(filled.spec)
    unsupported, _ = support.check(pod.spec, "spec")
    return [*unsupported, *podchecks.check(filled.spec, "spec"), *_strange(pod)]


def _strange(pod: Pod) -> list[Violation]:
    """References to ConfigMaps, Secrets and ServiceAccounts, which a static pod can't have (G10)."""
    why = "a static pod can't refer to ConfigMaps, Secrets or ServiceAccounts"
    found = [v.name for v in pod.spec.volumes if not (v.HasField("empty_dir") or v.HasField("host_path"))]
    wrong = [Violation(f"spec.volumes[{name}]", why) for name in found if _has_source(pod, name)]
    for container in containers(pod.spec):
        references = [v.name for v in container.env if _refers(v)]
        wrong += [Violation(f"{container.name}.env[{name}]", why) for name in references]
        if container.env_from:
            wrong.append(Violation(f"{container.name}.envFrom", why))
    if pod.spec.service_account_name not in ("", "default"):
        wrong.append(Violation("spec.serviceAccountName", why))
    return wrong


def _has_source(pod: Pod, name: str) -> bool:
    return any(v.name == name and len(v.ListFields()) > 1 for v in pod.spec.volumes)


def _refers(variable: EnvVar) -> bool:
    source = variable.value_from
    return source.HasField("config_map_key_ref") or source.HasField("secret_key_ref")
