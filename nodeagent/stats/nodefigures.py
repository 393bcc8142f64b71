"""/metrics/host: the host itself, by the node exporter's names.

Rule: pure. Names, labels and units are theirs.
"""

from collections.abc import Callable, Sequence

from mesh.exposition.text import Family, Page, labels
from mesh.model.times import SECOND
from nodeagent.stats.values import Disk, Filesystem, HostReading, Interface

_CPU = Family("node_cpu_seconds_total", "counter", "Seconds that processors spent in each mode.")
_DISKS: Sequence[tuple[Family, Callable[[Disk], float]]] = (
    (Family("node_disk_read_bytes_total", "counter", "Bytes read."), lambda d: d.read_bytes),
    (Family("node_disk_written_bytes_total", "counter", "Bytes written."), lambda d: d.written_bytes),
    (Family("node_disk_reads_completed_total", "counter", "Reads."), lambda d: d.reads),
    (Family("node_disk_writes_completed_total", "counter", "Writes."), lambda d: d.writes),
    (Family("node_disk_io_time_seconds_total", "counter", "Seconds with something to do."), lambda d: d.busy / SECOND),
)
_NET: Sequence[tuple[Family, Callable[[Interface], float]]] = tuple(
    (Family(f"node_network_{way}_{what}_total", "counter", f"{words}, {way}."), get)
    for way, what, words, get in (
        ("receive", "bytes", "Bytes", lambda i: i.rx_bytes), ("receive", "packets", "Packets", lambda i: i.rx_packets),
        ("receive", "errs", "Errors", lambda i: i.rx_errors), ("receive", "drop", "Drops", lambda i: i.rx_dropped),
        ("transmit", "bytes", "Bytes", lambda i: i.tx_bytes),
        ("transmit", "packets", "Packets", lambda i: i.tx_packets),
        ("transmit", "errs", "Errors", lambda i: i.tx_errors), ("transmit", "drop", "Drops", lambda i: i.tx_dropped),
    )
)  # fmt: skip
_FILESYSTEMS: Sequence[tuple[Family, Callable[[Filesystem], float]]] = (
    (Family("node_filesystem_size_bytes", "gauge", "Size."), lambda f: f.size),
    (Family("node_filesystem_free_bytes", "gauge", "Free."), lambda f: f.free),
    (Family("node_filesystem_avail_bytes", "gauge", "Free to all users."), lambda f: f.available),
    (Family("node_filesystem_files", "gauge", "Inodes."), lambda f: f.inodes),
    (Family("node_filesystem_files_free", "gauge", "Free inodes."), lambda f: f.inodes_free),
)
_PLAIN: Sequence[tuple[Family, Callable[[HostReading], float]]] = (
    (Family("node_boot_time_seconds", "gauge", "When the host was started."), lambda h: h.boot_time),
    (Family("node_context_switches_total", "counter", "Switches of tasks."), lambda h: h.context_switches),
    (Family("node_forks_total", "counter", "Processes begun."), lambda h: h.forks),
    (Family("node_procs_running", "gauge", "Tasks that run or could."), lambda h: h.running),
    (Family("node_procs_blocked", "gauge", "Tasks that wait for a device."), lambda h: h.blocked),
    (Family("node_load1", "gauge", "Load of a minute."), lambda h: h.load[0]),
    (Family("node_load5", "gauge", "Load of 5 minutes."), lambda h: h.load[1]),
    (Family("node_load15", "gauge", "Load of 15 minutes."), lambda h: h.load[2]),
    (Family("node_processes_pids", "gauge", "Tasks."), lambda h: h.processes),
    (Family("node_processes_max_processes", "gauge", "Most tasks that there can be."), lambda h: h.pid_limit),
    (Family("node_vmstat_pgfault", "counter", "Page faults."), lambda h: h.faults),
    (Family("node_vmstat_pgmajfault", "counter", "Page faults that read from a disk."), lambda h: h.major_faults),
)
_MANGLE = str.maketrans({"(": "_", ")": ""})


def host(page: Page, reading: HostReading, ours: frozenset[str] = frozenset()) -> None:
    """All of it; `ours` are interfaces that are pods' and are told with them."""
    for mode in next(iter(reading.cpus.values()), {}):
        rows = [(f'cpu="{cpu}",mode="{mode}"', modes[mode] / SECOND) for cpu, modes in reading.cpus.items()]
        page.put(_CPU, rows)
    for family, figure in _PLAIN:
        page.one(family, figure(reading))
    for name, amount in reading.memory.items():
        unit = "" if name.startswith("HugePages_") else "_bytes"
        page.one(Family(f"node_memory_{name.translate(_MANGLE)}{unit}", "gauge", f"{name} of /proc/meminfo."), amount)
    interfaces = [(labels({"device": n}), i) for n, i in reading.interfaces.items() if n not in ours]
    for family, of_interface in _NET:
        page.put(family, [(of, of_interface(i)) for of, i in interfaces])
    disks = [(labels({"device": n}), d) for n, d in reading.disks.items()]
    for family, of_disk in _DISKS:
        page.put(family, [(of, of_disk(d)) for of, d in disks])
    places = [
        (labels({"device": f.device, "fstype": f.kind, "mountpoint": f.mountpoint}), f) for f in reading.filesystems
    ]
    for family, of_filesystem in _FILESYSTEMS:
        page.put(family, [(of, of_filesystem(f)) for of, f in places])
    _pressure(page, reading)


def _pressure(page: Page, reading: HostReading) -> None:
    for what, pressure in reading.pressure.items():
        name, words = f"node_pressure_{what}", f"Seconds that {{}} waited ({what})."
        page.one(Family(f"{name}_waiting_seconds_total", "counter", words.format("some task")), pressure.some / SECOND)
        if what != "cpu":  # which never stalls all of a host
            family = Family(f"{name}_stalled_seconds_total", "counter", words.format("every task"))
            page.one(family, pressure.full / SECOND)
