"""What is said of the host: capacity, allocatable, conditions, addresses, what it is made of (R8, R9, G11).

Rule: cheap enough for every ten seconds: files of /proc and statvfs only, never a call of the container runtime.
"""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mesh.model import quantity
from mesh.model.times import SECOND, to_timestamp
from mesh.v1.core_pb2 import ContainerImage, NodeAddress, NodeCondition, NodeStatus, NodeSystemInfo
from mesh.v1.node_pb2 import NodeReport
from nodeagent.config import AgentConfig
from nodeagent.fieldrefs import Allocatable
from nodeagent.runtime.port import Image

MEMORY_EVICTION = 100 * 1024 * 1024  # R9: memory.available
DISK_EVICTION, INODE_EVICTION = 0.10, 0.05  # R9: nodefs
PID_RESERVE = 1000
IMAGES_SHOWN = 50  # G11
RUNTIME_GRACE = 30 * SECOND  # how long the runtime may be away before the host is not ready
PRESSURE_HELD = 300 * SECOND  # R10: how long a pressure is told after it was last there
CGROUP_LABEL = "mesh/cgroup-version"


@dataclass(frozen=True, slots=True)
class Vitals:
    """One reading of the host."""

    cpus: int
    memory: int
    memory_available: int
    disk: int
    disk_available: int
    inodes: int
    inodes_available: int
    pids: int
    pids_limit: int


def read_vitals(root: Path) -> Vitals:
    """Reads them; `root` is on the filesystem whose space counts."""
    memory = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        memory[name] = int(rest.split()[0]) * 1024
    where = next(p for p in (root, *root.parents) if p.exists())
    disk = os.statvfs(where)
    return Vitals(
        cpus=len(os.sched_getaffinity(0)),
        memory=memory["MemTotal"],
        memory_available=memory.get("MemAvailable", memory["MemFree"]),
        disk=disk.f_blocks * disk.f_frsize,
        disk_available=disk.f_bavail * disk.f_frsize,
        inodes=disk.f_files,
        inodes_available=disk.f_favail,
        pids=int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2]),
        pids_limit=int(Path("/proc/sys/kernel/pid_max").read_text()),
    )


class Machine:
    """One host; remembers when its conditions last changed. `runtime_version` as in "podman://4.3.1"."""

    def __init__(self, config: AgentConfig, runtime_version: str = "") -> None:
        self._config = config
        self._info = _info(runtime_version)
        self._changed: dict[str, tuple[str, int]] = {}  # condition: its status, and since when
        self._pressed: dict[
            str, tuple[int, tuple[str, bool, str, str]]
        ] = {}  # when it was last there, and what was told
        self.images: list[Image] = []

    def report(self, vitals: Vitals, now: int, *, runtime_away_since: int = 0, trouble: str = "") -> NodeReport:
        """What is said now; equal as long as nothing but usage changed. `trouble`: why no pod can be run, in words."""
        config = self._config
        status = NodeStatus(
            capacity=capacity(vitals, config), allocatable=allocatable(vitals, config),
            addresses=[
                NodeAddress(type="InternalIP", address=config.node_ip),
                NodeAddress(type="Hostname", address=config.node_name),
            ],
            node_info=self._info,
        )  # fmt: skip
        away = runtime_away_since and now - runtime_away_since > RUNTIME_GRACE
        why = "the container runtime does not answer" if away else trouble
        status.conditions.extend(
            self._condition(now, *wanted) for wanted in (*self._held(vitals, now), _readiness(why))
        )
        shown = sorted(self.images, key=lambda i: (-i.size, i.id))[:IMAGES_SHOWN]
        status.images.extend(ContainerImage(names=i.names, size_bytes=i.size) for i in shown)
        return NodeReport(status=status, labels=labels(config.node_name))

    def _held(self, vitals: Vitals, now: int) -> list[tuple[str, bool, str, str]]:
        """Pressures as they are, and those that were there until a moment ago (R10)."""
        told = []
        for pressure in pressures(vitals):
            if pressure[1]:
                self._pressed[pressure[0]] = (now, pressure)
            at, was = self._pressed.get(pressure[0], (0, pressure))
            told.append(was if at and now - at < PRESSURE_HELD else pressure)
        return told

    def _condition(self, now: int, name: str, true: bool, reason: str, message: str) -> NodeCondition:
        status = "True" if true else "False"
        known = self._changed.get(name)
        if known is None or known[0] != status:
            known = self._changed[name] = (status, now)
        since = to_timestamp(known[1] // SECOND * SECOND)
        return NodeCondition(type=name, status=status, reason=reason, message=message, last_transition_time=since)


def capacity(vitals: Vitals, config: AgentConfig) -> dict[str, str]:
    """All of the host."""
    return {
        "cpu": str(vitals.cpus),
        "memory": f"{vitals.memory // 1024}Ki",
        "ephemeral-storage": f"{vitals.disk // 1024}Ki",
        "pods": str(config.max_pods),
    }


def allocatable(vitals: Vitals, config: AgentConfig) -> dict[str, str]:
    """Capacity without reservations and without what eviction would guard (R8)."""
    cpu = vitals.cpus * 1000 - quantity.amount("cpu", config.reserved_cpu)
    memory = vitals.memory - quantity.amount("memory", config.reserved_memory) - MEMORY_EVICTION
    return {
        "cpu": f"{max(cpu, 0)}m" if cpu % 1000 else str(max(cpu, 0) // 1000),
        "memory": f"{max(memory, 0) // 1024}Ki",
        "ephemeral-storage": f"{int(vitals.disk * (1 - DISK_EVICTION)) // 1024}Ki",
        "pods": str(config.max_pods),
    }


def amounts(vitals: Vitals, config: AgentConfig) -> Allocatable:
    """What is allocatable, in numbers."""
    texts = allocatable(vitals, config)
    cpu, memory, storage = (quantity.amount(name, texts[name]) for name in ("cpu", "memory", "ephemeral-storage"))
    return Allocatable(cpu, memory, storage)


def pressures(vitals: Vitals) -> list[tuple[str, bool, str, str]]:
    """MemoryPressure, DiskPressure, PIDPressure: type, whether, reason, message."""
    memory = vitals.memory_available < MEMORY_EVICTION
    disk = vitals.disk_available < vitals.disk * DISK_EVICTION
    inodes = bool(vitals.inodes) and vitals.inodes_available < vitals.inodes * INODE_EVICTION
    pids = vitals.pids_limit - vitals.pids < PID_RESERVE
    return [
        _pressure("MemoryPressure", memory, "InsufficientMemory", "SufficientMemory", "memory available"),
        _pressure("DiskPressure", disk or inodes, "DiskPressure", "NoDiskPressure", "disk space or inodes left"),
        _pressure("PIDPressure", pids, "InsufficientPID", "SufficientPID", "PID available"),
    ]


def _pressure(name: str, true: bool, bad: str, good: str, what: str) -> tuple[str, bool, str, str]:
    message = f"agent has insufficient {what}" if true else f"agent has sufficient {what}"
    return name, true, f"AgentHas{bad}" if true else f"AgentHas{good}", message


def _readiness(why: str) -> tuple[str, bool, str, str]:
    return ("Ready", False, "AgentNotReady", why) if why else ("Ready", True, "AgentReady", "agent is ready")


def labels(node_name: str) -> dict[str, str]:
    """The well-known ones (G11), and which cgroup version the host runs."""
    return {
        "kubernetes.io/hostname": node_name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture(),
        CGROUP_LABEL: cgroup_version(),
    }


def architecture() -> str:
    """As Kubernetes spells it."""
    machine = platform.machine()
    return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(machine, machine)


def cgroup_version() -> str:
    """ "v2" where the unified hierarchy is the only one, else "v1"."""
    return "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1"


def _info(runtime_version: str) -> NodeSystemInfo:
    try:
        release = version("mesh-containers")
    except PackageNotFoundError:
        release = "unknown"
    try:
        os_image = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        os_image = "Linux"
    return NodeSystemInfo(
        machine_id=_first("/etc/machine-id"), system_uuid=_first("/sys/class/dmi/id/product_uuid"),
        boot_id=_first("/proc/sys/kernel/random/boot_id"), kernel_version=platform.release(), os_image=os_image,
        container_runtime_version=runtime_version, kubelet_version=f"mesh {release}",
        kube_proxy_version=f"mesh {release}", operating_system="linux", architecture=architecture(),
    )  # fmt: skip


def _first(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
