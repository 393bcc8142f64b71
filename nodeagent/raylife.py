"""The Ray that this agent lives in: whether it was started before its token's file, and its end.

Rule: the program that the supervisor keeps is ended in good order, never a part of it; the supervisor starts it again,
with what the files say then. Containers notice nothing. Where there is no such Ray (an agent that stands by, a test),
nothing is done.
"""

import os
import signal
from pathlib import Path

import structlog

log = structlog.get_logger()

_WATCHER = "ray_watch"  # what `ray start` becomes, see mesh.supervision.ray_hook


def watcher() -> int:
    """The pid of the program that the supervisor keeps: the parent of this process' raylet; 0 for none."""
    try:
        parent = _parent(os.getppid())
        line = Path(f"/proc/{parent}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return 0
    return parent if _WATCHER in line else 0


def older_than(path: Path) -> bool:
    """Whether this Ray was started before the file was written last."""
    pid = watcher()
    try:
        return bool(pid) and _started(pid) < path.stat().st_mtime
    except OSError:
        return False


def end() -> None:
    """Ends this Ray, and with it this process; it is started again."""
    if pid := watcher():
        log.warning("ray_ends", why="its token has changed")
        os.kill(pid, signal.SIGTERM)


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _started(pid: int) -> float:
    """Seconds since the epoch."""
    boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    return int(boot.split()[1]) + int(_stat(pid)[19]) / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
