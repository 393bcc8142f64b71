"""What this process itself uses, by the names that every Prometheus client gives it.

Rule: a few files of /proc; what can't be read is left out.
"""

import os
import time
from pathlib import Path

from mesh.exposition.text import Family, Page

_CPU = Family("process_cpu_seconds_total", "counter", "CPU time of this process.")
_RESIDENT = Family("process_resident_memory_bytes", "gauge", "Memory of this process that is in RAM.")
_FDS = Family("process_open_fds", "gauge", "Open files of this process.")
_STARTED = Family("process_start_time_seconds", "gauge", "When this process began.")


def process(page: Page, proc: Path = Path("/proc/self")) -> None:
    """Adds them."""
    page.one(_CPU, time.process_time())
    try:
        page.one(_RESIDENT, int((proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE"))
        page.one(_FDS, len(list((proc / "fd").iterdir())))
        ticks = int((proc / "stat").read_text().rpartition(")")[2].split()[19])
        page.one(_STARTED, time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, IndexError, ValueError):
        return
