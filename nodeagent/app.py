"""Wires the Agent of this host with Podman, the proxy's socket and the host's lock; nothing else.

Rule: one agent per host. Whoever comes second waits for the lock (lock.py), and has the host the moment the first
one is gone.
"""

import asyncio
import fcntl
import os
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import structlog

from mesh.errors import Invalid, Unavailable
from mesh.guard import guard
from mesh.v1 import node_pb2
from nodeagent import config as configuration
from nodeagent.agent import Agent
from nodeagent.config import AgentConfig
from nodeagent.door import Door
from nodeagent.identity import Identity
from nodeagent.keeping import Keeping
from nodeagent.lock import knock, opened, try_lock
from nodeagent.proxy import Proxy
from nodeagent.runtime.overland import Overland
from nodeagent.runtime.places import Places

log = structlog.get_logger()

PATIENCE = 5.0  # seconds that a call waits for the agent to have its host
CONFIG_VARIABLE = "MESH_AGENT_CONFIG"


def from_environment() -> "HostAgent":
    """The agent that the file named by MESH_AGENT_CONFIG describes; raises Invalid."""
    path = os.environ.get(CONFIG_VARIABLE, "")
    if not path:
        raise Invalid(f"{CONFIG_VARIABLE} must name the agent's configuration, agent.toml")
    try:
        return HostAgent(configuration.parse(Path(path).read_text()))
    except OSError as error:
        raise Invalid(f"cannot read the agent's configuration {path}: {error.strerror}") from error


class HostAgent:
    """An AgentPort that runs once it holds the host's lock; until then its calls are Unavailable."""

    def __init__(self, config: AgentConfig) -> None:
        self._config = config
        identity = Identity.of(config)
        self.door = Door(identity, refused=self._refused)
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeping = Keeping(identity, self._spawn)
        self._agent: asyncio.Future[Agent] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Waits for the host, which who stands by for it gives back when asked; then serves it until the agent ends."""
        close_to_others(Places.of(self._config).ray)
        self._keeping.begin()
        await self.serve(await lock_host(self._config))

    async def serve(self, lock: int) -> None:
        """Serves the host whose lock this is, until the agent ends."""
        for trouble in guard():
            log.warning("memory_may_leak", message=trouble)
        from nodeagent.runtime.podman import PodmanRuntime  # noqa: PLC0415 - the only place that knows Podman

        try:
            runtime = PodmanRuntime(self._config)
            agent = Agent(
                self._config, runtime, runtime_version=await podman_version(),
                proxy=lambda on_held: Proxy(self._config.proxy_socket, on_held),
                network=Overland(self._config.bridge, self._config.node_ip),
            )  # fmt: skip
            try:
                self._agent.set_result(agent)
                await agent.run()
            finally:
                await runtime.close()
        finally:
            os.close(lock)

    def _refused(self, refusal: node_pb2.Refusal) -> None:
        """Whoever has no host yet has nobody to tell it to."""
        if self._agent.done():
            self._agent.result().refusals.take(refusal)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ready(self) -> Agent:
        try:
            return await asyncio.wait_for(asyncio.shield(self._agent), PATIENCE)
        except TimeoutError:
            raise Unavailable(f"another agent still has {self._config.node_name}") from None

    async def assign(self, assignment: node_pb2.Assignment) -> node_pb2.AssignReply:
        """See AgentPort."""
        return await (await self._ready()).assign(assignment)

    async def program(self, table: node_pb2.ServiceTable) -> node_pb2.AssignReply:
        """See AgentPort."""
        return await (await self._ready()).program(table)

    async def flows(self, request: node_pb2.FlowsRequest) -> node_pb2.Flows:
        """See AgentPort."""
        return await (await self._ready()).flows(request)

    async def observe(self, request: node_pb2.ObserveRequest) -> node_pb2.Observed:
        """See AgentPort; what keeps the host's credentials good comes with the question."""
        return await (await self._ready()).observe(await self._keeping.asked(request))

    async def open_stream(self, request: node_pb2.StreamOpen) -> node_pb2.StreamOpened:
        """See AgentPort."""
        return await (await self._ready()).open_stream(request)

    async def read_stream(self, request: node_pb2.StreamRead) -> node_pb2.StreamBatch:
        """See AgentPort."""
        return await (await self._ready()).read_stream(request)

    async def write_stream(self, request: node_pb2.StreamWrite) -> node_pb2.StreamWritten:
        """See AgentPort."""
        return await (await self._ready()).write_stream(request)

    async def close_stream(self, request: node_pb2.StreamClose) -> node_pb2.StreamClosed:
        """See AgentPort."""
        return await (await self._ready()).close_stream(request)


def close_to_others(tmp: Path) -> None:
    """Takes everybody else's rights from Ray's directories, to which it gives them (0777) whenever a worker starts."""
    for directory in (tmp, *tmp.glob("session_2*"), *tmp.glob("session_2*/*")):
        if directory.is_dir() and not directory.is_symlink():
            directory.chmod(0o700)


async def lock_host(config: AgentConfig) -> int:
    """The descriptor that holds the host's lock, once it is free; who only stands by is asked to step aside."""
    fd = try_lock(config.lock_file)
    if fd is not None:
        return fd
    log.info("waiting_for_host", lock=str(config.lock_file))
    knock(config.standby_socket)
    waiting = opened(config.lock_file)
    loop = asyncio.get_running_loop()
    locked = asyncio.Event()

    def wait() -> None:
        fcntl.flock(waiting, fcntl.LOCK_EX)
        if not loop.is_closed():
            loop.call_soon_threadsafe(locked.set)

    threading.Thread(target=wait, name="host-lock", daemon=True).start()  # dies with the process, waiting or not
    await locked.wait()
    return waiting


async def podman_version() -> str:
    """As nodeInfo shows it; asked of the program once, for the service takes most of a second to tell."""
    try:
        process = await asyncio.create_subprocess_exec(
            "podman", "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        text, _ = await process.communicate()
    except OSError:
        return "podman://unknown"
    return f"podman://{text.decode().rpartition(' ')[2].strip() or 'unknown'}"
