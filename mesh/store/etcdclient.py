"""Calls to an etcd cluster over mutual TLS: to whichever member answers, its failures in words.

Rule: a call goes to the next member while there is time, so it may be carried out twice: who writes guards his
transactions by comparing. A member without a leader above it answers nothing (`hasleader`), so nothing read is old and
nothing written waits in a member that is cut off.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import grpc.aio

from mesh.config import Etcd
from mesh.errors import Invalid, MeshError, Unavailable
from mesh.etcd import etcd_pb2 as pb
from mesh.etcd import etcd_pb2_grpc as stubs
from mesh.handed import handed

T = TypeVar("T")
PATIENCE = 10.0  # seconds that a call may take, over all members: an election of etcd's own takes one or two
_TRY = 2.0  # seconds that one member gets
_PAUSE = 0.1  # seconds between two of them
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.keepalive_time_ms", 10_000),  # etcd allows one every five seconds
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),
)
_NEEDS_LEADER = (("hasleader", "true"),)
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class Compacted(Exception):  # noqa: N818 - the condition's name
    """etcd has forgotten what was asked for."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a cluster is ("host:port" of each member), who vouches for it, and with what to call it: PEM."""

    endpoints: tuple[str, ...]
    ca: bytes
    certificate: bytes
    key: bytes = field(repr=False)


def address_of(etcd: Etcd) -> Address:
    """What meshd.toml says, with the files read; raises Unavailable."""
    paths = [path for path in (etcd.ca, etcd.certificate, etcd.key) if path is not None]
    try:
        ca, certificate, key = (handed(path).read_bytes() for path in paths)
    except OSError as error:
        raise Unavailable(f"cannot read {error.filename}: {error.strerror}") from error
    return Address(etcd.endpoints, ca, certificate, key)


class _Member:
    """One member's channel; it connects when first used."""

    def __init__(self, endpoint: str, address: Address) -> None:
        self.endpoint = endpoint
        credentials = grpc.ssl_channel_credentials(address.ca, address.key, address.certificate)
        self.channel = grpc.aio.secure_channel(endpoint, credentials, options=_OPTIONS)
        self.kv = stubs.KVStub(self.channel)
        self.lease = stubs.LeaseStub(self.channel)
        self.watches = stubs.WatchStub(self.channel)
        self.maintenance = stubs.MaintenanceStub(self.channel)


class EtcdClient:
    """Used on the event loop that made it. Every failure is Unavailable or Invalid, but Compacted."""

    def __init__(self, address: Address) -> None:
        self._members = [_Member(endpoint, address) for endpoint in address.endpoints]
        self._names = ", ".join(address.endpoints)

    async def range(self, request: pb.RangeRequest) -> pb.RangeResponse:
        """Reads keys."""
        return await self._call(lambda member: member.kv.Range, request)

    async def txn(self, request: pb.TxnRequest) -> pb.TxnResponse:
        """Compares, and writes or reads; may have been carried out although it raises."""
        return await self._call(lambda member: member.kv.Txn, request)

    async def compact(self, revision: int) -> None:
        """Lets etcd forget what was before one of its revisions; raises Compacted when it has."""
        await self._call(lambda member: member.kv.Compact, pb.CompactionRequest(revision=revision))

    async def grant(self, seconds: int) -> int:
        """A lease; it ends that long after it was last kept alive."""
        granted = await self._call(lambda member: member.lease.LeaseGrant, pb.LeaseGrantRequest(TTL=seconds))
        return int(granted.ID)

    async def revoke(self, lease: int) -> None:
        """Ends a lease, and removes what hangs on it."""
        await self._call(lambda member: member.lease.LeaseRevoke, pb.LeaseRevokeRequest(ID=lease))

    async def keep_alive(self, lease: int) -> bool:
        """Whether the lease goes on, from now for its whole time."""

        def ask(member: _Member) -> Callable[..., Awaitable[Any]]:
            async def once(request: pb.LeaseKeepAliveRequest, **options: Any) -> Any:
                call = member.lease.LeaseKeepAlive(iter((request,)), **options)
                try:
                    return await call.read()
                finally:
                    call.cancel()

            return once

        answer = await self._call(ask, pb.LeaseKeepAliveRequest(ID=lease))
        return answer is not grpc.aio.EOF and answer.TTL > 0

    async def watch(self, key: bytes, end: bytes, start: int) -> AsyncGenerator[list[pb.Event], None]:
        """What happens to the keys, from etcd's revision `start` on, in whole revisions, each with what was before;
        an empty list once it is followed. Raises Compacted; Unavailable when the member is away: ask again."""
        create = pb.WatchCreateRequest(key=key, range_end=end, start_revision=start, prev_kv=True)
        member = self._members[0]
        call = member.watches.Watch(_first(pb.WatchRequest(create_request=create)), metadata=_NEEDS_LEADER)
        try:
            async for answer in call:
                if answer.compact_revision:
                    raise Compacted
                if answer.canceled:
                    self._pass(member)
                    raise Unavailable(f"cannot follow the store in etcd: {answer.cancel_reason}")
                yield list(answer.events)
            self._pass(member)
            raise Unavailable(f"cannot follow the store in etcd: {member.endpoint} ended the stream")
        except grpc.aio.AioRpcError as error:
            self._pass(member)
            raise self._explained(error) from None
        finally:
            call.cancel()

    async def members(self) -> dict[str, str]:
        """Each member by its address: "leads", "follows", or why it does not answer."""
        answers = await asyncio.gather(*(self._state(member) for member in sorted(self._members, key=_endpoint)))
        return dict(answers)

    async def close(self) -> None:
        """Ends the connections."""
        for member in self._members:
            await member.channel.close()

    async def _state(self, member: _Member) -> tuple[str, str]:
        try:
            said = await member.maintenance.Status(pb.StatusRequest(), timeout=_TRY)
        except grpc.aio.AioRpcError:
            return member.endpoint, "does not answer"
        if not said.leader:
            return member.endpoint, "has no leader"
        return member.endpoint, "leads" if said.leader == said.header.member_id else "follows"

    async def _call(self, method: Callable[[_Member], Callable[..., Awaitable[T]]], request: Any) -> T:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE
        why: grpc.aio.AioRpcError | None = None
        while True:
            member, left = self._members[0], deadline - loop.time()
            try:
                return await method(member)(request, timeout=min(_TRY, max(left, _PAUSE)), metadata=_NEEDS_LEADER)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _PASSING:
                    raise self._explained(error) from None
                if why is None or "etcdserver" in (error.details() or ""):  # who answers knows more than who does not
                    why = error
                if left <= _PAUSE:
                    raise self._explained(why) from None
            self._pass(member)
            await asyncio.sleep(_PAUSE)

    def _pass(self, member: _Member) -> None:
        """The next member's turn, unless somebody has passed this one on already."""
        if self._members[0] is member:
            self._members.append(self._members.pop(0))

    def _explained(self, error: grpc.aio.AioRpcError) -> Exception:
        code, told = error.code(), error.details() or error.code().name
        if code is grpc.StatusCode.OUT_OF_RANGE and "compacted" in told:
            return Compacted()
        return explained(code, told, self._names)


def explained(code: grpc.StatusCode, told: str, names: str) -> MeshError:
    """What a status of etcd's means for who reads and writes the store."""
    if code is grpc.StatusCode.INVALID_ARGUMENT and ("too large" in told or "too many operations" in told):
        return Invalid(
            f"cannot write so much at once: {told}; start etcd with larger --max-request-bytes and --max-txn-ops"
        )
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "space" in told:
        return Unavailable(
            "cannot write the store: etcd's database is full; compact and defragment it, then disarm its alarm"
        )
    if "no leader" in told or ("etcdserver" in told and "timed out" in told):
        return Unavailable(
            f"cannot use the store: etcd ({names}) has lost its majority; more than half of its members must run"
        )
    if code in _PASSING:
        return Unavailable(f"cannot reach the store: no member of etcd ({names}) answers: {told}")
    return Unavailable(f"cannot use the store: etcd ({names}) refuses: {told}")


def _endpoint(member: _Member) -> str:
    return member.endpoint


async def _first(request: pb.WatchRequest) -> AsyncGenerator[pb.WatchRequest, None]:
    yield request
    await asyncio.Future()  # the stream stays open until it is cancelled
