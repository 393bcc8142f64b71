"""What is measured: values, in bytes, nanoseconds and counts.

Rule: pure; a figure that a host does not give is None, so that nobody takes "not known" for 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

Size = tuple[int, int]  # bytes, inodes


@dataclass(frozen=True, slots=True)
class Pressure:
    """PSI: nanoseconds that some, and that all, tasks waited."""

    some: int
    full: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one control group and all below it."""

    usage: int
    working_set: int
    rss: int
    cache: int = 0
    mapped: int = 0
    swap: int = 0
    most: int | None = None
    faults: int = 0
    major_faults: int = 0
    failures: int = 0  # times that the limit was hit
    oom_kills: int = 0


@dataclass(frozen=True, slots=True)
class Cpu:
    """Nanoseconds since the group was made."""

    usage: int
    user: int = 0
    system: int = 0
    periods: int = 0  # of the quota
    throttled_periods: int = 0
    throttled: int = 0


@dataclass(frozen=True, slots=True)
class Disk:
    """What one group, or the host, read and wrote on one device."""

    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0
    writes: int = 0
    busy: int = 0  # nanoseconds; of the host's devices only


@dataclass(frozen=True, slots=True)
class Group:
    """One control group; parts that could not be read are None."""

    cpu: Cpu | None = None
    memory: Memory | None = None
    disks: Mapping[str, Disk] = field(default_factory=dict)  # by "8:0"
    threads: int | None = None
    processes: int | None = None
    pressure: Mapping[str, Pressure] = field(default_factory=dict)  # by "cpu", "memory", "io"; cgroup v2


@dataclass(frozen=True, slots=True)
class Interface:
    """Counters of one network interface."""

    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0

    def other_end(self) -> "Interface":
        """The same traffic as the peer of a veth pair counts it."""
        return Interface(
            self.tx_bytes, self.tx_packets, self.tx_errors, self.tx_dropped,
            self.rx_bytes, self.rx_packets, self.rx_errors, self.rx_dropped,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filesystem:
    """One, in bytes and inodes."""

    device: str
    kind: str
    mountpoint: str
    size: int
    free: int
    available: int
    inodes: int
    inodes_free: int


@dataclass(frozen=True, slots=True)
class HostReading:
    """The host at one moment; `cpus` in nanoseconds by cpu ("0") and mode ("user")."""

    cpus: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    boot_time: int = 0  # seconds since the epoch
    context_switches: int = 0
    forks: int = 0
    running: int = 0
    blocked: int = 0
    load: tuple[float, float, float] = (0.0, 0.0, 0.0)
    processes: int = 0
    pid_limit: int = 0
    memory: Mapping[str, int] = field(default_factory=dict)  # bytes, by /proc/meminfo's names
    faults: int = 0
    major_faults: int = 0
    interfaces: Mapping[str, Interface] = field(default_factory=dict)
    disks: Mapping[str, Disk] = field(default_factory=dict)  # by name
    pressure: Mapping[str, Pressure] = field(default_factory=dict)
    filesystems: tuple[Filesystem, ...] = ()

    @property
    def cpu_used(self) -> int:
        """Nanoseconds that the host's processors worked."""
        return sum(ns for modes in self.cpus.values() for mode, ns in modes.items() if mode not in ("idle", "iowait"))

    @property
    def memory_used(self) -> int:
        """All but what is free."""
        return self.memory.get("MemTotal", 0) - self.memory.get("MemFree", 0)

    @property
    def working_set(self) -> int:
        """Used, without what the kernel can take back at once."""
        return max(self.memory_used - self.memory.get("Inactive(file)", 0), 0)


@dataclass(frozen=True, slots=True)
class Sample:
    """Everything at one moment; `at` in nanoseconds since the epoch. Groups by their path."""

    at: int
    host: HostReading
    groups: Mapping[str, Group] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Held:
    """What one pod holds; by container, or by volume."""

    roots: Mapping[str, Size] = field(default_factory=dict)
    logs: Mapping[str, Size] = field(default_factory=dict)
    volumes: Mapping[str, Size] = field(default_factory=dict)

    @property
    def total(self) -> Size:
        """All of it."""
        every = [*self.roots.values(), *self.logs.values(), *self.volumes.values()]
        return sum(s[0] for s in every), sum(s[1] for s in every)
