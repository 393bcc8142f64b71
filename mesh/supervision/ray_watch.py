"""What `ray start` becomes: waits for the processes it started; the first that ends, ends all.

Rules: standard library only (it runs with -I -S). SIGTERM ends Ray in order: first the raylet, which takes its
workers along and signs off, then the rest.
"""

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

_PATIENCE = 8.0  # seconds for the raylet to sign off


def children() -> dict[int, str]:
    """Names of this process's children, by pid."""
    found = {}
    for pid in Path("/proc/self/task", str(os.getpid()), "children").read_text().split():
        try:
            found[int(pid)] = Path("/proc", pid, "comm").read_text().strip()
        except OSError:
            continue
    return found


def stop(_signal: int, _frame: FrameType | None) -> None:
    """Ends the raylet, then itself; the kernel kills what is left of its children."""
    for pid in [pid for pid, name in children().items() if name == "raylet"]:
        os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until and os.waitpid(pid, os.WNOHANG) == (0, 0):
            time.sleep(0.02)  # nothing to wait on without polling: the handler holds the only thread
    os._exit(0)


def main() -> None:
    """Waits; returns never."""
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    names = children()
    while True:
        pid, status = os.wait()
        name = names.pop(pid, "")
        if name:
            print(f"ray: {name} ended ({os.waitstatus_to_exitcode(status)}); ending the rest", flush=True)
            sys.exit(1)


if __name__ == "__main__":
    main()
