"""One short process on the host, with its output and a deadline; made for being run a hundred times a second.

Rule: whatever was started is ended and waited for, with all that descends from it: a command that joined a container
has a session of its own there, so that killing a process group is not enough.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

BLOCK = 16 * 1024
DRAIN = 0.1  # seconds that output may come after the end, when a child of the command holds the pipe


@dataclass(frozen=True, slots=True)
class Ended:
    """How it went. `code` is None when time was up; then `begun` says whether it had come as far as the command."""

    code: int | None
    output: bytes
    begun: bool = True


async def run(argv: Sequence[str], seconds: float | None, limit: int) -> Ended:
    """Runs it; keeps `limit` bytes of stdout and stderr together, reads and drops the rest. Raises OSError."""
    ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        os.set_blocking(theirs, True)
        process = subprocess.Popen(  # noqa: ASYNC220 - vfork and exec: asyncio's way does the same, and more
            argv, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, start_new_session=True, env=environment()
        )  # fmt: skip
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return await _Run(process, ours, limit).wait(seconds)


def environment() -> dict[str, str]:
    """Of what enters a container: nothing of ours but where programs are."""
    return {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")}


class _Run:
    def __init__(self, process: "subprocess.Popen[bytes]", pipe: int, limit: int) -> None:
        self._process = process
        self._pipe = pipe
        self._limit = limit
        self._output = bytearray()
        self._loop = asyncio.get_running_loop()
        self._exited: asyncio.Future[None] = self._loop.create_future()
        self._silent: asyncio.Future[None] = self._loop.create_future()
        self._pidfd = os.pidfd_open(process.pid)
        self._loop.add_reader(self._pidfd, _settle, self._exited)
        self._loop.add_reader(pipe, self._read)

    async def wait(self, seconds: float | None) -> Ended:
        try:
            async with asyncio.timeout(seconds):
                await self._exited
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN):
                    await self._silent
            code = self._process.wait()
            return Ended(code if code >= 0 else 128 - code, bytes(self._output))
        except TimeoutError:
            begun = has_begun(self._process.pid)
            return Ended(None, bytes(self._output), begun)
        finally:
            self._close()

    def _close(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._loop.remove_reader(self._pipe)
        os.close(self._pipe)
        if self._process.returncode is None:
            kill_tree(self._process.pid)
            self._loop.add_reader(self._pidfd, self._reap)
        else:
            os.close(self._pidfd)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._process.wait()  # it has ended
        os.close(self._pidfd)

    def _read(self) -> None:
        try:
            data = os.read(self._pipe, BLOCK)
        except BlockingIOError:
            return
        if not data:
            self._loop.remove_reader(self._pipe)
            _settle(self._silent)
        self._output += data[: self._limit - len(self._output)]


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def descendants(pid: int) -> list[int]:
    """Children of a process, and theirs."""
    try:
        children = [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [*children, *(d for child in children for d in descendants(child))]


def kill_tree(pid: int) -> None:
    """KILL to a process, its group, and all that descends from it with their groups."""
    for one in (pid, *descendants(pid)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(one) == one:
                os.killpg(one, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(one, signal.SIGKILL)


def has_begun(pid: int) -> bool:
    """Whether the OCI runtime's process has come as far as the command: a child of another name than its own.

    runc's child is "runc:[2:INIT]" until then.
    """
    own = _name(pid)
    return any(not _name(child).startswith(own) for child in descendants(pid))


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
