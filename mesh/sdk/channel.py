"""The wire to meshd: a mutual-TLS channel, and what its failures mean in `mesh.errors`.

Rule: whatever goes wrong on a call is raised as a MeshError of one clear sentence; no gRPC error leaves the SDK.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from mesh import errors
from mesh.errors import MeshError, Unavailable, Violation
from mesh.sdk.bearing import Bearing
from mesh.sdk.context import Context

T = TypeVar("T")
Out_co = TypeVar("Out_co", covariant=True)
_DETAILS = "grpc-status-details-bin"
_MAX_MESSAGE = 32 << 20
_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.max_send_message_length", _MAX_MESSAGE),
    ("grpc.enable_http_proxy", 0),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 10_000),  # what gRPC gives a connection to come about, TLS included
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.use_local_subchannel_pool", 1),
)
_KINDS: dict[grpc.StatusCode, type[MeshError]] = {
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExists,
    grpc.StatusCode.ABORTED: errors.Conflict,
    grpc.StatusCode.OUT_OF_RANGE: errors.TooOld,
    grpc.StatusCode.INVALID_ARGUMENT: errors.Invalid,
    grpc.StatusCode.FAILED_PRECONDITION: errors.Invalid,
    grpc.StatusCode.PERMISSION_DENIED: errors.Forbidden,
    grpc.StatusCode.UNAUTHENTICATED: errors.Forbidden,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.Invalid,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.Unavailable,
}
_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)
_LEADER = "mesh.leader"  # the service whose health says whether a meshd leads
HINT = "is meshd running there? `mesh status` and `mesh doctor` tell more"


# The mesh's Service may have any address: its certificate names the Service.
_SERVICE_NAME = ("grpc.ssl_target_name_override", "kubernetes.default.svc")


class Unreachable(Unavailable):
    """No meshd answered at all, or the connection broke: the call may or may not have been carried out."""


def open_channel(context: Context, server: str) -> grpc.aio.Channel:
    """A channel to one server of the context; it connects when first used, and by itself again later."""
    if not context.token:
        credentials = grpc.ssl_channel_credentials(context.pem("ca"), context.pem("key"), context.pem("certificate"))
        return grpc.aio.secure_channel(server, credentials, options=_OPTIONS)
    credentials = grpc.ssl_channel_credentials(context.pem("ca"))
    channel = grpc.aio.secure_channel(server, credentials, options=(*_OPTIONS, _SERVICE_NAME))
    return Bearing(channel, Path(context.token))


async def leading(channels: Mapping[str, grpc.aio.Channel], timeout: float = 2.0) -> str:  # noqa: ASYNC109
    """Which of several servers leads; one that answers when none does, and the first when none answers. `timeout`: of
    each attempt, in seconds."""
    servers = list(channels)
    if len(servers) == 1:
        return servers[0]
    states = await asyncio.gather(*(_leads(channels[server], timeout) for server in servers))
    return max(zip(states, range(0, -len(servers), -1), servers, strict=True))[2]


async def _leads(channel: grpc.aio.Channel, timeout: float) -> int:  # noqa: ASYNC109
    """2: it leads; 1: it answers; 0: it does not."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415 - for who has several servers

    check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # its types do not know it
    try:
        answer = await check(health_pb2.HealthCheckRequest(service=_LEADER), timeout=timeout)
    except grpc.aio.AioRpcError as error:
        return int(error.code() not in _LOST)
    return 2 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1


async def answer(call: Awaitable[T], server: str) -> T:
    """What the call answers; raises MeshError."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise translated(error, server) from None


class Stream(Protocol[Out_co]):
    """What grpc.aio calls with a stream of answers have in common."""

    def __aiter__(self) -> AsyncIterator[Out_co]: ...

    def cancel(self) -> bool: ...


async def answers(call: Stream[T], server: str) -> AsyncGenerator[T, None]:
    """The messages of a stream, which is cancelled when the reader stops; raises MeshError."""
    try:
        async for message in call:
            yield message
    except grpc.aio.AioRpcError as error:
        raise translated(error, server) from None
    finally:
        call.cancel()


def translated(error: grpc.aio.AioRpcError, server: str) -> MeshError:
    """The error that meshd meant, or what a broken connection means."""
    code, message = error.code(), error.details() or ""
    detail = _status_of(error)
    if detail is None and code in _LOST:
        return _connection_error(code, message, server)
    kind, violations = _KINDS.get(code, MeshError), []
    for any_ in detail.details if detail is not None else ():
        bad, info = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo()
        if any_.Unpack(bad):
            violations += [Violation(v.field, v.description) for v in bad.field_violations]
        elif any_.Unpack(info):
            kind = errors.KINDS.get(info.reason, kind)
    if kind is MeshError and detail is None:
        message = f"meshd failed: {message or code.name}; its log tells more"
    meant = kind(message or code.name, violations)
    meant.add_note(f"meshd at {server} answered so")
    return meant


def is_grpcs_own(error: grpc.aio.AioRpcError) -> bool:
    """Whether gRPC put this status in the place of the server's, after a write to a call that had just ended."""
    return error.code() is grpc.StatusCode.INTERNAL and _status_of(error) is None


def _status_of(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            with contextlib.suppress(DecodeError):
                return status_pb2.Status.FromString(value)
    return None


def _connection_error(code: grpc.StatusCode, message: str, server: str) -> MeshError:
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Unavailable(f"meshd at {server} did not answer in time; `mesh status` tells how it is")
    low = message.lower()
    if "certificate_verify_failed" in low or "hostname" in low or "peer name" in low:
        return Unreachable(
            f"cannot trust meshd at {server}: its certificate is not from this context's authority, or names another"
        )
    if "handshake" in low or "ssl" in low or "tls" in low:
        return Unreachable(f"cannot agree on TLS with {server}: it refused this context's certificate or is no meshd")
    if (
        code is grpc.StatusCode.CANCELLED
        or "socket closed" in low
        or "goaway" in low
        or "reset" in low
        or "broken pipe" in low
    ):
        return Unreachable(f"the connection to meshd at {server} broke: {HINT}")
    if "connect" in low:
        why = "connection refused" if "refused" in low else "it does not answer"
        return Unreachable(f"cannot reach meshd at {server}: {why}; {HINT}")
    return Unavailable(message or f"meshd at {server} is not available; {HINT}")
