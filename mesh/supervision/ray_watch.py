"""What `ray start` becomes: waits for the processes it started; the first that ends, ends all.

Rules: standard library only (it runs with -I -S). SIGTERM ends Ray in order: first the raylet, which takes its
workers along and signs off, then the rest. What the raylet has started beside its workers is ended here: by itself it
tells Ray's head first, for a minute if that is away, and has the ports that the next Ray needs.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

_PATIENCE = 5.0  # seconds for the raylet to sign off; a supervisor's own may be seven
_AGENTS = (b"/runtime_env/agent/main.py", b"/dashboard/agent.py", b"ray::RuntimeEnvAgent", b"ray::DashboardAgent")


def children(parent: int) -> dict[int, str]:
    """Names of a process's children, by pid."""
    found = {}
    for pid in Path("/proc", str(parent), "task", str(parent), "children").read_text().split():
        try:
            found[int(pid)] = Path("/proc", pid, "comm").read_text().strip()
        except OSError:
            continue
    return found


def agents(raylet: int) -> list[int]:
    """Handles (pidfds) of what the raylet has started beside its workers."""
    found = []
    for pid in children(raylet):
        try:
            handle = os.pidfd_open(pid)
            line = Path("/proc", str(pid), "cmdline").read_bytes()
        except OSError:
            continue
        if any(word in line for word in _AGENTS):
            found.append(handle)
        else:
            os.close(handle)
    return found


def end(handles: Iterable[int]) -> None:
    """Kills what is still there of them."""
    for handle in handles:
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        except ProcessLookupError:
            continue


def main() -> None:
    """Waits; returns never."""
    names = children(os.getpid())
    raylets = [pid for pid, name in names.items() if name == "raylet"]
    handles = [handle for pid in raylets for handle in agents(pid)]

    def stop(_signal: int, _frame: FrameType | None) -> None:
        """Ends the raylet, then itself; the kernel kills what is left of its children."""
        for pid in raylets:
            os.kill(pid, signal.SIGTERM)
            until = time.monotonic() + _PATIENCE
            while time.monotonic() < until and os.waitpid(pid, os.WNOHANG) == (0, 0):
                time.sleep(0.02)  # nothing to wait on without polling: the handler holds the only thread
        end(handles)
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    while True:
        pid, status = os.wait()
        name = names.pop(pid, "")
        if name:
            print(f"ray: {name} ended ({os.waitstatus_to_exitcode(status)}); ending the rest", flush=True)
            end(handles)
            sys.exit(1)


if __name__ == "__main__":
    main()
