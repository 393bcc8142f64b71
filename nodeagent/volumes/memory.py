"""Memory of this host that no disk ever holds, for volumes whose content could be secret (V3).

    <root>/run/volumes/<uid>/<name>        one mount for all pods: tmpfs that is not swapped (Linux 6.4), else ramfs

Rule: whoever is about to write a secret asks `exposure` first, and does not write when it answers.
"""

import errno
from pathlib import Path

from nodeagent.runtime import syscalls
from nodeagent.runtime.syscalls import Mounted

SWAPS = Path("/proc/swaps")
FLAGS = syscalls.MS_NOSUID | syscalls.MS_NODEV


def mount(directory: Path, size: str | int = 0, *, mode: int = 0o700, never_swapped: bool = False) -> bool:
    """Mounts memory on a directory, never swapped where the kernel can (0: of the kernel's usual size). With
    `never_swapped` that is certain: where it takes ramfs, `size` is not kept. False when something is mounted already.
    """
    if syscalls.is_mount(directory):
        return False
    options = f"mode={mode:04o},size={size}" if size else f"mode={mode:04o}"
    try:
        syscalls.mount("mesh", str(directory), "tmpfs", FLAGS, f"{options},noswap")
    except OSError as error:
        if error.errno != errno.EINVAL:  # the kernel does not know noswap, or not in this user namespace
            raise
        kind, options = ("ramfs", f"mode={mode:04o}") if never_swapped else ("tmpfs", options)
        syscalls.mount("mesh", str(directory), kind, FLAGS, options)
    return True


def exposure(directory: Path) -> str:
    """Why what is written below `directory` could reach a disk, in words; "" when it can't."""
    return exposed(syscalls.mount_of(str(directory)), swaps_of_host())


def exposed(mounted: Mounted, swaps: bool) -> str:
    """`exposure`, of a mount and of a host that swaps or does not."""
    if mounted.kind == "ramfs":
        return ""
    if mounted.kind != "tmpfs":
        return f"{mounted.place} is on a disk ({mounted.kind})"
    if swaps and "noswap" not in mounted.options:
        return f"{mounted.place} is memory that this host may swap to a disk: turn swap off"
    return ""


def swaps_of_host() -> bool:
    """Whether swap is on."""
    try:
        return len(SWAPS.read_text().splitlines()) > 1
    except OSError:
        return False
