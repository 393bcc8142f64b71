"""What procfs says of the host: texts in, values out.

Rule: pure; what is missing or odd counts as nothing, so that one strange line never hides the rest.
"""

from collections.abc import Iterable, Mapping

from nodeagent.stats.groupfiles import TICK, pairs, pressure
from nodeagent.stats.values import Disk, Filesystem, HostReading, Interface

FILES = (
    "stat", "loadavg", "meminfo", "vmstat", "net/dev", "diskstats", "sys/kernel/pid_max", "pressure/cpu",
    "pressure/memory", "pressure/io",
)  # fmt: skip
QUICK = ("stat", "meminfo", "net/dev", "diskstats")
_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_SECTOR = 512
_LOCAL = frozenset(("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "vfat", "overlay"))
_PASSING = ("loop", "ram", "zram", "dm-", "sr")  # devices that say nothing of a host's disks, or say it twice


def reading(texts: Mapping[str, str], filesystems: Iterable[Filesystem] = ()) -> HostReading:
    """The host, from the files of FILES."""
    stat, load = texts.get("stat", ""), texts.get("loadavg", "").split()
    counts, memory = pairs(stat), meminfo(texts.get("meminfo", ""))
    faults = pairs(texts.get("vmstat", ""))
    return HostReading(
        cpus=cpus(stat), boot_time=counts.get("btime", 0), context_switches=counts.get("ctxt", 0),
        forks=counts.get("processes", 0), running=counts.get("procs_running", 0),
        blocked=counts.get("procs_blocked", 0),
        load=(float(load[0]), float(load[1]), float(load[2])) if len(load) > 3 else (0.0, 0.0, 0.0),
        processes=int(load[3].partition("/")[2]) if len(load) > 3 else 0,
        pid_limit=int(texts.get("sys/kernel/pid_max", "0").strip() or 0),
        memory=memory, faults=faults.get("pgfault", 0), major_faults=faults.get("pgmajfault", 0),
        interfaces=interfaces(texts.get("net/dev", "")), disks=disks(texts.get("diskstats", "")),
        pressure={w: p for w in ("cpu", "memory", "io") if (p := pressure(texts.get(f"pressure/{w}", "")))},
        filesystems=tuple(filesystems),
    )  # fmt: skip


def cpus(text: str) -> dict[str, dict[str, int]]:
    """Nanoseconds by processor and mode, from /proc/stat; guests are part of user, as the kernel counts them."""
    found = {}
    for line in text.splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name != "cpu" and len(ticks) >= len(_MODES):
            found[name[3:]] = {mode: int(t) * TICK for mode, t in zip(_MODES, ticks, strict=False)}
    return found


def meminfo(text: str) -> dict[str, int]:
    """Bytes by name, from /proc/meminfo."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdecimal():
            found[name] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return found


def interfaces(text: str) -> dict[str, Interface]:
    """Counters by interface, from /proc/net/dev."""
    found = {}
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        n = rest.split()
        if len(n) >= 12:
            rx, tx = (int(n[0]), int(n[1]), int(n[2]), int(n[3])), (int(n[8]), int(n[9]), int(n[10]), int(n[11]))
            found[name.strip()] = Interface(*rx, *tx)
    return found


def disks(text: str) -> dict[str, Disk]:
    """Counters by whole device, from /proc/diskstats; partitions are part of theirs."""
    found: dict[str, Disk] = {}
    for line in text.splitlines():
        n = line.split()
        if len(n) < 14 or n[2].startswith(_PASSING) or any(_is_part(n[2], of) for of in found):
            continue
        busy = int(n[12]) * 1_000_000
        found[n[2]] = Disk(int(n[5]) * _SECTOR, int(n[9]) * _SECTOR, int(n[3]), int(n[7]), busy)
    return found


def _is_part(name: str, of: str) -> bool:
    rest = name.removeprefix(of)
    return rest != name and rest.removeprefix("p").isdecimal()


def mounts(text: str) -> list[tuple[str, str, str]]:
    """(device, kind, mountpoint) of local filesystems, each device once, where it was mounted first; from
    /proc/self/mountinfo."""
    found: dict[str, tuple[str, str, str]] = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        left, right = before.split(), after.split()
        if len(left) < 5 or len(right) < 2 or right[0] not in _LOCAL:
            continue
        if right[0] == "overlay" and left[4] != "/":  # containers' roots
            continue
        found.setdefault(left[2], (right[1], right[0], left[4].encode().decode("unicode_escape")))
    return list(found.values())
