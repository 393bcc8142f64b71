"""Several hosts on one machine: each in network, mount, UTS, IPC and PID namespaces of its own, on one switch.

Rules: a host has a private /run and /dev/shm; the root of its mesh, /run/mesh, is on disk below the given directory, so
that a power-off (the kill of its first process) loses what a power-off loses. Needs root. Nothing outside is changed:
when the processes of a host are gone, so are its namespaces, mounts and links.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path("/run/mesh")  # of the mesh on each host: exists on its private /run only
NETWORK = "10.77.0"
PATIENCE = 4  # how many times slower than a quiet one a machine may be

_INIT = r"""
set -e
mount --make-rprivate /
awk '$2 != "/" && ($3 == "overlay" || $3 == "nsfs" || $1 == "mesh") { print $2 }' /proc/self/mounts | tac |
    while read -r inherited; do umount -l "$inherited" 2> /dev/null || true; done
hostname "$NAME"
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs tmpfs /dev/shm
mkdir -m 700 "$ROOT"
mount --bind "$STATE" "$ROOT"
ip link set lo up
: > /run/booted
exec "$PYTHON" -I -S -c '
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
while True:
    try:
        os.wait()
    except ChildProcessError:
        signal.sigwait([signal.SIGCHLD])
'
"""


class Failed(AssertionError):  # noqa: N818 - reads as a test's failure
    """A command on a host did not do what the test needs."""


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true value of `condition`, asked again and again: for what tells nobody when it comes about. `seconds`
    are those of a machine that is not crowded."""
    end = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failed(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


class FakeHost:
    """One host; `number` is the last part of its address, `port` its end of the cable at the switch."""

    def __init__(self, name: str, number: int, directory: Path, switch: int) -> None:
        self.name = name
        self.ip = f"{NETWORK}.{number}"
        self.state = directory / "state"
        self.context = directory / "context" / "config"
        self._directory = directory
        self.port = f"port{number}"
        self._switch = switch
        self._shell: subprocess.Popen[bytes] | None = None
        self.init = 0

    def boot(self) -> None:
        """Powers it on; its programs are started by `mesh up`."""
        self.state.mkdir(parents=True, exist_ok=True)
        self._shell = subprocess.Popen(
            ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc",
             "bash", "-c", _INIT],
            env={"PATH": os.environ["PATH"], "NAME": self.name, "STATE": str(self.state), "ROOT": str(ROOT),
                 "PYTHON": sys.executable},
            cwd="/", stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.init = until(self._first_process, 10, f"{self.name} boots")
        until(lambda: Path(f"/proc/{self.init}/root/run/booted").exists(), 10, f"{self.name} is up")
        self._plug()

    def power_off(self) -> None:
        """As if the plug were pulled."""
        if self._shell is None:
            return
        if self.init:
            os.kill(self.init, signal.SIGKILL)
        self._shell.kill()
        self._shell.wait()
        self._shell, self.init = None, 0

    def command(self, *argv: str) -> list[str]:
        """The argv that runs `argv` on this host."""
        return ["nsenter", "-t", str(self.init), "-m", "-n", "-u", "-i", "-p", "--", *argv]

    def run(self, *argv: str, check: bool = True, text: str | None = None, timeout: float = 240) -> str:
        """Standard output of a command on this host; raises Failed, with all that it said."""
        done = subprocess.run(
            self.command(*argv), input=text, capture_output=True, text=True, check=False, timeout=timeout,
            env=self.environment(), cwd="/",
        )  # fmt: skip
        if check and done.returncode:
            raise Failed(f"{self.name}: {' '.join(argv)} → {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def environment(self) -> Mapping[str, str]:
        """For commands on this host."""
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root", "LANG": "C.UTF-8", "MESHCONFIG": str(self.context), "MESH_ROOT": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip

    def mesh(self, *args: str, check: bool = True, text: str | None = None, timeout: float = 240) -> str:
        """`mesh ARGS` on this host."""
        call = "from mesh.cli.main import main; main()"
        return self.run(sys.executable, "-P", "-c", call, *args, check=check, text=text, timeout=timeout)

    def mesh_json(self, *args: str) -> Any:
        """What `mesh ARGS -o json` prints."""
        return json.loads(self.mesh(*args, "-o", "json"))

    def up(self, *args: str) -> str:
        """`mesh up` with this host's name and address."""
        self.context.parent.mkdir(mode=0o700, exist_ok=True)
        return self.mesh("up", f"--node-name={self.name}", f"--node-ip={self.ip}", *args, timeout=240)

    def path(self, path: Path | str) -> Path:
        """A path of the host as this process reaches it."""
        return Path(f"/proc/{self.init}/root{path}")

    # ---- processes

    def pids(self, *words: str) -> list[int]:
        """Pids (of this machine) of the host's processes whose command lines hold all of the words."""
        found = []
        namespace = Path(f"/proc/{self.init}/ns/pid").readlink()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if all(word in line for word in words) and (process / "ns/pid").readlink() == namespace:
                    found.append(int(process.name))
            except OSError:
                continue
        return sorted(found)

    def kill(self, *words: str, number: int = signal.SIGKILL) -> list[int]:
        """Signals (kill -9) the processes that `pids` finds; there must be one."""
        found = self.pids(*words)
        if not found:
            raise Failed(f"{self.name} runs no process with {words}")
        for pid in found:
            os.kill(pid, number)
        return found

    def containers(self) -> dict[str, tuple[str, int]]:
        """What runs in containers: the first process's start time (clock ticks) and pid, by container id."""
        found = {}
        for pid in self.pids("conmon", "--api-version"):
            line = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                stat = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()
                found[line[line.index("-c") + 1]] = (stat[19], int(child))
        return found

    def import_image(self, archive: Path, name: str) -> None:
        """Puts a root file system (tar) into the host's own Podman."""
        service = f"unix://{ROOT}/run/podman.sock"
        self.run("podman", "--url", service, "import", "--change", 'CMD ["/bin/sh"]', str(archive), name)

    # ---- namespaces

    def _first_process(self) -> int:
        assert self._shell is not None
        if self._shell.poll() is not None:
            raise Failed(f"{self.name} does not boot: exit code {self._shell.returncode}")
        pid = self._shell.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def _plug(self) -> None:
        end = ["nsenter", "-t", str(self._switch), "-n", "--", "ip", "link", "del", self.port]
        subprocess.run(end, check=False, capture_output=True)  # of the last boot: the kernel takes its time
        ip("link", "add", self.port, "netns", str(self._switch), "type", "veth",
           "peer", "name", "eth0", "netns", str(self.init))  # fmt: skip
        enter(self._switch, "ip", "link", "set", self.port, "master", "switch", "up")
        enter(self.init, "ip", "addr", "add", f"{self.ip}/24", "dev", "eth0")
        enter(self.init, "ip", "link", "set", "eth0", "up")


class Machines:
    """Hosts host1, host2 … on one switch; use it as a `with`."""

    def __init__(self, directory: Path, count: int) -> None:
        self._directory = directory
        self._count = count
        self._switch: subprocess.Popen[bytes] | None = None
        self.hosts: list[FakeHost] = []

    def __enter__(self) -> Self:
        self._switch = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        pid, own = self._switch.pid, Path("/proc/self/ns/net").readlink()
        until(lambda: Path(f"/proc/{pid}/ns/net").readlink() != own, 10, "the switch is there")
        enter(pid, "ip", "link", "add", "switch", "type", "bridge")
        enter(pid, "ip", "link", "set", "switch", "up")
        try:
            for number in range(1, self._count + 1):
                host = FakeHost(f"host{number}", number, self._directory / f"host{number}", pid)
                self.hosts.append(host)
                host.boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def switch(self) -> int:
        """A process in the network namespace of the switch."""
        assert self._switch is not None
        return self._switch.pid

    def close(self) -> None:
        """Powers everything off."""
        for host in self.hosts:
            host.power_off()
        if self._switch:
            self._switch.kill()
            self._switch.wait()


def ip(*args: str) -> None:
    """`ip ARGS` on this machine."""
    subprocess.run(["ip", *args], check=True, capture_output=True, text=True)


def enter(pid: int, *argv: str) -> None:
    """Runs a command in another network namespace."""
    subprocess.run(["nsenter", "-t", str(pid), "-n", "--", *argv], check=True, capture_output=True, text=True)


@contextmanager
def machines(directory: Path, count: int) -> Iterator[Sequence[FakeHost]]:
    """`count` hosts, powered on."""
    with Machines(directory, count) as made:
        yield made.hosts
