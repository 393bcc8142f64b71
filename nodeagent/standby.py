"""The host's own keeper: it hosts the agent while Ray can't (no head, a raylet that is dead), and steps aside for Ray.

Rules: who holds the host's lock has the host (app.py). As long as an actor has it, this process waits at the lock and
costs nothing. A lock that is free is left free for a while, for an actor that died is started again by Ray; only then
it is taken. An actor that finds it held knocks at a socket: then this process ends, and its supervisor starts it anew.
It knows no meshd: it goes on with the last Assignment from the disk, where no Secret is.
"""

import asyncio
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from nodeagent.config import AgentConfig
from nodeagent.lock import KNOCK, lock_host, try_lock

if TYPE_CHECKING:
    from nodeagent.app import HostAgent

log = structlog.get_logger()

GRACE = 10.0  # seconds that a free host is left to Ray; an actor that was killed is back after about one


async def stand_by(config: AgentConfig, grace: float = GRACE) -> None:
    """Waits, hosts the agent when nobody else does, and returns when an actor has come for the host."""
    knocked = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            if await reader.readline() == KNOCK:
                knocked.set()
        writer.close()

    server = await asyncio.start_unix_server(answer, config.standby_socket)
    async with server:
        lock = await _a_host_without_agent(config, grace)
        knocked.clear()  # whoever knocked before found the host held by another
        await _host(config, lock, knocked)


async def _a_host_without_agent(config: AgentConfig, grace: float) -> int:
    """The lock of a host that nobody has had for so many seconds."""
    while True:
        os.close(await lock_host(config.lock_file))
        await asyncio.sleep(grace)
        lock = try_lock(config.lock_file)
        if lock is not None:
            return lock


async def _host(config: AgentConfig, lock: int, knocked: asyncio.Event) -> None:
    from nodeagent.app import HostAgent  # noqa: PLC0415 - who only waits needs none of it

    log.warning("ray_is_away", node=config.node_name, note="this process has the host until Ray's actor comes")
    agent = HostAgent(config)
    serving = asyncio.create_task(agent.serve(lock))
    telling = asyncio.create_task(_tell(agent))
    asked = asyncio.create_task(knocked.wait())
    await asyncio.wait({serving, telling, asked}, return_when=asyncio.FIRST_COMPLETED)
    for task in (telling, asked):
        task.cancel()
    if not serving.done():
        log.info("stepping_aside", node=config.node_name)
        serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


async def _tell(agent: "HostAgent") -> None:
    """Writes into the log what nobody hears now: which containers wait, and why."""
    from mesh.v1.node_pb2 import ObserveRequest  # noqa: PLC0415

    boot, version, told = "", 0, {}  # type: str, int, dict[str, str]
    while True:
        observed = await agent.observe(ObserveRequest(boot=boot, after_version=version, wait_milliseconds=60_000))
        boot, version = observed.boot, observed.version
        for pod in observed.pods:
            waiting = [c.state.waiting for c in pod.status.container_statuses if c.state.waiting.message]
            why = "; ".join(f"{w.reason}: {w.message}" for w in waiting)
            if why and told.get(pod.uid) != why:
                log.warning("pod_waits", pod=f"{pod.namespace}/{pod.name}", why=why)
            told[pod.uid] = why
            if pod.gone:
                del told[pod.uid]


def log_lines() -> None:
    """One JSON object a line, to standard error."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
