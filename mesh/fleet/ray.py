"""The child of meshd that talks to Ray: `python -m mesh.fleet.ray`, the only `import ray` of the control side.

Rules: frames of `BridgeFrame` on one inherited socket, nothing else shared with meshd; crash-only: whatever is odd
ends this process, and `fleet.bridge` starts it again. Ray may block, abort or kill it without meshd noticing more
than Unavailable. It dies with meshd.
"""

import argparse
import asyncio
import contextlib
import ctypes
import importlib
import logging
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Set
from typing import Any

import ray
from ray import exceptions
from ray._private.state import state
from ray._private.worker import global_worker

from mesh.errors import Unavailable
from mesh.fleet.frames import read_frame, write_frame
from mesh.fleet.ray_names import HOST_RESOURCE, NAMESPACE, actor_name, host_resource
from mesh.v1 import bridge_pb2, node_pb2

_BUSY_LOOK = 1.0  # seconds between looks at Ray's nodes while something changes,
_IDLE_LOOK = 5.0  # and while nothing does
_SETTLED = 15.0  # seconds without a change until that
_HEAD_PATIENCE = 5.0  # seconds of a look that takes longer because the head is away, until that is said


class Nodes:
    """The agents of the Ray hosts that are alive, by node name; makes the actor of a host that has none."""

    def __init__(self, actor_class: Any) -> None:
        self._class = actor_class
        self.handles: dict[str, Any] = {}
        self._doubted: set[str] = set()
        self._ended: list[bridge_pb2.BridgeEnded] = []

    def doubt(self, name: str) -> None:
        """A call to this host's agent has failed: the next look asks where the head thinks that it is."""
        self._doubted.add(name)

    def ended(self) -> list[bridge_pb2.BridgeEnded]:
        """Which actors were ended since the last call, and why."""
        told, self._ended = self._ended, []
        return told

    def look(self) -> set[str]:
        """Asks the head who is alive and holds an actor for each (blocking); returns their names."""
        nodes = ray_nodes()
        alive = {
            node["NodeName"]
            for node in nodes
            if node["Alive"] and node["Resources"].get(HOST_RESOURCE) and _names_itself(node)
        }
        doubted, self._doubted = self._doubted, set()
        # A head that ends after it has noted a raylet's end and before that of its actors never looks at these again.
        ended = {node["NodeID"] for node in nodes if not node["Alive"]}
        for name in doubted & self.handles.keys():
            self._end(name, "Ray's head has it on a raylet that has ended", ended)
        for name in alive - self.handles.keys():
            try:
                self.handles[name] = self._ensure(name)
            except AssertionError:  # Ray's way to say that the head has the actor, but its class no longer
                # A power loss leaves it so: nobody can have a handle of such an actor, and no worker can make it.
                self._end(name, "Ray's head has lost its class")
                alive.discard(name)  # it is made at the next look
        for name in self.handles.keys() - alive:
            del self.handles[name]
        return alive

    def _end(self, node: str, why: str, homes: Set[str] | None = None) -> None:
        """Ends for good the actors of a host's agent that the head has left behind, so that it is made anew; of several
        `homes` given, those alone that are alive there, as the head thinks."""
        for actor, home in actors_of(actor_name(node)).items():
            if homes is None or home in homes:
                end_actor(actor)
                self.handles.pop(node, None)
                self._ended.append(bridge_pb2.BridgeEnded(node=node, why=why))

    def _ensure(self, node: str) -> Any:
        # Pinned by the host's own resource, never by node id: a host that rejoins has a new one.
        return self._class.options(
            name=actor_name(node),
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            resources={host_resource(node): 0.001},
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=4000,  # long-polls hold their slot
        ).remote()


def ray_nodes() -> list[dict[str, Any]]:
    """Every Ray host that is or was; asks the head (blocking)."""
    found: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # Ray has no types there
    return found


def actors_of(name: str) -> dict[str, str]:
    """The actors of this name that have not ended, by id: on which Ray node the head thinks that each is alive, "" for
    one that is not (blocking)."""
    # Private: what is public asks the dashboard, which is not there.
    told: dict[str, dict[str, Any]] = state.actor_table(None)
    return {
        actor: str(about["Address"]["NodeID"]) if about["State"] == "ALIVE" else ""
        for actor, about in told.items()
        if about["Name"] == name and about["State"] != "DEAD"
    }


def end_actor(actor: str) -> None:
    """Ends an actor for good, by its id: nobody needs a handle of it (blocking)."""
    core: Any = global_worker.core_worker  # type: ignore[attr-defined]  # set when it connects
    core.kill_actor(ray.ActorID.from_hex(actor), True)


def _names_itself(node: dict[str, Any]) -> bool:
    return bool(node["Resources"].get(host_resource(node["NodeName"])))


class Child:
    """One connection to meshd, one to Ray."""

    def __init__(self, nodes: Nodes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._nodes = nodes
        self._reader = reader
        self._writer = writer
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._stir = asyncio.Event()
        self._told = bridge_pb2.BridgeHosts()

    async def run(self) -> None:
        """Until meshd closes the socket or Ray is lost."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            async for frame in self._frames():
                if frame.HasField("call"):
                    task = group.create_task(self._carry(frame.call))
                    self._calls[frame.call.id] = task
                    task.add_done_callback(lambda _, number=frame.call.id: self._calls.pop(number))  # type: ignore[misc]
                elif call := self._calls.get(frame.cancel.id):
                    call.cancel()
            os._exit(0)  # meshd is gone

    async def _frames(self) -> AsyncIterator[bridge_pb2.BridgeFrame]:
        while frame := await read_frame(self._reader):
            yield frame

    async def _watch(self) -> None:
        """Tells meshd which hosts there are, whenever that changes."""
        changed_at = time.monotonic()
        while True:
            if self._tell(await self._look()):
                changed_at = time.monotonic()
            settled = time.monotonic() - changed_at > _SETTLED
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stir.wait(), _IDLE_LOOK if settled else _BUSY_LOOK)
                changed_at = time.monotonic()
                await asyncio.sleep(_BUSY_LOOK)  # a failed call: look soon, but not for each of them
            self._stir.clear()

    async def _look(self) -> set[str]:
        """Who is alive. A head that is away stops only this: agents are still reached, without it."""
        while True:
            look = asyncio.create_task(asyncio.to_thread(self._nodes.look))
            done, _ = await asyncio.wait([look], timeout=_HEAD_PATIENCE)
            if not done:
                self._tell(set(self._nodes.handles), "connected; Ray's head does not answer")
            try:
                alive = await look
            except exceptions.RayError as error:
                self._tell(set(self._nodes.handles), f"connected; Ray's head: {_first_line(error)}")
                await asyncio.sleep(_BUSY_LOOK)
                continue
            for ended in self._nodes.ended():
                write_frame(self._writer, bridge_pb2.BridgeFrame(ended=ended))
            return alive

    def _tell(self, alive: set[str], state: str = "connected") -> bool:
        hosts = bridge_pb2.BridgeHosts(connected=True, state=state, nodes=sorted(alive))
        if hosts == self._told:
            return False
        self._told = hosts
        write_frame(self._writer, bridge_pb2.BridgeFrame(hosts=hosts))
        return True

    async def _carry(self, call: bridge_pb2.BridgeCall) -> None:
        answer = bridge_pb2.BridgeAnswer(id=call.id, reply=await self._ask(call))
        write_frame(self._writer, bridge_pb2.BridgeFrame(answer=answer))
        await self._writer.drain()

    async def _ask(self, call: bridge_pb2.BridgeCall) -> node_pb2.Reply:
        handle = self._nodes.handles.get(call.node)
        if handle is None:
            return _unavailable(call, "the host has not joined Ray or is gone")
        ref = getattr(handle, call.method).remote(call.payload)
        try:
            return node_pb2.Reply.FromString(await ref)
        except asyncio.CancelledError:
            ray.cancel(ref)
            raise
        except exceptions.ActorDiedError as error:  # for good: it is made again at the next look
            if self._nodes.handles.get(call.node) is handle:
                del self._nodes.handles[call.node]
            return self._failed(call, error)
        except exceptions.RayError as error:
            return self._failed(call, error)

    def _failed(self, call: bridge_pb2.BridgeCall, error: Exception) -> node_pb2.Reply:
        self._nodes.doubt(call.node)
        self._stir.set()
        return _unavailable(call, _first_line(error))


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


def _unavailable(call: bridge_pb2.BridgeCall, why: str) -> node_pb2.Reply:
    message = f"cannot reach the agent of {call.node}: {why}"
    return node_pb2.Reply(error_kind=Unavailable.kind, error_message=message)


def connect(address: str, node_ip: str, patience: int) -> None:
    """Joins Ray as a driver within so many seconds, or ends this process: ray.init may block for minutes."""
    signal.alarm(patience)  # its default action ends the process, even inside of Ray's C++
    ray.init(
        address=address,
        namespace=NAMESPACE,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _node_ip_address=node_ip,
    )
    signal.alarm(0)


def load(name: str) -> Any:
    """The actor class named "module:Class", as a Ray class."""
    module, _, attribute = name.partition(":")
    return ray.remote(getattr(importlib.import_module(module), attribute))


def end_with_the_raylet() -> None:
    """Ends this process the moment the raylet that it hangs on does: a driver outlives it, but as a deaf one."""
    own = ray.get_runtime_context().get_node_id()
    path = next(node["RayletSocketName"] for node in ray_nodes() if node["NodeID"] == own)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(path)
        pid, _, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    asyncio.get_running_loop().add_reader(os.pidfd_open(pid), os._exit, 1)


async def serve(sock: socket.socket, actor: str) -> None:
    """Serves meshd on `sock`."""
    end_with_the_raylet()
    reader, writer = await asyncio.open_connection(sock=sock)
    await Child(Nodes(load(actor)), reader, writer).run()


def main() -> int:
    """Command line; see `fleet.bridge` for its only caller."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--node-ip", required=True)
    parser.add_argument("--actor", required=True)
    parser.add_argument("--patience", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    told = parser.parse_args()
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != told.parent:
        return 1
    sock = socket.socket(fileno=told.fd)
    sock.setblocking(False)
    connect(told.address, told.node_ip, told.patience)
    asyncio.run(serve(sock, told.actor))
    return 0


if __name__ == "__main__":
    sys.exit(main())
