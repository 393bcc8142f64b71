"""What the files of a control group say, of version 1 and of version 2: texts in, values out.

Rule: pure; a file that is missing or says something else leaves its part out. Version 1 counts a group with all below
it where `hierarchical_` or `total_` figures are, as version 2 always does.
"""

from collections.abc import Mapping

from nodeagent.stats.values import Cpu, Disk, Group, Memory, Pressure

TICK = 10_000_000  # nanoseconds: USER_HZ is 100 wherever Linux runs containers
Texts = Mapping[str, str]  # by file, of version 1 with its controller: "memory/memory.stat"

QUICK_1 = ("cpuacct/cpuacct.usage", "memory/memory.usage_in_bytes", "memory/memory.stat")
FILES_1 = (
    *QUICK_1, "cpuacct/cpuacct.stat", "cpu/cpu.stat", "memory/memory.max_usage_in_bytes", "memory/memory.failcnt",
    "memory/memory.oom_control", "pids/pids.current", "memory/cgroup.procs",
    "blkio/blkio.throttle.io_service_bytes_recursive", "blkio/blkio.throttle.io_serviced_recursive",
)  # fmt: skip
QUICK_2 = ("cpu.stat", "memory.current", "memory.stat")
FILES_2 = (
    *QUICK_2, "memory.peak", "memory.events", "memory.swap.current", "pids.current", "cgroup.procs", "io.stat",
    "cpu.pressure", "memory.pressure", "io.pressure",
)  # fmt: skip


def version_1(texts: Texts) -> Group:
    """A group of version 1."""
    usage = _number(texts.get("cpuacct/cpuacct.usage"))
    split, quota = pairs(texts.get("cpuacct/cpuacct.stat", "")), pairs(texts.get("cpu/cpu.stat", ""))
    return Group(
        cpu=None if usage is None else Cpu(
            usage, split.get("user", 0) * TICK, split.get("system", 0) * TICK,
            quota.get("nr_periods", 0), quota.get("nr_throttled", 0), quota.get("throttled_time", 0),
        ),
        memory=_memory_1(texts),
        disks=_disks_1(texts),
        threads=_number(texts.get("pids/pids.current")),
        processes=_lines(texts.get("memory/cgroup.procs")),
    )  # fmt: skip


def _memory_1(texts: Texts) -> Memory | None:
    usage, stat = _number(texts.get("memory/memory.usage_in_bytes")), pairs(texts.get("memory/memory.stat", ""))
    if usage is None:
        return None
    return Memory(
        usage, max(usage - stat.get("total_inactive_file", 0), 0), stat.get("total_rss", 0),
        stat.get("total_cache", 0), stat.get("total_mapped_file", 0), stat.get("total_swap", 0),
        _number(texts.get("memory/memory.max_usage_in_bytes")),
        stat.get("total_pgfault", 0), stat.get("total_pgmajfault", 0),
        _number(texts.get("memory/memory.failcnt")) or 0,
        pairs(texts.get("memory/memory.oom_control", "")).get("oom_kill", 0),
    )  # fmt: skip


def _disks_1(texts: Texts) -> dict[str, Disk]:
    """Lines as "8:0 Read 4096"."""
    found: dict[str, dict[str, int]] = {}
    for file, what in (("io_service_bytes", "bytes"), ("io_serviced", "count")):
        for line in texts.get(f"blkio/blkio.throttle.{file}_recursive", "").splitlines():
            words = line.split()
            if len(words) == 3 and words[1] in ("Read", "Write") and words[2].isdecimal():
                found.setdefault(words[0], {})[words[1] + what] = int(words[2])
    return {
        device: Disk(of.get("Readbytes", 0), of.get("Writebytes", 0), of.get("Readcount", 0), of.get("Writecount", 0))
        for device, of in found.items()
    }


def version_2(texts: Texts) -> Group:
    """A group of version 2."""
    stat = pairs(texts.get("cpu.stat", ""))
    return Group(
        cpu=None if "usage_usec" not in stat else Cpu(
            stat["usage_usec"] * 1000, stat.get("user_usec", 0) * 1000, stat.get("system_usec", 0) * 1000,
            stat.get("nr_periods", 0), stat.get("nr_throttled", 0), stat.get("throttled_usec", 0) * 1000,
        ),
        memory=_memory_2(texts),
        disks=_disks_2(texts.get("io.stat", "")),
        threads=_number(texts.get("pids.current")),
        processes=_lines(texts.get("cgroup.procs")),
        pressure={what: p for what in ("cpu", "memory", "io") if (p := pressure(texts.get(f"{what}.pressure", "")))},
    )  # fmt: skip


def _memory_2(texts: Texts) -> Memory | None:
    usage, stat = _number(texts.get("memory.current")), pairs(texts.get("memory.stat", ""))
    if usage is None:
        return None
    events = pairs(texts.get("memory.events", ""))
    return Memory(
        usage, max(usage - stat.get("inactive_file", 0), 0), stat.get("anon", 0), stat.get("file", 0),
        stat.get("file_mapped", 0), _number(texts.get("memory.swap.current")) or 0,
        _number(texts.get("memory.peak")), stat.get("pgfault", 0), stat.get("pgmajfault", 0),
        events.get("max", 0), events.get("oom_kill", 0),
    )  # fmt: skip


def _disks_2(text: str) -> dict[str, Disk]:
    """Lines as "8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0"."""
    found = {}
    for line in text.splitlines():
        device, *words = line.split()
        of = {key: int(value) for key, _, value in (w.partition("=") for w in words) if value.isdecimal()}
        if of:
            found[device] = Disk(of.get("rbytes", 0), of.get("wbytes", 0), of.get("rios", 0), of.get("wios", 0))
    return found


def pressure(text: str) -> Pressure | None:
    """A PSI file, as "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234" (microseconds)."""
    found = {line.split(" ", 1)[0]: line.rpartition("total=")[2] for line in text.splitlines() if "total=" in line}
    if not found.get("some", "").isdecimal():
        return None
    return Pressure(int(found["some"]) * 1000, int(found.get("full") or 0) * 1000)


def pairs(text: str) -> dict[str, int]:
    """Lines of a name and a number."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if value.isdecimal():
            found[name] = int(value)
    return found


def _number(text: str | None) -> int | None:
    return int(text) if text and text.strip().isdecimal() else None


def _lines(text: str | None) -> int | None:
    return None if text is None else text.count("\n")
