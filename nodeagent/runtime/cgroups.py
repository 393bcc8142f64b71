"""Control groups of pods, under cgroup v1 (also hybrid) and v2: where they are, what they counted, their removal.

Rule: paths given are those of the cgroup namespace ("/mesh/host1/pod…"); what is not there counts as nothing.
"""

import contextlib
import os
import select
import time
from collections.abc import Mapping
from pathlib import Path

from nodeagent.runtime.port import Limits

ROOT = Path("/sys/fs/cgroup")
PERIOD = 100_000  # microseconds, of the cpu quota
NO_LIMIT = 1 << 63


def version(root: Path = ROOT) -> int:
    """2 when the unified hierarchy is the only one, else 1."""
    return 2 if (root / "cgroup.controllers").exists() else 1


def hierarchies(root: Path = ROOT) -> list[Path]:
    """Every mounted hierarchy of this host."""
    if version(root) == 2:
        return [root]
    return [d for d in root.iterdir() if (d / "cgroup.procs").exists()]


def stray_controllers(root: Path = ROOT) -> list[str]:
    """Controllers on v2 beside v1 ones: crun refuses to run while there are any; see `oci.preflight`."""
    listed = root / "unified" / "cgroup.controllers"
    return listed.read_text().split() if listed.exists() else []


def oom_kills(path: str, root: Path = ROOT) -> int:
    """How often the kernel killed a process of this cgroup for its memory limit."""
    place = root if version(root) == 2 else root / "memory"
    name = "memory.events" if version(root) == 2 else "memory.oom_control"
    try:
        text = (place / path.lstrip("/") / name).read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill ")), 0)


def working_set(path: str, root: Path = ROOT) -> int:
    """Bytes of memory in use in a cgroup and below it, without what the kernel can take back at once."""
    unified = version(root) == 2
    place = (root if unified else root / "memory") / path.lstrip("/")
    try:
        used = int((place / ("memory.current" if unified else "memory.usage_in_bytes")).read_text())
        lines = (place / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return 0
    name = "inactive_file " if unified else "total_inactive_file "
    return max(used - next((int(line.split()[1]) for line in lines if line.startswith(name)), 0), 0)


def processes(path: str, root: Path = ROOT) -> int:
    """How many processes and threads there are in a cgroup and below it."""
    place = root if version(root) == 2 else root / "pids"
    try:
        return int((place / path.lstrip("/") / "pids.current").read_text())
    except (OSError, ValueError):
        return 0


def make(path: str, root: Path = ROOT) -> None:
    """Makes a cgroup that can be given cpu and memory; one that is there stays. Raises OSError."""
    places = [root] if version(root) == 2 else [root / "cpu", root / "memory"]
    for place in places:
        (place / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
    if version(root) == 2:
        above = root
        for name in path.strip("/").split("/"):
            (above / "cgroup.subtree_control").write_text("+cpu +memory +pids")
            above /= name


def limit(path: str, limits: Limits, root: Path = ROOT) -> None:
    """Gives a cgroup other cpu shares, cpu quota and memory (0: none); raises OSError, or ValueError for a memory limit
    below what is in use, which would kill (L20)."""
    used = working_set(path, root)
    if limits.memory and used > limits.memory:
        raise ValueError(f"a memory limit of {limits.memory} bytes is below what is in use, {used} bytes")
    if version(root) == 2:
        _limit_unified(root / path.lstrip("/"), limits)
    else:
        _limit_hybrid(root, path.lstrip("/"), limits)


def weigh(shares: Mapping[str, int], root: Path = ROOT) -> None:
    """Gives cgroups their cpu shares, where they are there and have others."""
    unified = version(root) == 2
    for path, wanted in shares.items():
        file = (root if unified else root / "cpu") / path.lstrip("/") / ("cpu.weight" if unified else "cpu.shares")
        text = str(_weight(wanted) if unified else max(wanted, 2))
        with contextlib.suppress(OSError):  # not there yet, or no longer
            if file.read_text().strip() != text:
                file.write_text(text)


def _weight(shares: int) -> int:
    return min(1 + (max(shares, 2) - 2) * 9999 // 262142, 10000)


def _limit_unified(place: Path, limits: Limits) -> None:
    (place / "cpu.weight").write_text(str(_weight(limits.cpu_shares)))
    (place / "cpu.max").write_text(f"{limits.cpu_quota or 'max'} {PERIOD}")
    (place / "memory.max").write_text(str(limits.memory or "max"))
    swap = place / "memory.swap.max"
    if swap.exists():
        swap.write_text("0" if limits.memory else "max")


def _limit_hybrid(root: Path, path: str, limits: Limits) -> None:
    cpu, memory = root / "cpu" / path, root / "memory" / path
    (cpu / "cpu.shares").write_text(str(max(limits.cpu_shares, 2)))
    (cpu / "cpu.cfs_period_us").write_text(str(PERIOD))
    (cpu / "cpu.cfs_quota_us").write_text(str(limits.cpu_quota or -1))
    files = [memory / "memory.limit_in_bytes", memory / "memory.memsw.limit_in_bytes"]  # the first is never the greater
    wanted = limits.memory or NO_LIMIT
    if wanted > int(files[0].read_text()):
        files.reverse()
    for file in (f for f in files if f.exists()):
        file.write_text(str(-1 if wanted == NO_LIMIT else wanted))


def enter(path: str, pid: int, root: Path = ROOT) -> None:
    """Puts a process into a cgroup of its own, in every hierarchy that takes it; raises OSError when none does."""
    taken = 0
    for hierarchy in hierarchies(root):
        place = hierarchy / path.lstrip("/")
        with contextlib.suppress(OSError):  # such as a cpuset that has no processors yet
            place.mkdir(parents=True, exist_ok=True)
            (place / "cgroup.procs").write_text(str(pid))
            taken += 1
    if not taken:
        raise OSError(f"no control group {path} takes process {pid}")


def wait_empty(path: str, seconds: float, root: Path = ROOT) -> None:
    """Waits until a cgroup's own processes have ended, at most so long; blocking."""
    place = root if version(root) == 2 else root / "memory"
    deadline = time.monotonic() + seconds
    for pid in _read_pids(place / path.lstrip("/") / "cgroup.procs"):
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            os.close(descriptor)


def _read_pids(file: Path) -> list[int]:
    try:
        return [int(line) for line in file.read_text().splitlines()]
    except OSError:
        return []


def remove(path: str, root: Path = ROOT) -> bool:
    """Removes a cgroup and the empty ones below it, in every hierarchy; what still has processes stays: False."""
    gone = [_remove_tree(hierarchy / path.lstrip("/")) for hierarchy in hierarchies(root)]
    return all(gone)


def remove_empty(path: str, root: Path = ROOT) -> None:
    """Removes one cgroup, if nothing is in it, in every hierarchy."""
    for hierarchy in hierarchies(root):
        with contextlib.suppress(OSError):  # in use, or not there
            (hierarchy / path.lstrip("/")).rmdir()


def _remove_tree(directory: Path) -> bool:
    try:
        children = [d for d in directory.iterdir() if d.is_dir()]
        gone = [_remove_tree(child) for child in children]
        if all(gone):
            directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False  # a process is left in it
    return all(gone)
