"""Reads control groups, procfs and filesystems of this host: files in, values out.

Rule: blocking but short (some ten microseconds a file); call it in a thread. What can't be read is left out.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from nodeagent.runtime import cgroups
from nodeagent.stats import groupfiles, hostfiles
from nodeagent.stats.values import Filesystem, Group, HostReading

_CHUNK = 1 << 16


class Reader:
    """This host's files, or those of a test."""

    def __init__(
        self, cgroup: Path = cgroups.ROOT, proc: Path = Path("/proc"),
        statvfs: Callable[[str], os.statvfs_result] = os.statvfs,
    ) -> None:  # fmt: skip
        self._cgroup = str(cgroup)
        self._proc = str(proc)
        self._statvfs = statvfs
        self._version = cgroups.version(cgroup)

    def group(self, path: str, *, quick: bool = False) -> Group:
        """One control group, "/mesh/burstable/pod…"; `quick`: its cpu time and memory only."""
        if self._version == 2:
            names = groupfiles.QUICK_2 if quick else groupfiles.FILES_2
            return groupfiles.version_2(self._texts((n, f"{self._cgroup}{path}/{n}") for n in names))
        names = groupfiles.QUICK_1 if quick else groupfiles.FILES_1
        return groupfiles.version_1(self._texts((n, self._cgroup + "/" + n.replace("/", path + "/")) for n in names))

    def host(self, *, quick: bool = False) -> HostReading:
        """The host; `quick`: processors, memory, network and disks only."""
        names = hostfiles.QUICK if quick else hostfiles.FILES
        texts = {name: text for name in names if (text := read(f"{self._proc}/{name}")) is not None}
        return hostfiles.reading(texts, () if quick else self._filesystems())

    @staticmethod
    def _texts(files: Iterable[tuple[str, str]]) -> dict[str, str]:
        return {name: text for name, place in files if (text := read(place)) is not None}

    def _filesystems(self) -> list[Filesystem]:
        found = []
        for device, kind, mountpoint in hostfiles.mounts(read(f"{self._proc}/self/mountinfo") or ""):
            try:
                stat = self._statvfs(mountpoint)
            except OSError:
                continue
            size, unit = stat.f_blocks * stat.f_frsize, stat.f_frsize
            found.append(
                Filesystem(device, kind, mountpoint, size, stat.f_bfree * unit, stat.f_bavail * unit,
                           stat.f_files, stat.f_ffree)
            )  # fmt: skip
        return found


def read(path: str) -> str | None:
    """A file's text; None when it can't be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = os.read(descriptor, _CHUNK)
        if len(data) >= 4096:  # some files of the kernel come in pieces
            while more := os.read(descriptor, _CHUNK):
                data += more
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return data.decode("utf-8", "replace")
