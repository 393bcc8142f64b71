"""Performs one check: HTTP, TCP, gRPC, a command in a container (P12 to P17).

Rule: a check never raises; it holds no connection and no process once it has answered. Its time counts from when it is
sent, and time that this host did not give us is no failure of the application: such a check is STARVED.
"""

import asyncio
import contextlib
import errno
import os
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

from nodeagent.probes import http, spawn
from nodeagent.probes.state import Outcome, Result
from nodeagent.probes.wanted import (
    USER_AGENT,
    Check,
    ExecCheck,
    GrpcCheck,
    HttpCheck,
    SleepCheck,
    TcpCheck,
    Unresolved,
)
from nodeagent.runtime.port import RuntimeFailure
from nodeagent.runtime.seen import SeenContainer

LINGER = struct.pack("ii", 1, 1)  # seconds (P15)
LIMIT = 10 * 1024  # bytes of output (P12, P16)
LATE = 0.05  # seconds: a deadline seen so late means that this host was busy
# crun and runc say so themselves when the command can't be run at all, which is no answer of the command (P18)
_NOT_RUN = re.compile(rb"executable file .* not found|exec failed|cannot exec|error executing|exec .* (failed|denied)")
_HTTP_FAILURES = (OSError, http.Malformed, asyncio.IncompleteReadError, ValueError)
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


class Commands(Protocol):
    """The part of the runtime that checks need."""

    def exec_command(self, container: SeenContainer, command: Sequence[str], *, tty: bool = False) -> list[str]: ...


class Checks(Protocol):
    """What performs checks; a simulation brings its own."""

    async def perform(self, check: Check, container: SeenContainer, seconds: float | None) -> Outcome:
        """One check, at most `seconds` long; never raises."""
        ...

    async def hook(self, check: Check, container: SeenContainer) -> Outcome:
        """The same for a lifecycle hook, until cancelled: whatever answers an HTTP hook answers it well."""
        ...


class RealChecks:
    """See the module."""

    def __init__(self, runtime: Commands) -> None:
        self._runtime = runtime

    async def perform(self, check: Check, container: SeenContainer, seconds: float | None) -> Outcome:
        """See `Checks`."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        outcome = await self._perform(check, container, seconds)
        return replace(outcome, seconds=loop.time() - began)

    async def hook(self, check: Check, container: SeenContainer) -> Outcome:
        """See `Checks`. HTTPS falls back to HTTP where the other side speaks no TLS (L8)."""
        if not isinstance(check, HttpCheck):
            return await self.perform(check, container, None)
        try:
            try:
                await http.get(check, connect)
            except ssl.SSLError as error:
                if not check.tls or error.reason not in _NO_TLS:
                    raise
                await http.get(replace(check, tls=False), connect)
        except _HTTP_FAILURES as error:
            return Outcome(Result.FAILURE, f'Get "{http.url(check)}": {_words(error, check.host, check.port)}')
        return Outcome(Result.SUCCESS)

    async def _perform(self, check: Check, container: SeenContainer, seconds: float | None) -> Outcome:
        match check:
            case HttpCheck():
                return await _http(check, seconds)
            case TcpCheck():
                return await _tcp(check, seconds)
            case GrpcCheck():
                return await _grpc(check, seconds)
            case ExecCheck():
                return await self._exec(check, container, seconds)
            case SleepCheck():
                return await _sleep(check, seconds)
            case Unresolved():
                return Outcome(Result.ERROR, check.why)

    async def _exec(self, check: ExecCheck, container: SeenContainer, seconds: float | None) -> Outcome:
        try:
            argv = self._runtime.exec_command(container, check.command)
            ended = await spawn.run(argv, seconds, LIMIT)
        except (RuntimeFailure, OSError, ValueError) as error:  # ValueError: no program can be told a zero byte
            return Outcome(Result.ERROR, str(error))
        output = ended.output.decode(errors="replace")
        if ended.code is None:
            if not ended.begun:
                return Outcome(Result.STARVED, "this host was too busy to run the command")
            words = f'command "{" ".join(check.command)}" timed out after {_seconds(seconds)}'
            return Outcome(Result.FAILURE, f"{words}: {output}" if output else words)
        if ended.code == 0:
            return Outcome(Result.SUCCESS, output)
        if ended.code in (1, 126, 127, 255) and _NOT_RUN.search(ended.output):
            return Outcome(Result.ERROR, output)
        return Outcome(Result.FAILURE, output)


@contextlib.asynccontextmanager
async def _within(seconds: float | None) -> AsyncIterator[list[bool]]:
    """Raises TimeoutError after so long; the list then says whether the deadline was seen late: a stalled loop."""
    loop = asyncio.get_running_loop()
    late: list[bool] = []
    deadline = None if seconds is None else loop.time() + seconds
    try:
        async with asyncio.timeout_at(deadline):
            yield late
    except TimeoutError:
        if deadline is not None and loop.time() - deadline > LATE:
            late.append(True)
        raise


async def _http(check: HttpCheck, seconds: float | None) -> Outcome:
    late: list[bool] = []
    try:
        async with _within(seconds) as late:
            response = await http.get(check, connect)
    except TimeoutError:
        words = f'Get "{http.url(check)}": context deadline exceeded (no answer within {_seconds(seconds)})'
        return _starved() if late else Outcome(Result.FAILURE, words)
    except _HTTP_FAILURES as error:
        return Outcome(Result.FAILURE, f'Get "{http.url(check)}": {_words(error, check.host, check.port)}')
    if response.status >= 400 or response.status < 200:
        return Outcome(Result.FAILURE, f"HTTP probe failed with statuscode: {response.status}")
    if response.status >= 300:
        text = response.body.decode(errors="replace")
        return Outcome(Result.WARNING, f"Probe terminated redirects, Response body: {text}")
    return Outcome(Result.SUCCESS, response.body.decode(errors="replace"))


async def _tcp(check: TcpCheck, seconds: float | None) -> Outcome:
    late: list[bool] = []
    try:
        async with _within(seconds) as late:
            (await connect(check.host, check.port)).close()
    except TimeoutError:
        words = f"dial tcp {_address(check.host, check.port)}: i/o timeout"
        return _starved() if late else Outcome(Result.FAILURE, words)
    except (OSError, ValueError) as error:  # ValueError: a host that can be no name
        return Outcome(Result.FAILURE, _words(error, check.host, check.port))
    return Outcome(Result.SUCCESS)


async def _sleep(check: SleepCheck, seconds: float | None) -> Outcome:
    try:
        async with asyncio.timeout(seconds):
            await asyncio.sleep(check.seconds)
    except TimeoutError:
        return Outcome(Result.FAILURE, f"the sleep was cut short after {_seconds(seconds)}")
    return Outcome(Result.SUCCESS)


async def _grpc(check: GrpcCheck, seconds: float | None) -> Outcome:
    import grpc.aio  # noqa: PLC0415 - heavy, and few pods have such probes
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    options: list[tuple[str, Any]] = [
        ("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1), ("grpc.primary_user_agent", USER_AGENT),
    ]  # fmt: skip
    address = _address(check.host, check.port)
    late: list[bool] = []
    try:
        async with _within(seconds) as late, grpc.aio.insecure_channel(address, options=options) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=check.service))
    except TimeoutError:
        words = f'timeout: health rpc to "{address}" did not complete within {_seconds(seconds)}'
        return _starved() if late else Outcome(Result.FAILURE, words)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            words = "this server does not implement the grpc health protocol (grpc.health.v1.Health)"
        elif error.code() is grpc.StatusCode.UNAVAILABLE:
            words = f'failed to connect service "{address}": {error.details()}'
        else:
            words = f"health rpc probe failed: {error.code().name}: {error.details()}"
        return Outcome(Result.FAILURE, words)
    serving: Any = health_pb2.HealthCheckResponse.ServingStatus
    if answer.status != serving.SERVING:
        name = serving.Name(answer.status) if answer.status in serving.values() else str(answer.status)
        return Outcome(Result.FAILURE, f'service unhealthy (responded with "{name}")')
    return Outcome(Result.SUCCESS, "service healthy")


async def connect(host: str, port: int) -> socket.socket:
    """A connected socket that leaves no TIME_WAIT behind (P15); raises OSError."""
    loop = asyncio.get_running_loop()
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        socket.inet_pton(family, host)
        address: Any = (host, port)
    except OSError:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, address = found[0][0], found[0][4]
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        await loop.sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return made


def _starved() -> Outcome:
    return Outcome(Result.STARVED, "this host was too busy to wait for the answer")


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _words(error: Exception, host: str, port: int) -> str:
    if isinstance(error, ConnectionRefusedError | ConnectionResetError) or (
        isinstance(error, OSError) and error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT)
    ):
        return f"dial tcp {_address(host, port)}: connect: {os.strerror(error.errno or 0).lower()}"
    if isinstance(error, asyncio.IncompleteReadError):
        return "unexpected end of the answer"
    return str(error) or type(error).__name__


def _seconds(seconds: float | None) -> str:
    return f"{seconds:g}s" if seconds is not None else "ever"
