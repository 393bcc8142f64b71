"""Control groups of pods, under cgroup v1 (also hybrid) and v2: where they are, what they counted, their removal.

Rule: paths given are those of the cgroup namespace ("/mesh/host1/pod…"); what is not there counts as nothing.
"""

import contextlib
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


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


def remove(path: str, root: Path = ROOT) -> None:
    """Removes a cgroup and the empty ones below it, in every hierarchy; what still has processes stays."""
    for hierarchy in hierarchies(root):
        _remove_tree(hierarchy / path.lstrip("/"))


def remove_empty(path: str, root: Path = ROOT) -> None:
    """Removes a cgroup that has no others below it and no process, in every hierarchy."""
    for hierarchy in hierarchies(root):
        with contextlib.suppress(OSError):  # in use, or not there
            (hierarchy / path.lstrip("/")).rmdir()


def _remove_tree(directory: Path) -> None:
    try:
        children = [d for d in directory.iterdir() if d.is_dir()]
    except OSError:
        return
    for child in children:
        _remove_tree(child)
    try:
        directory.rmdir()
    except OSError:
        return  # busy: a process is left in it; who ends the process removes it, or the next sweep does
