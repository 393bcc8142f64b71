"""What is said of the host: capacity, allocatable, conditions, addresses, what it is made of (R8, R9, G11).

Rule: cheap enough for every ten seconds: never a call of the container runtime.
"""

import platform
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mesh.model import quantity
from mesh.model.times import SECOND, to_timestamp
from mesh.v1.core_pb2 import ContainerImage, NodeAddress, NodeCondition, NodeStatus, NodeSystemInfo
from mesh.v1.node_pb2 import NodeReport
from nodeagent.config import AgentConfig
from nodeagent.fieldrefs import Allocatable
from nodeagent.pods.abilities import Abilities
from nodeagent.pressure import Gauge
from nodeagent.runtime import syscalls
from nodeagent.runtime.port import Image
from nodeagent.vitals import Vitals

IMAGES_SHOWN = 50  # G11
RUNTIME_GRACE = 30 * SECOND  # how long the runtime may be away before the host is not ready
CGROUP_LABEL = "mesh/cgroup-version"


class Machine:
    """One host; remembers when its conditions last changed. `runtime_version` as in "podman://4.3.1"; `gauge` says
    which pressures there are."""

    def __init__(self, config: AgentConfig, runtime_version: str = "", gauge: Gauge | None = None) -> None:
        self._config = config
        self._gauge = gauge or Gauge(config.eviction)
        self._info = _info(runtime_version)
        self._changed: dict[str, tuple[str, int]] = {}  # condition: its status, and since when
        self.images: list[Image] = []
        self.installation = ""  # see installation.py
        self.removed_volumes: list[str] = []  # of those that are to go, by name

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
        if config.metrics_address is not None:
            status.daemon_endpoints.kubelet_endpoint.port = config.metrics_address[1]
        away = runtime_away_since and now - runtime_away_since > RUNTIME_GRACE
        why = "the container runtime does not answer" if away else trouble
        status.conditions.extend(
            self._condition(now, *wanted)
            for wanted in (*pressures(self._gauge.look(vitals, now).conditions), _readiness(why))
        )
        shown = sorted(self.images, key=lambda i: (-i.size, i.id))[:IMAGES_SHOWN]
        status.images.extend(ContainerImage(names=i.names, size_bytes=i.size) for i in shown)
        return NodeReport(
            status=status, labels=labels(config.node_name), removed_volumes=self.removed_volumes,
            installation=self.installation,
        )  # fmt: skip

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
    memory = vitals.memory - quantity.amount("memory", config.reserved_memory)
    memory -= config.eviction.guarded("memory.available", vitals.memory)
    disk = vitals.disk - config.eviction.guarded("nodefs.available", vitals.disk)
    return {
        "cpu": f"{max(cpu, 0)}m" if cpu % 1000 else str(max(cpu, 0) // 1000),
        "memory": f"{max(memory, 0) // 1024}Ki",
        "ephemeral-storage": f"{max(disk, 0) // 1024}Ki",
        "pods": str(config.max_pods),
    }


def amounts(vitals: Vitals, config: AgentConfig) -> Allocatable:
    """What is allocatable, in numbers."""
    texts = allocatable(vitals, config)
    cpu, memory, storage = (quantity.amount(name, texts[name]) for name in ("cpu", "memory", "ephemeral-storage"))
    return Allocatable(cpu, memory, storage)


def pressures(conditions: Collection[str]) -> list[tuple[str, bool, str, str]]:
    """MemoryPressure, DiskPressure, PIDPressure: type, whether, reason, message."""
    return [
        _pressure("MemoryPressure", conditions, "InsufficientMemory", "SufficientMemory", "memory available"),
        _pressure("DiskPressure", conditions, "DiskPressure", "NoDiskPressure", "disk space or inodes left"),
        _pressure("PIDPressure", conditions, "InsufficientPID", "SufficientPID", "PID available"),
    ]


def _pressure(name: str, conditions: Collection[str], bad: str, good: str, what: str) -> tuple[str, bool, str, str]:
    true = name in conditions
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


def abilities(config: AgentConfig) -> Abilities:
    """What of a pod's wishes this kernel can enforce, and its owner allows (E11)."""
    app_armor = _first("/sys/module/apparmor/parameters/enabled") == "Y"
    selinux = Path("/sys/fs/selinux/enforce").exists()
    one_user = syscalls.last_group() == 0
    return Abilities(app_armor, selinux, config.allowed_unsafe_sysctls, config.control_groups == "own", one_user)


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
