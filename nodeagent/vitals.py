"""How much of memory, disks and processes a host has, and how much is left: one reading.

Rule: cheap enough for every ten seconds: files of /proc and statvfs only.
"""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Disk:
    """One filesystem: bytes and inodes; `inodes` 0: it does not count them."""

    size: int
    available: int
    inodes: int
    inodes_available: int


@dataclass(frozen=True, slots=True)
class Vitals:
    """One reading of the host; `images` is the filesystem of images and writable layers, None: the same."""

    cpus: int
    memory: int
    memory_available: int
    disk: int
    disk_available: int
    inodes: int
    inodes_available: int
    pids: int
    pids_limit: int
    images: Disk | None = None

    @property
    def image_disk(self) -> Disk:
        """Where images and writable layers lie."""
        return self.images or Disk(self.disk, self.disk_available, self.inodes, self.inodes_available)


def read_vitals(root: Path, graph: Path | None = None) -> Vitals:
    """Reads them; `root` is on the filesystem whose space counts, `graph` on that of images and writable layers."""
    memory = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        memory[name] = int(rest.split()[0]) * 1024
    where, images = _there(root), _there(graph or root)
    disk = _disk(where)
    return Vitals(
        cpus=len(os.sched_getaffinity(0)),
        memory=memory["MemTotal"],
        memory_available=memory.get("MemAvailable", memory["MemFree"]),
        disk=disk.size,
        disk_available=disk.available,
        inodes=disk.inodes,
        inodes_available=disk.inodes_available,
        pids=int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2]),
        pids_limit=int(Path("/proc/sys/kernel/pid_max").read_text()),
        images=None if where.stat().st_dev == images.stat().st_dev else _disk(images),
    )


def _there(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())


def _disk(path: Path) -> Disk:
    found = os.statvfs(path)
    size, available = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    return Disk(size, available, found.f_files, found.f_favail)
