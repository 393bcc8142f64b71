"""The agent without Ray: hosted by this process, by the last orders on the disk, until Ray's actor comes.

Rule: it knows no meshd, and no Secret: a container that needs one waits, and the log says so. An actor that knocks ends
it; its supervisor starts who stands by (standby.py) anew.
"""

import asyncio
import socket
import sys
from contextlib import suppress

import structlog

from mesh.errors import Unavailable
from mesh.v1.node_pb2 import ObserveRequest
from nodeagent.app import HostAgent
from nodeagent.config import AgentConfig
from nodeagent.lock import KNOCK
from nodeagent.loglines import PROCESSORS

log = structlog.get_logger()


async def serve_alone(config: AgentConfig, lock: int, door: socket.socket) -> None:
    """Returns when an actor has come for the host."""
    knocked = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            if await reader.readline() == KNOCK:
                knocked.set()
        writer.close()

    log.warning("ray_is_away", node=config.node_name, note="this process has the host until Ray's actor comes")
    agent = HostAgent(config)
    knocking = await asyncio.start_unix_server(answer, sock=door)
    try:
        serving = asyncio.create_task(agent.serve(lock))
        telling = asyncio.create_task(_tell(agent))
        asked = asyncio.create_task(knocked.wait())
        await asyncio.wait({serving, telling, asked}, return_when=asyncio.FIRST_COMPLETED)
        for task in (telling, asked):
            task.cancel()
        if not serving.done():
            log.info("stepping_aside", node=config.node_name)
            serving.cancel()
        for task in (serving, telling):
            with suppress(asyncio.CancelledError):
                await task
    finally:
        knocking.close()


async def _tell(agent: HostAgent) -> None:
    """Writes into the log what nobody hears now: which containers wait, and why."""
    boot, version = "", 0
    told: dict[str, str] = {}
    while True:
        try:
            observed = await agent.observe(ObserveRequest(boot=boot, after_version=version, wait_milliseconds=60_000))
        except Unavailable:  # it takes its time to begin, and has waited for itself already
            continue
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
        processors=PROCESSORS,
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
