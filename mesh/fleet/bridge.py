"""The hosts of the mesh, through Ray: meshd's end of the child process that talks to it.

Rules: meshd never imports ray and never waits for it: the child (mesh.fleet.ray) is started once Ray's ports answer,
and started again whenever it ends; meanwhile calls fail at once with Unavailable. Hosts once known stay known while
Ray is away, so that nobody takes a restart of Ray for the end of the hosts.
"""

import asyncio
import contextlib
import itertools
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog
from google.protobuf.message import Message

from mesh.errors import Forbidden, Unavailable
from mesh.fleet import rayhead
from mesh.fleet.frames import read_frame, write_frame
from mesh.fleet.port import AgentPort
from mesh.fleet.ray_names import ACTOR, NODE_MANAGER_PORT, client_environment
from mesh.fleet.secured import Secured
from mesh.model.pauses import Pauses
from mesh.sessions import Trust
from mesh.v1 import bridge_pb2, node_pb2

_M = TypeVar("_M", bound=Message)
_CALL_SECONDS = 60.0  # for a call that is not a long-poll
_POLL_MARGIN = 15.0  # beyond what a long-poll may wait
_AGAIN = (0.1, 5.0)  # seconds between attempts to start the child: first, longest
_TCP_PATIENCE = 2.0
_JOIN_PATIENCE = (10.0, 60.0)  # seconds for a child to join Ray: first (a head that just died may hold it), longest

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RayAddress:
    """How this process finds Ray: the head, and the raylet of its own host, without which a driver can't be."""

    head: str  # ip:port
    node_ip: str
    token: Path
    home: Path
    tls: Path  # the directory of this host's certificate for Ray
    actor: str = ACTOR


class RayNode:
    """One host's agent, an AgentPort: each call crosses to the child and from there to the actor, sealed."""

    def __init__(self, name: str, secured: Secured) -> None:
        self.name = name
        self._secured = secured

    def __repr__(self) -> str:
        return f"RayNode({self.name!r})"

    async def assign(self, assignment: node_pb2.Assignment) -> node_pb2.AssignReply:
        return await self._call("assign", assignment, node_pb2.AssignReply)

    async def program(self, table: node_pb2.ServiceTable) -> node_pb2.AssignReply:
        return await self._call("program", table, node_pb2.AssignReply)

    async def flows(self, request: node_pb2.FlowsRequest) -> node_pb2.Flows:
        return await self._call("flows", request, node_pb2.Flows)

    async def observe(self, request: node_pb2.ObserveRequest) -> node_pb2.Observed:
        return await self._call("observe", request, node_pb2.Observed, _poll_seconds(request.wait_milliseconds))

    async def open_stream(self, request: node_pb2.StreamOpen) -> node_pb2.StreamOpened:
        return await self._call("open_stream", request, node_pb2.StreamOpened)

    async def read_stream(self, request: node_pb2.StreamRead) -> node_pb2.StreamBatch:
        return await self._call("read_stream", request, node_pb2.StreamBatch, _poll_seconds(request.wait_milliseconds))

    async def write_stream(self, request: node_pb2.StreamWrite) -> node_pb2.StreamWritten:
        return await self._call("write_stream", request, node_pb2.StreamWritten)

    async def close_stream(self, request: node_pb2.StreamClose) -> node_pb2.StreamClosed:
        return await self._call("close_stream", request, node_pb2.StreamClosed)

    async def _call(self, method: str, request: Message, answer: type[_M], seconds: float = _CALL_SECONDS) -> _M:
        payload = await self._secured.call(method, request.SerializeToString(), seconds)
        return answer.FromString(payload)


def _poll_seconds(wait_milliseconds: int) -> float:
    return wait_milliseconds / 1000 + _POLL_MARGIN


class _Connection:
    """One life of the child: its socket and the calls under way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.calls: dict[int, asyncio.Future[node_pb2.Reply]] = {}

    def answer(self, answer: bridge_pb2.BridgeAnswer) -> None:
        waiting = self.calls.get(answer.id)
        if waiting and not waiting.done():
            waiting.set_result(answer.reply)

    def fail(self) -> None:
        """Every call under way is lost: the child is gone."""
        for waiting in self.calls.values():
            if not waiting.done():
                waiting.set_exception(Unavailable("the connection to Ray was lost during the call"))


class RayHosts:
    """`fleet.port.Hosts` over Ray. `run` must be running; everything else answers at once, whatever Ray does."""

    def __init__(self, address: RayAddress, trust: Trust) -> None:
        self._address = address
        self._trust = trust
        self._agents: dict[str, AgentPort] = {}
        self._state = "starting: Ray has not been asked yet"
        self._connection: _Connection | None = None
        self._changed = asyncio.Event()
        self._ids = itertools.count(1)

    @property
    def state(self) -> str:
        """ "connected", or in words why not."""
        return self._state

    def agents(self) -> dict[str, AgentPort]:
        """By node name; the same object for the same host, until the host is gone."""
        return dict(self._agents)

    async def changed(self) -> None:
        """Returns when `agents` or `state` may have changed since the last call; for one waiter."""
        await self._changed.wait()
        self._changed.clear()

    async def carry(self, node: str, method: str, payload: bytes, seconds: float) -> node_pb2.Reply:
        """Takes one call to the agent's actor as it is, and brings the Reply; raises Unavailable."""
        connection = self._connection
        if connection is None:
            raise Unavailable(f"cannot reach the agent of {node}: {self._state}")
        number = next(self._ids)
        waiting: asyncio.Future[node_pb2.Reply] = asyncio.get_running_loop().create_future()
        connection.calls[number] = waiting
        call = bridge_pb2.BridgeCall(id=number, node=node, method=method, payload=payload)
        try:
            write_frame(connection.writer, bridge_pb2.BridgeFrame(call=call))
            async with asyncio.timeout(seconds):
                reply = await waiting
        except TimeoutError as error:
            raise Unavailable(f"the agent of {node} did not answer within {seconds:.0f} s") from error
        finally:
            del connection.calls[number]
            if waiting.cancelled() and connection is self._connection:
                cancel = bridge_pb2.BridgeCancel(id=number)
                write_frame(connection.writer, bridge_pb2.BridgeFrame(cancel=cancel))
        return reply

    async def run(self) -> None:
        """Keeps the child alive until cancelled."""
        pauses, patience = Pauses(*_AGAIN), Pauses(*_JOIN_PATIENCE)
        while True:
            if await self._ports_answer() and await self._one_life(int(patience.next())):
                pauses.reset()
                patience.reset()
            await asyncio.sleep(pauses.next())

    async def _ports_answer(self) -> bool:
        head_ip, _, port = self._address.head.rpartition(":")
        for what, ip, number in (
            ("Ray's head", head_ip, int(port)),
            ("this host's raylet", self._address.node_ip, NODE_MANAGER_PORT),
        ):
            address = f"{ip}:{number}"
            try:
                await asyncio.to_thread(rayhead.prove, address, self._address.tls, _TCP_PATIENCE)
            except Forbidden as error:
                self._say(error.message)
                return False
            except Unavailable:
                self._say(f"waiting for {what} at {address}")
                return False
        return True

    async def _one_life(self, patience: int) -> bool:
        """Starts a child and listens to it until it ends; says whether it had reached Ray."""
        ours, theirs = socket.socketpair()
        try:
            process = await self._spawn(theirs, patience)
        except OSError as error:  # no memory, no processes left: tried again
            ours.close()
            self._say(f"cannot start what talks to Ray: {error.strerror}")
            return False
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        connection = _Connection(reader, writer)
        try:
            await self._listen(connection)
        finally:
            reached, self._connection = self._connection is not None, None
            connection.fail()
            writer.close()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            code = await process.wait()
        log.warning("ray_connection_lost", exit_code=code)
        self._say("the connection to Ray was lost")
        return reached

    async def _spawn(self, theirs: socket.socket, patience: int) -> asyncio.subprocess.Process:
        address = self._address
        return await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "mesh.fleet.ray",
            f"--fd={theirs.fileno()}", f"--address={address.head}", f"--node-ip={address.node_ip}",
            f"--actor={address.actor}", f"--parent={os.getpid()}", f"--patience={patience}",
            env=_environment(os.environ, address), pass_fds=[theirs.fileno()], stdin=asyncio.subprocess.DEVNULL,
        )  # fmt: skip

    async def _listen(self, connection: _Connection) -> None:
        while frame := await read_frame(connection.reader):
            if frame.HasField("answer"):
                connection.answer(frame.answer)
            elif frame.HasField("hosts"):
                self._connection = connection
                self._learn(frame.hosts)
            elif frame.HasField("ended"):
                log.warning("ray_actor_ended", node=frame.ended.node, why=frame.ended.why)

    def _learn(self, hosts: bridge_pb2.BridgeHosts) -> None:
        for name in hosts.nodes:
            if name not in self._agents:
                self._agents[name] = RayNode(name, Secured(name, partial(self.carry, name), self._trust))
        for name in self._agents.keys() - set(hosts.nodes):
            del self._agents[name]
        self._state = hosts.state
        self._changed.set()
        log.info("ray_hosts", state=hosts.state, nodes=list(hosts.nodes))

    def _say(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self._changed.set()


def _environment(base: Mapping[str, str], address: RayAddress) -> dict[str, str]:
    kept = {key: base[key] for key in ("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH") if key in base}
    return {
        **kept,
        **client_environment(address.token, address.home, address.tls),
        # A call under way to an agent that died is given up at this heartbeat's pace, once its death has not been told
        # for so long (a second each by default). A faster heart beats at the expense of an idle host.
        "RAY_core_worker_internal_heartbeat_ms": "500",
        "RAY_timeout_ms_task_wait_for_death_info": "100",
    }
