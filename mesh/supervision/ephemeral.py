"""A mesh for a user without root, for as long as a command: in namespaces of its own, with all of its files in memory.

    caller ── setpriv ── unshare ── first process (`mesh.cli.inside`) ── everything else

Rule: nothing outside the namespaces is changed, so nothing has to be undone. Whichever of these processes ends, by
whatever signal, the kernel ends every process, mount, link, address and file of the mesh.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from mesh.errors import Unavailable

ROOT = Path("/run/mesh")
CONTEXT = Path("/run/mesh-context/config")
ADDRESS = "198.18.0.1"  # of a range that is never routed (RFC 2544); pods reach meshd there
GRACE = 10  # seconds that pods get to end
_ENTER = (
    "setpriv", "--pdeathsig", "KILL", "unshare", "--user", "--map-root-user", "--net", "--mount", "--uts", "--ipc",
    "--pid", "--fork", "--kill-child", "--mount-proc",
)  # fmt: skip
_INSIDE = (
    ("mount", "--make-rprivate", "/"),
    ("mount", "-t", "tmpfs", "-o", "mode=755", "mesh", "/run"),
    ("mount", "-t", "tmpfs", "-o", "mode=1777", "mesh", "/dev/shm"),  # noqa: S108 - a mount of our own
    ("ip", "link", "set", "lo", "up"),
    ("ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"),
)


def require() -> None:
    """Raises Unavailable where this user can't make the namespaces."""
    try:
        done = subprocess.run([*_ENTER, "true"], capture_output=True, text=True, check=False)
        words = done.stderr.strip().splitlines()[-1:] if done.returncode else []
    except FileNotFoundError as error:
        words = [f"{error.filename} is not installed (util-linux)"]
    for why in words:
        raise Unavailable(
            f"this user cannot make namespaces here: {why}; see /proc/sys/user/max_user_namespaces, and on Ubuntu "
            "kernel.apparmor_restrict_unprivileged_userns"
        )


def run(command: Sequence[str]) -> int:
    """Starts the mesh, runs the command in it, and returns its exit code when nothing is left; in the foreground."""
    inside = [*_ENTER, sys.executable, "-m", "mesh.cli.inside", *command]
    with subprocess.Popen(inside) as process:

        def end(_number: int, _frame: FrameType | None) -> None:
            for first in _children(process.pid):  # unshare itself hears no signal but KILL
                os.kill(first, signal.SIGTERM)

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, end)
        return process.wait()


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def settle() -> None:
    """In the first process: makes memory of what the mesh writes to, and the address that it has."""
    for command in _INSIDE:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable(f"cannot begin: `{' '.join(command)}` says: {done.stderr.strip()}")


def environment(caller: Mapping[str, str]) -> dict[str, str]:
    """What the command is given: the caller's environment, and where the mesh is."""
    tools = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/sbin:/sbin"
    path = f"{tools}:{caller.get('PATH', os.defpath)}"
    return {**caller, "MESHCONFIG": str(CONTEXT), "MESH_ROOT": str(ROOT), "PATH": path}


def keep(command: Sequence[str]) -> int:
    """In the first process: runs the command until it ends or this process is told to; returns its exit code. Orphans
    of the namespace come here, and are forgotten."""
    process = subprocess.Popen(command, env=environment(os.environ))

    def end(_number: int, _frame: FrameType | None) -> None:
        process.terminate()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, the command has it too
    while True:
        pid, status = os.wait()
        if pid == process.pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode if process.returncode >= 0 else 128 - process.returncode
