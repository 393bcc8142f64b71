"""A real meshd, with store, links and bridge, whose hosts are hollow: pods run on them once they are assigned.

    python benchmarks/hollow_meshd.py DIRECTORY HOSTS

It says its port on standard output; `ca`, `crt` and `key` of an admin lie in DIRECTORY. `started` starts one.
"""

import asyncio
import itertools
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import grpc
import structlog
from google.protobuf.message import Message
from grpc import aio

from mesh import pki
from mesh.config import Limits, Network
from mesh.errors import Unavailable, from_kind
from mesh.fleet.frames import read_frame, write_frame
from mesh.meshd import Meshd, Settings
from mesh.rpc.tls import Tls
from mesh.store.encrypted import EncryptedCodec
from mesh.store.keyring import Keyring
from mesh.store.sqlite import SqliteStore
from mesh.v1 import bridge_pb2, node_pb2

ROOT = Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")


class HollowNode:
    """One host's agent, an AgentPort, at the other end of a socket."""

    def __init__(self, name: str, hosts: "HollowHosts") -> None:
        self._name = name
        self._hosts = hosts

    async def assign(self, request: node_pb2.Assignment) -> node_pb2.AssignReply:
        """See AgentPort, as the next two."""
        return node_pb2.AssignReply.FromString(await self._hosts.call(self._name, "assign", request))

    async def program(self, request: node_pb2.ServiceTable) -> node_pb2.AssignReply:
        """."""
        return node_pb2.AssignReply.FromString(await self._hosts.call(self._name, "program", request))

    async def observe(self, request: node_pb2.ObserveRequest) -> node_pb2.Observed:
        """."""
        return node_pb2.Observed.FromString(await self._hosts.call(self._name, "observe", request))


class HollowHosts:
    """The Hosts port, with hollow hosts in a process of their own: meshd's frames to its Ray child, without Ray."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._agents: dict[str, Any] = {}
        self._changed = asyncio.Event()
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        self._ids = itertools.count(1)
        self._writer: asyncio.StreamWriter | None = None

    @property
    def state(self) -> str:
        """As RayHosts says it."""
        return "connected" if self._agents else "starting"

    def agents(self) -> dict[str, Any]:
        """By name."""
        return dict(self._agents)

    async def changed(self) -> None:
        """Once, when they are there."""
        await self._changed.wait()
        self._changed.clear()

    async def call(self, node: str, method: str, request: Message) -> bytes:
        """One call, there and back."""
        if self._writer is None:
            raise Unavailable("the hosts are not there yet")
        number, waiting = next(self._ids), asyncio.get_running_loop().create_future()
        self._calls[number] = waiting
        call = bridge_pb2.BridgeCall(id=number, node=node, method=method, payload=request.SerializeToString())
        try:
            write_frame(self._writer, bridge_pb2.BridgeFrame(call=call))
            return bytes(await waiting)
        finally:
            del self._calls[number]

    async def run(self) -> None:
        """Starts them and listens."""
        ours, theirs = socket.socketpair()
        await asyncio.create_subprocess_exec(
            sys.executable, str(ROOT / "benchmarks" / "hollow_hosts.py"), str(theirs.fileno()), str(self._count),
            pass_fds=[theirs.fileno()], env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        theirs.close()
        reader, self._writer = await asyncio.open_connection(sock=ours)
        while frame := await read_frame(reader):
            if frame.HasField("hosts"):
                self._agents = {name: HollowNode(name, self) for name in frame.hosts.nodes}
                self._changed.set()
            elif (waiting := self._calls.get(frame.answer.id)) is not None and not waiting.done():
                reply = frame.answer.reply
                if reply.error_kind:
                    waiting.set_exception(from_kind(reply.error_kind, reply.error_message))
                else:
                    waiting.set_result(reply.payload)


async def serve(directory: Path, hosts: int) -> None:
    """A meshd that says its port on standard output and runs until it is killed."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    now = int(time.time())
    ca = pki.make_ca("scale", now)
    server = pki.issue(ca, pki.server("meshd", ("127.0.0.1",)), now)
    admin = pki.issue(ca, pki.user("admin", (pki.ADMINS,)), now)
    for name, content in (("ca", ca.certificate), ("crt", admin.certificate), ("key", admin.key)):
        (directory / name).touch(0o600)
        (directory / name).write_bytes(content)
    store = await SqliteStore.open(directory / "store.db", EncryptedCodec(Keyring([os.urandom(32)])))
    there = HollowHosts(hosts)
    settings = Settings(
        listen=("127.0.0.1:0",), network=Network(cluster_cidr="10.128.0.0/10"), store_name="sqlite",
        limits=Limits(100_000, 100_000, 10_000),
    )  # fmt: skip
    meshd = Meshd(store, there, Tls(server, ca.certificate), settings)
    async with asyncio.TaskGroup() as group:
        group.create_task(meshd.run())
        await meshd.serving.wait()
        print(json.dumps({"port": meshd.ports[0]}), flush=True)
        group.create_task(there.run())


class Process:
    """What a process has used."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @property
    def cpu(self) -> float:
        """Seconds of CPU."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @property
    def memory(self) -> int:
        """MiB that are its own."""
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) // 1024


@asynccontextmanager
async def started(hosts: int) -> AsyncIterator[tuple[Process, aio.Channel]]:
    """A meshd with so many hosts, and a channel to it."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        argv = [sys.executable, __file__, folder, str(hosts)]
        process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
        if process.stdout is None or not (line := await process.stdout.readline()).startswith(b"{"):
            raise SystemExit("meshd did not start")
        reader = asyncio.create_task(process.stdout.read())
        ca, certificate, key = ((directory / name).read_bytes() for name in ("ca", "crt", "key"))
        credentials = grpc.ssl_channel_credentials(ca, key, certificate)
        options = [("grpc.max_receive_message_length", 256 << 20)]
        port = json.loads(line)["port"]
        async with aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
            try:
                yield Process(process.pid), channel
            finally:
                process.kill()
                await process.wait()
                await reader


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
