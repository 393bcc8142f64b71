"""An agent in a process of its own, so that it can be killed as `kill -9` does: orders in, news out, over its pipes.

Rule: frames of four bytes of length and a message; Assignments on stdin, Observed on stdout, logs on stderr.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from mesh.v1.node_pb2 import Assignment, Observed, ObserveRequest, PodReport
from nodeagent import config
from nodeagent.agent import Agent
from nodeagent.runtime.podman import PodmanRuntime
from tests.harness.podman import PodmanHost
from tests.harness.unproven import Unproven

SIZE = 4


class AgentProcess:
    """The parent's side: one process after another on one host; `heard` is the newest of each pod, by uid."""

    def __init__(self, host: PodmanHost) -> None:
        self.host = host
        self.heard: dict[str, PodReport] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._news = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """A new agent."""
        made = self.host.config
        lines = {"node_name": made.node_name, "node_ip": made.node_ip, "root": made.root, "bridge": made.bridge}
        path = made.root / "agent-process.toml"
        path.write_text("".join(f'{name} = "{value}"\n' for name, value in lines.items()))
        with (made.root / "agent-process.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.harness.agent_process", str(path), stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self._listener = asyncio.create_task(self._listen(self._process))

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while True:
            try:
                size = int.from_bytes(await process.stdout.readexactly(SIZE))
                observed = Observed.FromString(await process.stdout.readexactly(size))
            except asyncio.IncompleteReadError:
                return
            self.heard.update({p.uid: p for p in observed.pods})
            self._news.set()

    def order(self, assignment: Assignment) -> None:
        """Sends it, unless the agent is dead."""
        process = self._process
        if process is not None and process.stdin is not None and process.returncode is None:
            data = assignment.SerializeToString()
            process.stdin.write(len(data).to_bytes(SIZE) + data)

    async def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None and self._listener is not None:
            self._process.kill()
            await self._process.wait()
            await self._listener
            self._process = None

    async def until(self, true: Callable[[], bool], seconds: float) -> None:
        """Waits for news that make it true; raises TimeoutError with the agent's log."""
        try:
            async with asyncio.timeout(seconds):
                while not true():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError as error:
            raise TimeoutError((self.host.config.root / "agent-process.log").read_text()[-4000:]) from error


async def main(path: Path) -> None:
    """The child's side."""
    out, sys.stdout = sys.stdout.buffer, sys.stderr
    made = config.parse(path.read_text())
    agent = Agent(made, PodmanRuntime(made), identity=Unproven.at(made))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    async def orders() -> None:
        while True:
            size = int.from_bytes(await reader.readexactly(SIZE))
            await agent.assign(Assignment.FromString(await reader.readexactly(size)))

    async def news() -> None:
        boot, version = "", 0
        while True:
            request = ObserveRequest(boot=boot, after_version=version, wait_milliseconds=5000)
            observed = await agent.observe(request)
            boot, version = observed.boot, observed.version
            data = observed.SerializeToString()
            out.write(len(data).to_bytes(SIZE) + data)
            out.flush()

    async with asyncio.TaskGroup() as group:
        for work in (agent.run(), orders(), news()):
            group.create_task(work)


if __name__ == "__main__":
    os.umask(0o077)
    asyncio.run(main(Path(sys.argv[1])))
