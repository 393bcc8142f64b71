"""An agent that only remembers, hosted by the real NodeActor: what crosses Ray is tested without a host's engine."""

import asyncio
import os
from pathlib import Path

from ray.experimental import internal_kv

from mesh.errors import Conflict
from mesh.v1 import node_pb2
from nodeagent.actor import NodeActor
from nodeagent.config import AgentConfig
from nodeagent.door import Door
from nodeagent.identity import Identity


class StubAgent:
    """Fits AgentPort; boot: its process id. The stream "crash" ends it; by "forget" Ray's head loses its class."""

    def __init__(self) -> None:
        root = Path(os.environ["MESH_AGENT_CONFIG"]).parent.parent
        self.door = Door(Identity.of(AgentConfig("host1", "10.77.0.1", root)))
        self.epoch = 0
        self.waiting = 0
        self.ended = asyncio.Event()

    async def run(self) -> None:
        await self.ended.wait()

    async def assign(self, assignment: node_pb2.Assignment) -> node_pb2.AssignReply:
        if assignment.fence.epoch < self.epoch:
            raise Conflict(f"epoch {assignment.fence.epoch} is older than {self.epoch}")
        self.epoch = assignment.fence.epoch
        return node_pb2.AssignReply(fence=assignment.fence, run_digest=assignment.digest)

    async def program(self, table: node_pb2.ServiceTable) -> node_pb2.AssignReply:
        return node_pb2.AssignReply(run_digest=table.digest)

    async def observe(self, request: node_pb2.ObserveRequest) -> node_pb2.Observed:
        self.waiting += 1
        try:
            await asyncio.sleep(request.wait_milliseconds / 1000)
        finally:
            self.waiting -= 1
        return node_pb2.Observed(boot=str(os.getpid()), version=self.waiting, full=True)

    async def open_stream(self, request: node_pb2.StreamOpen) -> node_pb2.StreamOpened:
        if request.pod_uid == "crash":
            self.ended.set()
        if request.pod_uid == "forget":
            for key in internal_kv._internal_kv_list(b"ActorClass", namespace=b"fun"):
                internal_kv._internal_kv_del(key, namespace=b"fun")
        if request.pod_uid == "bug":
            raise ZeroDivisionError("a bug")
        return node_pb2.StreamOpened(id=request.pod_uid)

    async def read_stream(self, request: node_pb2.StreamRead) -> node_pb2.StreamBatch:
        data = b"x" * request.max_bytes
        return node_pb2.StreamBatch(chunks=[node_pb2.Chunk(channel=node_pb2.STDOUT, data=data)])

    async def write_stream(self, request: node_pb2.StreamWrite) -> node_pb2.StreamWritten:
        return node_pb2.StreamWritten()

    async def close_stream(self, request: node_pb2.StreamClose) -> node_pb2.StreamClosed:
        return node_pb2.StreamClosed()


class StubActor(NodeActor):
    """The real actor around the stub."""

    def __init__(self) -> None:
        super().__init__(StubAgent)
