"""A user of this machine who is not root, owns nothing and may nothing: runs programs, and says what of them is left.

Rule: needs root, to become that user. The interpreter and this repository are made reachable in a mount namespace of
the program's own; the machine's are not touched.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent.parent
# CLOSED: directories that others may not enter, hidden behind empty ones in which what is NEEDED of them is shown.
_OPEN = r"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
place() { echo "/mnt/$(echo "$1" | tr / _)"; }
for needed in $NEEDED; do mkdir "$(place "$needed")"; mount --bind "$needed" "$(place "$needed")"; done
for closed in $CLOSED; do mount -t tmpfs -o mode=755 tmpfs "$closed"; done
for needed in $NEEDED; do mkdir -p "$needed"; mount --move "$(place "$needed")" "$needed"; done
umount /mnt
exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups -- "$@"
"""


class Stranger:
    """`uid` is this test's alone; `home` the one directory that the user may write to."""

    def __init__(self, directory: Path) -> None:
        self.uid = 200_000 + os.getpid()
        self.home = directory
        directory.chmod(0o755)
        os.chown(directory, self.uid, self.uid)

    def start(self, *argv: str, **options: Any) -> "subprocess.Popen[str]":
        """Starts a program as this user."""
        return subprocess.Popen(
            ["unshare", "--mount", "bash", "-c", _OPEN, "open", *argv], env=self._environment(), cwd="/", text=True,
            **options,
        )  # fmt: skip

    def processes(self) -> list[str]:
        """Command lines of what runs as this user."""
        found = []
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                if f"\nUid:\t{self.uid}\t" in status.read_text():
                    found.append((status.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found

    def files(self, places: Sequence[str] = ("/tmp", "/var/tmp", "/var/lib", "/run", "/dev/shm")) -> list[str]:
        """Files of this user outside of their home."""
        argv = ["find", *places, "-xdev", "-uid", str(self.uid), "-not", "-path", f"{self.home}*"]
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()

    def _environment(self) -> Mapping[str, str]:
        closed, needed = _closed_ways()
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.home), "LANG": "C.UTF-8", "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1",
            "USER_ID": str(self.uid), "CLOSED": " ".join(closed), "NEEDED": " ".join(needed),
        }  # fmt: skip


def _closed_ways() -> tuple[list[str], list[str]]:
    """Directories that others may not enter on the way to what a program of ours needs; and what that is."""
    closed, needed = [], []
    for path in dict.fromkeys(Path(p) for p in (sys.base_prefix, sys.prefix, str(REPOSITORY))):
        ways = [way for way in reversed(path.parents) if not way.stat().st_mode & 0o001]
        if ways:
            closed.append(str(ways[0]))
            needed.append(str(path))
    return list(dict.fromkeys(closed)), needed
