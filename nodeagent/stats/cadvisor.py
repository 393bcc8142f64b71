"""/metrics/cadvisor and /metrics/resource: pods and containers, by cAdvisor's and the kubelet's names (G8).

Rule: pure. A figure that was not measured is left out. Names, labels and units are theirs, so that dashboards and rules
made for a kubelet work here.
"""

from collections.abc import Callable, Iterable, Sequence

from mesh.exposition.text import Family, Page, labels
from mesh.model.times import SECOND
from nodeagent.stats.subjects import Subject, memory_limit
from nodeagent.stats.summary import POD_INTERFACE
from nodeagent.stats.values import Cpu, Disk, Group, Interface, Memory, Sample

Row = tuple[str, Group]  # labels, measured

_CPU: Sequence[tuple[Family, Callable[[Cpu], float], str]] = (
    (Family("container_cpu_usage_seconds_total", "counter", "CPU time consumed."),
     lambda c: c.usage / SECOND, ',cpu="total"'),
    (Family("container_cpu_user_seconds_total", "counter", "CPU time consumed in user mode."),
     lambda c: c.user / SECOND, ""),
    (Family("container_cpu_system_seconds_total", "counter", "CPU time consumed by the kernel."),
     lambda c: c.system / SECOND, ""),
    (Family("container_cpu_cfs_periods_total", "counter", "Periods of the CPU limit that have passed."),
     lambda c: c.periods, ""),
    (Family("container_cpu_cfs_throttled_periods_total", "counter", "Periods in which the CPU limit was hit."),
     lambda c: c.throttled_periods, ""),
    (Family("container_cpu_cfs_throttled_seconds_total", "counter", "Time spent waiting for the CPU limit."),
     lambda c: c.throttled / SECOND, ""),
)  # fmt: skip
_MEMORY: Sequence[tuple[Family, Callable[[Memory], float]]] = (
    (Family("container_memory_usage_bytes", "gauge", "Memory in use, with what the kernel can take back."),
     lambda m: m.usage),
    (Family("container_memory_working_set_bytes", "gauge", "Memory in use, without inactive file cache."),
     lambda m: m.working_set),
    (Family("container_memory_rss", "gauge", "Anonymous memory in bytes."), lambda m: m.rss),
    (Family("container_memory_cache", "gauge", "Page cache in bytes."), lambda m: m.cache),
    (Family("container_memory_mapped_file", "gauge", "Mapped files in bytes."), lambda m: m.mapped),
    (Family("container_memory_swap", "gauge", "Swap in bytes."), lambda m: m.swap),
    (Family("container_memory_failcnt", "counter", "Times that the memory limit was hit."), lambda m: m.failures),
    (Family("container_oom_events_total", "counter", "Processes killed for the memory limit."), lambda m: m.oom_kills),
)  # fmt: skip
_MOST = Family("container_memory_max_usage_bytes", "gauge", "The most memory that was in use.")
_FAULTS = Family("container_memory_failures_total", "counter", "Page faults.")
_FAULT_KINDS: Sequence[tuple[str, Callable[[Memory], float]]] = (
    ("pgfault", lambda m: m.faults), ("pgmajfault", lambda m: m.major_faults),
)  # fmt: skip
_DISK: Sequence[tuple[Family, Callable[[Disk], float]]] = (
    (Family("container_fs_reads_bytes_total", "counter", "Bytes read from devices."), lambda d: d.read_bytes),
    (Family("container_fs_writes_bytes_total", "counter", "Bytes written to devices."), lambda d: d.written_bytes),
    (Family("container_fs_reads_total", "counter", "Reads from devices."), lambda d: d.reads),
    (Family("container_fs_writes_total", "counter", "Writes to devices."), lambda d: d.writes),
)  # fmt: skip
_NET: Sequence[tuple[Family, Callable[[Interface], float]]] = tuple(
    (Family(f"container_network_{what}_total", "counter", f"{words} of the pod's network."), get)
    for what, words, get in (
        ("receive_bytes", "Bytes received", lambda i: i.rx_bytes),
        ("receive_packets", "Packets received", lambda i: i.rx_packets),
        ("receive_errors", "Errors on receiving", lambda i: i.rx_errors),
        ("receive_packets_dropped", "Packets dropped on receiving", lambda i: i.rx_dropped),
        ("transmit_bytes", "Bytes sent", lambda i: i.tx_bytes),
        ("transmit_packets", "Packets sent", lambda i: i.tx_packets),
        ("transmit_errors", "Errors on sending", lambda i: i.tx_errors),
        ("transmit_packets_dropped", "Packets dropped on sending", lambda i: i.tx_dropped),
    )
)  # fmt: skip
_PRESSURE = {
    (what, kind): Family(f"container_pressure_{what}_{kind}_seconds_total", "counter", f"Time {who} waited ({what}).")
    for what in ("cpu", "memory", "io") for kind, who in (("waiting", "some task"), ("stalled", "every task"))
}  # fmt: skip
_THREADS = Family("container_threads", "gauge", "Threads.")
_PROCESSES = Family("container_processes", "gauge", "Processes.")
_STARTED = Family("container_start_time_seconds", "gauge", "When the container was started.")
_SEEN = Family("container_last_seen", "gauge", "When this was measured.")
_LIMIT_MEMORY = Family("container_spec_memory_limit_bytes", "gauge", "The memory limit; 0: none.")
_LIMIT_CPU = Family("container_spec_cpu_quota", "gauge", "The CPU limit, in microseconds of each period.")
_PERIOD = Family("container_spec_cpu_period", "gauge", "The period of the CPU limit, in microseconds.")
_FS_USED = Family("container_fs_usage_bytes", "gauge", "Bytes that the container has written to its own layer.")
_FS_INODES = Family("container_fs_inodes_total", "gauge", "Files that the container has in its own layer.")
_ERROR = Family("container_scrape_error", "gauge", "1 when a container could not be measured.")
_CORES = Family("machine_cpu_cores", "gauge", "Processors of the host.")
_MEMORY_BYTES = Family("machine_memory_bytes", "gauge", "Memory of the host.")
_SWAP_BYTES = Family("machine_swap_bytes", "gauge", "Swap of the host.")
_CPU_PERIOD = 100_000


def cadvisor(page: Page, sample: Sample, subjects: Sequence[Subject], roots: dict[str, tuple[int, int]]) -> None:
    """The host's groups; `roots` are bytes and inodes of writable layers, by container id."""
    running = [c for s in subjects for c in s.containers]
    rows = [(s.labels, sample.groups.get(s.cgroup, Group())) for s in subjects if s.since]
    rows += [(c.labels, sample.groups.get(c.cgroup, Group())) for c in running]
    _groups(page, rows)
    page.put(_STARTED, [(c.labels, c.started_at / SECOND) for c in running if c.started_at])
    page.put(_SEEN, [(of, sample.at // SECOND) for of, _ in rows])
    page.put(_LIMIT_MEMORY, [(c.labels, c.memory_limit) for c in running])
    page.put(_LIMIT_MEMORY, [(s.labels, memory_limit(s)) for s in subjects if s.since])
    page.put(_LIMIT_CPU, [(c.labels, c.cpu_limit * _CPU_PERIOD // 1000) for c in running if c.cpu_limit])
    page.put(_PERIOD, [(c.labels, _CPU_PERIOD) for c in running if c.cpu_limit])
    page.put(_FS_USED, [(c.labels, roots[c.id][0]) for c in running if c.id in roots])
    page.put(_FS_INODES, [(c.labels, roots[c.id][1]) for c in running if c.id in roots])
    _network(page, sample, subjects)
    page.one(_ERROR, int(any(not sample.groups.get(c.cgroup, Group()).cpu for c in running)))
    _machine(page, sample)


def _groups(page: Page, rows: Sequence[Row]) -> None:
    cpus = [(of, g.cpu) for of, g in rows if g.cpu]
    for family, cpu_of, more in _CPU:
        page.put(family, [(of + more, cpu_of(c)) for of, c in cpus])
    memories = [(of, g.memory) for of, g in rows if g.memory]
    for family, memory_of in _MEMORY:
        page.put(family, [(of, memory_of(m)) for of, m in memories])
    page.put(_MOST, [(of, m.most) for of, m in memories if m.most is not None])
    for kind, faults_of in _FAULT_KINDS:
        page.put(_FAULTS, [(f'{of},failure_type="{kind}",scope="hierarchy"', faults_of(m)) for of, m in memories])
    disks = [(f'{of},device="{device}"', disk) for of, g in rows for device, disk in g.disks.items()]
    for family, disk_of in _DISK:
        page.put(family, [(of, disk_of(d)) for of, d in disks])
    page.put(_THREADS, [(of, g.threads) for of, g in rows if g.threads is not None])
    page.put(_PROCESSES, [(of, g.processes) for of, g in rows if g.processes is not None])
    for (what, kind), family in _PRESSURE.items():
        waits = [(of, g.pressure[what]) for of, g in rows if what in g.pressure]
        page.put(family, [(of, (p.some if kind == "waiting" else p.full) / SECOND) for of, p in waits])


def _network(page: Page, sample: Sample, subjects: Iterable[Subject]) -> None:
    ends = [(s, sample.host.interfaces.get(s.link)) for s in subjects if s.link]
    rows = [(f'{s.labels},interface="{POD_INTERFACE}"', end.other_end()) for s, end in ends if end]
    for family, of_interface in _NET:
        page.put(family, [(of, of_interface(i)) for of, i in rows])


def _machine(page: Page, sample: Sample) -> None:
    host = sample.host
    root = labels({"container": "", "id": "/", "image": "", "name": "", "namespace": "", "pod": ""})
    page.one(_CPU[0][0], host.cpu_used / SECOND, root + ',cpu="total"')
    page.one(_MEMORY[0][0], host.memory_used, root)
    page.one(_MEMORY[1][0], host.working_set, root)
    page.one(_CORES, len(host.cpus))
    page.one(_MEMORY_BYTES, host.memory.get("MemTotal", 0))
    page.one(_SWAP_BYTES, host.memory.get("SwapTotal", 0))


# ---- /metrics/resource

_RESOURCES: Sequence[tuple[str, str, str, Callable[[Group], float | None]]] = (
    ("cpu_usage_seconds_total", "counter", "CPU time consumed.", lambda g: g.cpu.usage / SECOND if g.cpu else None),
    ("memory_working_set_bytes", "gauge", "Memory in use.", lambda g: g.memory.working_set if g.memory else None),
    ("swap_usage_bytes", "gauge", "Swap in use.", lambda g: g.memory.swap if g.memory else None),
)


def resource(page: Page, sample: Sample, subjects: Sequence[Subject]) -> None:
    """The kubelet's short list, which is enough for schedulers and autoscalers (G8)."""
    host = sample.host
    page.one(Family("node_cpu_usage_seconds_total", "counter", "CPU time consumed."), host.cpu_used / SECOND)
    page.one(Family("node_memory_working_set_bytes", "gauge", "Memory in use."), host.working_set)
    swap = host.memory.get("SwapTotal", 0) - host.memory.get("SwapFree", 0)
    page.one(Family("node_swap_usage_bytes", "gauge", "Swap in use."), swap)
    running = [c for s in subjects for c in s.containers]
    for name, kind, words, figure in _RESOURCES:
        pods = [(s.short, figure(sample.groups.get(s.cgroup, Group()))) for s in subjects]
        page.put(Family(f"pod_{name}", kind, words), [(of, v) for of, v in pods if v is not None])
        containers = [(c.short, figure(sample.groups.get(c.cgroup, Group()))) for c in running]
        page.put(Family(f"container_{name}", kind, words), [(of, v) for of, v in containers if v is not None])
    page.put(_STARTED, [(c.short, c.started_at / SECOND) for c in running if c.started_at])
    missing = any(sample.groups.get(c.cgroup, Group()).cpu is None for c in running)
    page.one(Family("resource_scrape_error", "gauge", "1 when a container could not be measured."), int(missing))
