"""runit as the supervisor: a tree of runsv below one runsvdir, for machines without systemd.

Rules: a service directory each, a log directory each (ten files of ten megabytes at most); runsvdir is a daemon of its
own that `start` brings up. After a reboot `mesh up` starts it again, or a line in the machine's init does. No program
ever waits for its log: what a disk does not take is dropped.
"""

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mesh.supervision.layout import Layout
from mesh.supervision.port import Failed, Status
from mesh.supervision.programs import PATH, Host, Program, prepare_once

_PATIENCE = 20  # seconds for a program to end before it is killed
_LOG_FILE = 6_000_000  # bytes from which on a log file is an old one; it is looked at after so many reads
_LOG_READS = 500  # of 8 KiB at most

# svlogd would stop reading when the disk is full, and with it each program that has a pipe of 64 KiB to say.
_LOG_SCRIPT = """\
#!/bin/sh
# Keeps what a service says in `current` and nine files before it; written by `mesh up`.
umask 077
cd {directory} || exit 1
export LC_ALL=C
end_if_nothing() {{ case "$1" in 0+0*) exit 0 ;; esac }}
lost=
while :; do
  if [ -n "$lost" ] && ! echo "what was said here is lost: the disk did not take it" >>current; then
    end_if_nothing "$(dd bs=65536 count=1 of=/dev/null 2>&1)"
    continue
  fi
  lost=
  if [ "$(stat -L -c %s current || echo 0)" -ge {size} ]; then
    for number in 8 7 6 5 4 3 2 1; do
      [ ! -f old.$number ] || mv -f old.$number old.$((number + 1))
    done
    mv -f current old.1
  fi
  if said=$(dd bs=8192 count={reads} of=current oflag=append conv=notrunc 2>&1); then
    end_if_nothing "$said"
  else
    lost=yes
  fi
done 2>/dev/null
"""


def run_script(host: Host, program: Program) -> str:
    """The `run` file of a service: prepares the host if this boot has not yet, then becomes the program."""
    environment = [f"{key}={value}" for key, value in sorted(program.environment.items())]
    first = f"{shlex.join(['env', '-i', *environment, *program.first])} || exit 1\n" if program.first else ""
    return (
        f"#!/bin/sh\n# {program.title}; written by `mesh up`.\n"
        "exec 2>&1\numask 077\ncd / || exit 1\n"
        'ulimit -n "$(ulimit -Hn)"\n'
        f"{prepare_once(host)} || exit 1\n"
        f"{first}"
        f"exec env -i {shlex.join([*environment, *program.argv])}\n"
    )


def log_script(directory: Path, size: int = _LOG_FILE, reads: int = _LOG_READS) -> str:
    """The `run` file of a service's log: reads to the end of what the service says, whatever the disk takes of it."""
    return _LOG_SCRIPT.format(directory=shlex.quote(str(directory)), size=size, reads=reads)


class Runit:
    """The supervisor of one root."""

    kind = "runit"

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def install(self, host: Host, programs: Sequence[Program]) -> set[str]:
        services = self._layout.services
        services.mkdir(mode=0o700, exist_ok=True)
        for name in self._names() - {program.name for program in programs}:
            self._remove(name)
        return {program.name for program in programs if self._write(host, program)}

    def start(self, names: Iterable[str]) -> None:
        wanted = list(names)
        for name in wanted:
            (self._layout.services / name / "down").unlink(missing_ok=True)
        if not self._runsvdir():
            self._start_runsvdir()
        for name in wanted:
            self._wait_for_runsv(name)
        self._sv("up", wanted)

    def restart(self, names: Iterable[str]) -> None:
        for name in names:
            self._sv("force-restart", [name])

    def stop(self, names: Iterable[str]) -> None:
        for name in names:
            directory = self._layout.services / name
            if directory.is_dir():
                (directory / "down").touch(mode=0o600)
            if self._alive(name):
                self._sv("force-stop", [name])
        if not any(status.running for status in self.status()):
            self._end_runsvdir()

    def status(self) -> list[Status]:
        return [self._status(name) for name in sorted(self._names())]

    def uninstall(self) -> None:
        self.stop(sorted(self._names()))
        self._end_runsvdir()
        if self._layout.services.is_dir():
            shutil.rmtree(self._layout.services)

    def logs(self, name: str) -> str:
        return f"tail -F {self._layout.log / name / 'current'}"

    # ---- service directories

    def _names(self) -> set[str]:
        services = self._layout.services
        return {path.parent.name for path in services.glob("*/run")} if services.is_dir() else set()

    def _write(self, host: Host, program: Program) -> bool:
        directory = self._layout.services / program.name
        if not directory.is_dir():  # runsvdir must never see half a service
            fresh = self._layout.services / f".{program.name}"
            shutil.rmtree(fresh, ignore_errors=True)
            (fresh / "log").mkdir(parents=True, mode=0o700)
            self._files(fresh, host, program)
            (fresh / "down").touch(mode=0o600)
            fresh.rename(directory)
            return True
        return self._files(directory, host, program)

    def _files(self, directory: Path, host: Host, program: Program) -> bool:
        logs = self._layout.log / program.name
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _replace(directory / "log" / "run", log_script(logs)) and self._alive(program.name):
            self._sv("term", [f"{program.name}/log"])  # is started anew; the program needs not be
        return _replace(directory / "run", run_script(host, program))

    def _remove(self, name: str) -> None:
        gone = f".{name}.gone"  # runsvdir overlooks it, so it does not start again the runsv that ends here
        (self._layout.services / name).rename(self._layout.services / gone)
        if self._alive(gone):
            self._sv("force-stop", [gone])
            self._sv("exit", [gone])
            self._wait(lambda: not self._alive(gone), f"{name} does not end")
        shutil.rmtree(self._layout.services / gone)

    # ---- processes

    def _runsvdir(self) -> list[int]:
        """Pids of the runsvdir of this root."""
        return _processes(["runsvdir", "-P", str(self._layout.services)])

    def _start_runsvdir(self) -> None:
        with (self._layout.log / "runsvdir.log").open("ab") as log:
            subprocess.Popen(
                ["runsvdir", "-P", str(self._layout.services)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env={"PATH": PATH, "LANG": "C.UTF-8"},
                start_new_session=True,
            )  # fmt: skip

    def _end_runsvdir(self) -> None:
        names = sorted(self._names())
        for pid in self._runsvdir():
            os.kill(pid, signal.SIGHUP)  # ends its runsv processes too
        for name in names:
            if self._alive(name):
                self._sv("exit", [name])
        self._wait(lambda: not self._runsvdir() and not any(map(self._alive, names)), "runsvdir does not end")

    def _alive(self, name: str) -> bool:
        """Whether a runsv looks after this service: it reads the control pipe."""
        try:
            os.close(os.open(self._layout.services / name / "supervise" / "ok", os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            return False
        return True

    def _wait_for_runsv(self, name: str) -> None:
        self._wait(lambda: self._alive(name), f"runsvdir does not start {name}; see {self._layout.log}/runsvdir.log")

    def _wait(self, done: Callable[[], bool], failure: str) -> None:
        until = time.monotonic() + _PATIENCE
        while not done():
            if time.monotonic() > until:
                raise Failed(failure)
            time.sleep(0.05)  # runit tells nobody when it is done

    def _sv(self, command: str, names: Sequence[str]) -> None:
        directories = [str(self._layout.services / name) for name in names]
        done = subprocess.run(
            ["sv", "-w", str(_PATIENCE), command, *directories], capture_output=True, text=True, check=False
        )
        if done.returncode and command != "exit":
            raise Failed(f"cannot {command} {', '.join(names)}: {(done.stdout + done.stderr).strip()}")

    def _status(self, name: str) -> Status:
        """Reads what runsv writes: TAI64N of the change, pid, paused, wanted, got TERM, state."""
        try:
            raw = (self._layout.services / name / "supervise" / "status").read_bytes()
        except OSError:
            raw = b""
        if len(raw) < 20 or not self._alive(name):
            return Status(name, running=False, words="not supervised")
        pid = int.from_bytes(raw[12:16], "little")
        since = max(0.0, time.time() - (int.from_bytes(raw[0:8], "big") - 4611686018427387914))
        return Status(name, running=pid > 0 and raw[19] == 1, pid=pid, since=since, words="" if pid else "down")


def _replace(path: Path, text: str) -> bool:
    """Whether the file was other than `text`; it is executable and replaced whole."""
    if path.is_file() and path.read_text() == text:
        return False
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text)
    fresh.chmod(0o700)
    fresh.replace(path)
    return True


def _processes(argv: Sequence[str]) -> list[int]:
    wanted = "\0".join(argv) + "\0"
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if (directory / "cmdline").read_text() == wanted:
                found.append(int(directory.name))
        except (OSError, UnicodeDecodeError):
            continue
    return found
