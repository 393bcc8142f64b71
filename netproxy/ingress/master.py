"""HAProxy as a process: starting it, finding one that a former netproxy started, reloading it, talking to its workers.

Rules: it outlives netproxy, for requests under way are its own. Its master is asked, never a worker's own socket: after
a reload old workers still end what they have begun, and must hear of moved slots as well.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mesh.errors import Unavailable

PATIENCE = 20.0  # seconds for a start or a reload
_LOOK = 0.05


@dataclass(frozen=True, slots=True)
class Workers:
    """Process ids: of the one that takes connections (0: none does), and of those that only end."""

    current: int = 0
    old: tuple[int, ...] = ()


class Master:
    """The one of `directory`, running or not. Its calls raise Unavailable."""

    def __init__(self, directory: Path, program: str = "haproxy") -> None:
        self._directory = directory
        self._program = program
        self._pid = 0

    @property
    def pid(self) -> int:
        """Of the running master; 0: there is none."""
        if not self._pid:
            self._pid = self._found()
        if self._pid and not self._is_ours(self._pid):
            self._pid = 0
        return self._pid

    async def check(self) -> str:
        """What is wrong with the configuration as it lies there; "" when nothing is."""
        try:
            checking = await asyncio.create_subprocess_exec(
                self._program, "-c", "-f", self._path("haproxy.cfg"),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        except OSError as error:
            return f"cannot run {self._program}: {error.strerror}"
        said, _ = await checking.communicate()
        if not checking.returncode:
            return ""
        lines = [line for line in said.decode(errors="replace").splitlines() if "ALERT" in line]
        return lines[0].partition("config : ")[2] or lines[0] if lines else f"{self._program} refuses it"

    async def start(self) -> None:
        """Starts it; it answers when this returns."""
        argv = [self._program, "-W", "-S", f"{self._path('master.sock')},mode,600", "-f", self._path("haproxy.cfg")]
        try:
            begun = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: ASYNC220 - forks only
        except OSError as error:
            raise Unavailable(f"cannot run {self._program}: {error.strerror}") from error
        self._pid = begun.pid
        (self._directory / "haproxy.pid").write_text(str(begun.pid))
        await self._until(0)

    async def reload(self) -> None:
        """Lets a new worker read the files and take over all listeners; it has when this returns."""
        before = (await self.workers()).current
        self._signal(signal.SIGUSR2)
        await self._until(before)

    def stop(self) -> None:
        """No new connections; it ends with the last one that it has."""
        if self.pid:
            self._signal(signal.SIGUSR1)
            self._pid = 0
        (self._directory / "haproxy.pid").unlink(missing_ok=True)

    @staticmethod
    def reap(pid: int) -> None:
        """Takes leave of a process that has ended, if it was a child of ours."""
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)

    async def kill(self) -> None:
        """Ends it at once, with all that it carries; it is gone when this returns."""
        pid = self.pid
        if pid:
            self._signal(signal.SIGTERM)
            while self._is_ours(pid):  # noqa: ASYNC110 - no child of ours, perhaps: nobody tells
                await asyncio.sleep(_LOOK)
        self._pid = 0

    async def workers(self) -> Workers:
        """Who is there."""
        found: dict[str, list[int]] = {}
        part = ""
        for line in (await self._ask("show proc")).splitlines():
            if line.startswith("# "):
                part = line[2:].strip()
            elif (words := line.split()) and words[0].isdecimal() and words[1] == "worker":
                found.setdefault(part, []).append(int(words[0]))
        return Workers(next(iter(found.get("workers", ())), 0), tuple(found.get("old workers", ())))

    async def order(self, commands: Sequence[str], workers: Workers) -> list[str]:
        """Gives commands to all workers; returns what the current one said that it should not have."""
        wrong: list[str] = []
        for pid in (workers.current, *workers.old):
            for command in commands:
                said = (await self.ask(pid, command)).strip()
                if pid == workers.current and said and "change" not in said:
                    wrong.append(f"{command}: {said.splitlines()[0]}")
        return wrong

    async def ask(self, pid: int, command: str) -> str:
        """What a worker says."""
        return await self._ask(f"@!{pid} {command}")

    # ---- below

    async def _ask(self, line: str) -> str:
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_unix_connection(self._path("master.sock"))
                try:
                    writer.write(line.encode() + b"\n")
                    writer.write_eof()
                    return (await reader.read()).decode(errors="replace")
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise Unavailable(f"HAProxy does not answer: {str(error) or 'in time'}") from error

    async def _until(self, before: int) -> None:
        """Returns once another worker than `before` takes connections."""
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while loop.time() < end:
            await asyncio.sleep(_LOOK)  # HAProxy tells nobody when its new worker is there
            if not self.pid:
                raise Unavailable("HAProxy ended as soon as it was started")
            try:
                current = (await self.workers()).current
            except Unavailable:
                continue
            if current not in (0, before):
                return
        raise Unavailable("HAProxy did not take the new configuration in time")

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.kill(self._pid, number)
        except ProcessLookupError as error:
            raise Unavailable("HAProxy is gone") from error

    def _found(self) -> int:
        try:
            pid = int((self._directory / "haproxy.pid").read_text())
        except (OSError, ValueError):
            return 0
        return pid if self._is_ours(pid) else 0

    def _is_ours(self, pid: int) -> bool:
        """Whether that process is this directory's HAProxy; a child of ours that has ended is taken leave of.

        It executes itself anew for each configuration, and has no command line for that moment.
        """
        self.reap(pid)
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if any(words):
                return self._path("haproxy.cfg").encode() in words and b"-W" in words
            name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
        except OSError:
            return False
        return name == Path(self._program).name and rest.split()[0] not in ("Z", "X")

    def _path(self, name: str) -> str:
        return str(self._directory / name)
