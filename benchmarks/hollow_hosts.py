"""Hosts without anything on them, in a process of their own: what meshd's Ray child is to hosts that are real.

    python benchmarks/hollow_hosts.py FD HOSTS

It speaks meshd's bridge over the socket FD; a pod runs as soon as it is assigned.
"""

import asyncio
import os
import socket
import sys

from mesh.errors import MeshError
from mesh.fleet.frames import read_frame, write_frame
from mesh.v1 import bridge_pb2, node_pb2
from tests.harness.hollow import HollowAgent

_REQUESTS = {
    "observe": node_pb2.ObserveRequest, "assign": node_pb2.Assignment, "program": node_pb2.ServiceTable,
}  # fmt: skip


def agents(count: int) -> dict[str, HollowAgent]:
    """So many hosts with an address of their own each."""
    found = {}
    for number in range(count):
        agent = HollowAgent(f"host{number:04}")
        agent.address = f"10.77.{number // 250}.{number % 250 + 1}"
        found[agent.name] = agent
    return found


async def serve(sock: socket.socket, count: int) -> None:
    """Until meshd closes the socket."""
    reader, writer = await asyncio.open_connection(sock=sock)
    hosts = agents(count)
    calls: dict[int, asyncio.Task[None]] = {}
    told = bridge_pb2.BridgeHosts(connected=True, state="connected", nodes=sorted(hosts))
    write_frame(writer, bridge_pb2.BridgeFrame(hosts=told))

    async def carry(call: bridge_pb2.BridgeCall) -> None:
        reply = node_pb2.Reply()
        try:
            request = _REQUESTS[call.method].FromString(call.payload)
            answer = await getattr(hosts[call.node], call.method)(request)
            reply.payload = answer.SerializeToString()
            hosts[call.node].assignments.clear()  # which tests look at: ten thousand of them are a gigabyte and more
            hosts[call.node].pieces.clear()
        except MeshError as error:
            reply.error_kind, reply.error_message = error.kind, error.message
        write_frame(writer, bridge_pb2.BridgeFrame(answer=bridge_pb2.BridgeAnswer(id=call.id, reply=reply)))
        await writer.drain()

    async with asyncio.TaskGroup() as group:
        while frame := await read_frame(reader):
            if frame.HasField("call"):
                task = group.create_task(carry(frame.call))
                calls[frame.call.id] = task
                task.add_done_callback(lambda _, number=frame.call.id: calls.pop(number))
            elif frame.HasField("cancel") and frame.cancel.id in calls:
                calls[frame.cancel.id].cancel()
        os._exit(0)


if __name__ == "__main__":
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])))
