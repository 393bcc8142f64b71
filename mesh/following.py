"""A meshd that follows another one: it shows objects, and says who leads for everything else.

Rule: it writes nothing and orders no host; what it shows is the store's, a moment later than the leader's at most.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import structlog
from grpc import aio

from mesh.admission import allocate
from mesh.authority import Authority
from mesh.config import pool_of, ports_of
from mesh.errors import MeshError, Unavailable
from mesh.leader import Candidate, Election
from mesh.meshd import GRACE, Settings
from mesh.rpc.border import Border
from mesh.rpc.certificates import Certificates
from mesh.rpc.control import About, Control
from mesh.rpc.gate import Gate
from mesh.rpc.resources import Resources
from mesh.rpc.server import serve
from mesh.rpc.tls import Tls
from mesh.store.etcd import EtcdStore
from mesh.store.feed import Feed
from mesh.supervised import notify
from mesh.v1 import access_pb2_grpc as access
from mesh.v1 import control_pb2 as pb
from mesh.v1 import control_pb2_grpc as control
from mesh.v1 import secrets_pb2_grpc as secrets

_log = structlog.get_logger("mesh.leader")
_SHOWN = frozenset(
    f"/mesh.v1.{method}"
    for method in ("Resources/Get", "Resources/List", "Resources/Watch", "Control/Status", "Control/Kinds")
)
# Known here, so that who calls them is told who leads; none is ever reached.
_THE_LEADERS: Sequence[tuple[Callable[[Any, aio.Server], None], type[Any]]] = (
    (access.add_AccessServicer_to_server, access.AccessServicer),
    (secrets.add_SecretsServicer_to_server, secrets.SecretsServicer),
    (control.add_PodsServicer_to_server, control.PodsServicer),
    (control.add_ImagesServicer_to_server, control.ImagesServicer),
    (control.add_MeasurementsServicer_to_server, control.MeasurementsServicer),
)


@asynccontextmanager
async def following(
    store: EtcdStore, tls: Tls, settings: Settings, leading: Callable[[], Candidate | None]
) -> AsyncIterator[tuple[int, ...]]:
    """Serves as a follower; gives the ports. Raises Unavailable when an address is taken, or the store is closed."""
    feed = Feed(store)
    gate = Gate(feed.view, settings.audit, settings.clock, settings.limits, lambda: tls.server.key)
    border = Border(gate, elsewhere=lambda method: refusal(method, leading()))
    resources = Resources(store, feed, settings.clock, settings.bookmark, _ranges(settings))
    about = About(settings.clock(), settings.store_name, lambda: "the leader's", tuple, members=settings.members)

    def register(server: aio.Server) -> None:
        control.add_ResourcesServicer_to_server(resources, server)
        control.add_ControlServicer_to_server(Control(feed, about), server)
        for add, servicer in _THE_LEADERS:
            add(servicer(), server)

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(feed.run(), name="feed")]
        if settings.authority is not None:
            certificates = Certificates(settings.authority, tls, "meshd", settings.clock)
            running.append(tasks.create_task(certificates.run(), name="certificates"))
            if settings.authorities is not None:
                running.append(tasks.create_task(_take(certificates, settings.authorities()), name="authorities"))
        await feed.reached(0)
        server = await serve(settings.listen, tls, border, register, settings.listen_tokens)
        await server.follow()
        try:
            yield server.ports
        finally:
            await server.stop(GRACE)
            for task in running:
                task.cancel()


@asynccontextmanager
async def leading(store: EtcdStore, election: Election, tls: Tls, settings: Settings) -> AsyncIterator[Settings]:
    """Follows until this meshd leads, and gives how it is to run then; whoever leaves lets another one lead at once.
    Raises Unavailable when its time has run out meanwhile."""
    settings = replace(settings, members=lambda: members_of(store, election))
    async with asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(election.run(), name="election")
        try:
            if not await election.stand():
                async with following(store, tls, settings, lambda: election.leading) as ports:
                    _log.info("following", ports=ports, leader=election.leading and election.leading.name)
                    notify("READY=1")
                    await election.won()
            _log.info("leading", name=election.own.name)
            yield settings
        finally:
            keeping.cancel()
            await election.resign()


def refusal(method: str, leading: Candidate | None) -> MeshError | None:
    """Why a follower does not serve this method; None when it does."""
    if method in _SHOWN or not method.startswith("/mesh."):
        return None
    if leading is None:
        return Unavailable("this meshd follows, and nobody leads at the moment; try again in a few seconds")
    return Unavailable(
        f"this meshd follows: {leading.name} leads, at {leading.address}; name all of them in the context's servers"
    )


async def members_of(store: EtcdStore, election: Election) -> pb.StatusResponse:
    """Every meshd that lives, and every member of the store's cluster; without the former while etcd is away."""
    told = pb.StatusResponse()
    try:
        known, leader = await election.members(), await election.leader()
    except Unavailable:
        known, leader = [election.own], None
    for member in known:
        told.control_members.add(
            name=member.name, address=member.address, leads=member == leader, answers=member == election.own
        )
    for address, state in (await store.client.members()).items():
        told.store_members.add(address=address, state=state)
    return told


async def _take(certificates: Certificates, authorities: AsyncIterator[Authority]) -> None:
    """Goes on with what the leader makes of the authority, as it does."""
    async for told in authorities:
        certificates.take(told)


def _ranges(settings: Settings) -> allocate.Ranges:
    network = settings.network
    pool = pool_of(network.load_balancer_pool)
    return allocate.Ranges(network.service_cidr, ports_of(network.node_ports), pool, network.dns_address)
