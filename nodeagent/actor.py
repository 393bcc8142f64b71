"""The Ray actor that hosts a node's agent: bytes in, Agent, bytes out; no logic.

Rules: every method is async; an error crosses as a Reply, never as a pickled exception; when the agent ends, for
whatever reason, this process ends, and Ray starts it again (max_restarts=-1). Containers do not notice.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from functools import partial
from logging.handlers import RotatingFileHandler
from typing import NoReturn, Protocol

import structlog
from google.protobuf.message import DecodeError, Message

from mesh.errors import Invalid, MeshError, Unavailable
from mesh.v1 import node_pb2
from nodeagent.door import Door, refusal
from nodeagent.loglines import PROCESSORS

_REQUESTS: dict[str, type[Message]] = {
    "assign": node_pb2.Assignment,
    "program": node_pb2.ServiceTable,
    "flows": node_pb2.FlowsRequest,
    "observe": node_pb2.ObserveRequest,
    "open_stream": node_pb2.StreamOpen,
    "read_stream": node_pb2.StreamRead,
    "write_stream": node_pb2.StreamWrite,
    "close_stream": node_pb2.StreamClose,
}
LOG_VARIABLE = "MESH_AGENT_LOG"
_PAUSE = 1.0  # seconds before the end of an agent that failed: Ray itself restarts without any back-off


log = structlog.get_logger()


class Hosted(Protocol):
    """What an actor hosts: an AgentPort that runs until it fails, and the door to it."""

    door: Door

    async def run(self) -> None:
        """Serves this host; returns only when it is to be started afresh."""
        ...


def _log_to(path: str) -> None:
    """The agent's log: a file of its own, ten megabytes at most, kept three times."""
    file = RotatingFileHandler(path, maxBytes=10_000_000, backupCount=3)
    logging.basicConfig(level=logging.INFO, handlers=[file], format="%(message)s", force=True)
    structlog.configure(
        processors=PROCESSORS,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )


def _real_agent() -> Hosted:
    """The agent that the file named by MESH_AGENT_CONFIG describes."""
    from nodeagent import app  # noqa: PLC0415 - the control side imports this module to name the class, nothing more

    if path := os.environ.get(LOG_VARIABLE):
        _log_to(path)
    return app.from_environment()


class NodeActor:
    """One per host. Ray runs `__init__` and all methods on one event loop, which the agent shares."""

    def __init__(self, make: Callable[[], Hosted] = _real_agent) -> None:
        self._agent: asyncio.Future[Hosted] = asyncio.get_running_loop().create_future()
        self._running = asyncio.create_task(self._host(make))

    async def _host(self, make: Callable[[], Hosted]) -> NoReturn:
        try:
            agent = make()
            self._agent.set_result(agent)
            await agent.run()
            log.warning("agent_ended")
        except BaseException:
            log.critical("agent_crashed", exc_info=True)
        await asyncio.sleep(_PAUSE)
        os._exit(1)

    async def _call(self, method: str, payload: bytes) -> bytes:
        agent = await asyncio.shield(self._agent)
        reply = await agent.door.answer(method, payload, partial(self._carried, agent, method))
        return reply.SerializeToString()

    @staticmethod
    async def _carried(agent: Hosted, method: str, payload: bytes) -> node_pb2.Reply:
        try:
            request = _REQUESTS[method].FromString(payload)
            call: Callable[[Message], Awaitable[Message]] = getattr(agent, method)
            return node_pb2.Reply(payload=(await call(request)).SerializeToString())
        except MeshError as error:
            return refusal(error)
        except DecodeError as error:
            return refusal(Invalid(f"cannot read the request: {error}"))
        except Exception as error:
            log.error("call_failed", method=method, exc_info=True)
            return refusal(Unavailable(f"the agent failed in {method}: {type(error).__name__}: {error}"))

    async def hello(self, payload: bytes) -> bytes:
        return (await asyncio.shield(self._agent)).door.hello(payload).SerializeToString()

    async def assign(self, payload: bytes) -> bytes:
        return await self._call("assign", payload)

    async def program(self, payload: bytes) -> bytes:
        return await self._call("program", payload)

    async def flows(self, payload: bytes) -> bytes:
        return await self._call("flows", payload)

    async def observe(self, payload: bytes) -> bytes:
        return await self._call("observe", payload)

    async def open_stream(self, payload: bytes) -> bytes:
        return await self._call("open_stream", payload)

    async def read_stream(self, payload: bytes) -> bytes:
        return await self._call("read_stream", payload)

    async def write_stream(self, payload: bytes) -> bytes:
        return await self._call("write_stream", payload)

    async def close_stream(self, payload: bytes) -> bytes:
        return await self._call("close_stream", payload)
