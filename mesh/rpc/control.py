"""The Control service: how meshd does, a copy of its store, the kinds it knows.

Rule: nothing here changes anything.
"""

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from grpc import aio

from mesh.access.who import Who
from mesh.errors import MeshError, NotFound, Unavailable
from mesh.fleet.port import AgentPort
from mesh.model.kinds import KINDS
from mesh.model.protocol import PROTOCOL
from mesh.model.times import to_timestamp
from mesh.pki import Identity
from mesh.rpc.gate import current
from mesh.store.feed import Feed
from mesh.v1 import control_pb2 as pb
from mesh.v1.control_pb2_grpc import ControlServicer
from mesh.v1.node_pb2 import FlowsRequest

_CHUNK = 1 << 20
_PATIENCE = 5.0  # seconds that one host's proxy may take to tell what it carries
Context = aio.ServicerContext[Any, Any]


class Host(Protocol):
    """What the roster says of one host; `last_seen` is nanoseconds since the epoch, 0 for never."""

    @property
    def name(self) -> str: ...
    @property
    def connected(self) -> bool: ...
    @property
    def message(self) -> str: ...
    @property
    def last_seen(self) -> int: ...
    @property
    def settled(self) -> bool: ...
    @property
    def boot(self) -> str: ...
    @property
    def protocol(self) -> int: ...
    @property
    def skew(self) -> str: ...


@dataclass(frozen=True, slots=True)
class About:
    """What Status tells. `copy_store` writes a consistent copy of the store to a new file beside `scratch`."""

    started_ns: int
    store: str
    ray: Callable[[], str]
    hosts: Callable[[], Sequence[Host]]
    agent: Callable[[str], AgentPort | None] = lambda _name: None
    copy_store: Callable[[Path], Awaitable[None]] | None = None
    scratch: Path | None = None
    alerts: Callable[[], Sequence[pb.AlertStatus]] = tuple
    console: Callable[[Who, Identity | None], Awaitable[tuple[str, int]]] | None = None
    members: Callable[[], Awaitable[pb.StatusResponse]] | None = None  # of control service and store, where many are


class Control(ControlServicer):
    """`about` is asked anew at every call."""

    def __init__(self, feed: Feed, about: About) -> None:
        self._feed = feed
        self._about = about

    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.StatusResponse:
        """How meshd does."""
        view = self._feed.view
        counts = Counter({kind.name: view.count(kind.name) for kind in KINDS if view.count(kind.name)})
        response = pb.StatusResponse(
            version=version("mesh-containers"),
            revision=view.revision,
            started_at=to_timestamp(self._about.started_ns),
            ray=self._about.ray(),
            objects=counts,
            store=self._about.store,
            protocol=PROTOCOL,
        )
        for host in self._about.hosts():
            said = response.hosts.add(
                name=host.name,
                connected=host.connected,
                message=host.message,
                assignment_held=host.settled,
                boot=host.boot,
                protocol=host.protocol,
                skew=host.skew,
            )
            if host.last_seen:
                said.last_seen.CopyFrom(to_timestamp(host.last_seen))
        response.alerts.extend(self._about.alerts())
        if self._about.members is not None:
            response.MergeFrom(await self._about.members())
        return response

    async def Flows(self, request: pb.ProxyFlowsRequest, context: Context) -> pb.ProxyFlowsResponse:
        """What the hosts' proxies carry; a host that can't be asked says why."""
        known = [host.name for host in self._about.hosts()]
        if missing := [name for name in request.hosts if name not in known]:
            raise NotFound(f'there is no host "{missing[0]}"; `mesh get nodes` lists them')
        asked = FlowsRequest(service=request.service, connections=request.connections)
        answers = [self._flows(name, asked) for name in list(request.hosts) or known]
        return pb.ProxyFlowsResponse(hosts=await asyncio.gather(*answers))

    async def _flows(self, name: str, asked: FlowsRequest) -> pb.HostFlows:
        agent = self._about.agent(name)
        if agent is None:
            return pb.HostFlows(host=name, error="the host is not joined")
        try:
            async with asyncio.timeout(_PATIENCE):
                return pb.HostFlows(host=name, flows=await agent.flows(asked))
        except TimeoutError:
            return pb.HostFlows(host=name, error=f"the host did not answer within {_PATIENCE:g} s")
        except MeshError as error:
            return pb.HostFlows(host=name, error=error.message)

    async def OpenConsole(self, request: pb.OpenConsoleRequest, context: Context) -> pb.OpenConsoleResponse:
        """A ticket for the caller's browser; what it may see there is what the caller may."""
        if self._about.console is None:
            raise Unavailable("this meshd serves no console")
        call = current()
        ticket, port = await self._about.console(call.who, call.identity)
        return pb.OpenConsoleResponse(ticket=ticket, port=port)

    async def Backup(self, request: pb.BackupRequest, context: Context) -> AsyncIterator[pb.BackupChunk]:
        """A consistent copy of the store, piece by piece; the copy on disk is 0600 and gone afterwards."""
        copy = self._about.copy_store
        if copy is None or self._about.scratch is None:
            raise Unavailable("this store is in memory: there is nothing to back up")
        with tempfile.TemporaryDirectory(prefix="backup-", dir=self._about.scratch) as directory:
            path = Path(directory) / "store.db"
            await copy(path)
            with await asyncio.to_thread(path.open, "rb") as file:
                while data := await asyncio.to_thread(file.read, _CHUNK):
                    yield pb.BackupChunk(data=data)

    async def Kinds(self, request: pb.KindsRequest, context: Context) -> pb.KindsResponse:
        """Every kind, served or not."""
        return pb.KindsResponse(
            kinds=[
                pb.KindInfo(
                    kind=kind.name,
                    api_version=kind.api_version,
                    plural=kind.plural,
                    short_names=kind.short_names,
                    namespaced=kind.namespaced,
                    served=kind.served,
                    why_not=kind.why_not,
                )
                for kind in KINDS
            ]
        )
