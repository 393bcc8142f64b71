"""The first process of a pod whose containers share their processes: it sleeps, and the kernel reaps for it (E12).

Rules: it is nobody's child, not the agent's, Ray's or Podman's, and lies in the pod's own cgroup, so that it ends
with the pod alone. A process is taken for it by its environment, never by its number. With it, all processes of the pod
end: that is the kernel's doing. Blocking, and short.
"""

import contextlib
import os
import select
import signal
import subprocess
from pathlib import Path

from nodeagent.runtime import cgroups

MARK = "MESH_POD_UID"
OOM_SCORE = -998  # the kernel spares it for the containers' processes
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
END = 2.0  # seconds that it may take to die
START = 10.0

# `unshare` makes the namespace for its children, `setsid` has one and ends, which makes that one the namespace's first.
# Ignored, SIGCHLD makes the kernel bury every process that is left to it. Its number is read from the host's own /proc.
SCRIPT = """
read -r pid rest </proc/self/stat || exit 1
echo "$pid" >"$1" && echo "$pid" && exec env --ignore-signal=CHLD sleep infinity >/dev/null 2>&1
"""
COMMAND = ("unshare", "--pid", "--", "setsid", "--fork", "/bin/sh", "-c", SCRIPT, "sh")


def start(file: Path, uid: str, cgroup: str) -> int:
    """Starts a pod's first process, notes its number in `file` and returns it; raises OSError."""
    environment = {"PATH": PATH, MARK: uid}
    try:
        done = subprocess.run(
            [*COMMAND, str(file)], env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True,
            timeout=START, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise OSError(f"the pod's first process did not begin within {START:.0f} s") from error
    number = done.stdout.strip()
    if done.returncode or not number.isdigit():
        raise OSError(f"the pod's first process did not begin: {done.stderr.decode(errors='replace').strip()}")
    pid = int(number)
    cgroups.enter(f"{cgroup}/init", pid)
    with contextlib.suppress(OSError):  # without CAP_SYS_RESOURCE it can't be lowered
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(OOM_SCORE))
    return pid


def lives(pid: int, uid: str) -> bool:
    """Whether that process is there and is the pod's first; a dead one that nobody has buried has no environment."""
    try:
        return f"{MARK}={uid}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def stop(file: Path, uid: str) -> None:
    """Ends what `file` tells of, and all processes of the pod with it; none there is no error."""
    try:
        pid = int(file.read_text())
        descriptor = os.pidfd_open(pid)
    except (OSError, ValueError):
        file.unlink(missing_ok=True)
        return
    try:
        if lives(pid, uid):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            select.select([descriptor], [], [], END)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)
    file.unlink(missing_ok=True)
