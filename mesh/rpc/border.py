"""The border of the service: every call is authorized, logged, and leaves with a status of ours.

Rule: no handler is reached unless `authorize` let its caller in; no exception leaves but as a status.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from inspect import isasyncgen
from typing import Any

import grpc
import structlog
from google.rpc import status_pb2
from grpc import aio

from mesh.errors import MeshError, Unavailable
from mesh.rpc.auth import authorize, caller
from mesh.rpc.status import internal, status_of, to_grpc

_log = structlog.get_logger("mesh.rpc")
_WRITES = frozenset(("Apply", "Create", "Update", "Patch", "Delete", "Exec", "PortForward", "Backup"))

Context = aio.ServicerContext[Any, Any]


class Border(aio.ServerInterceptor):
    """Wraps every handler of the server; made on the event loop that serves."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Ends every stream of ours with Unavailable: watches, logs and execs never end by themselves."""
        self._stopping.set()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "Awaitable[grpc.RpcMethodHandler[Any, Any] | None]"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """The handler of a method, wrapped."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        inner = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        if handler.response_streaming:
            make = grpc.stream_stream_rpc_method_handler if handler.request_streaming else _UNARY_STREAM
            return make(
                _streaming(method, inner, self._stopping), handler.request_deserializer, handler.response_serializer
            )
        make = grpc.stream_unary_rpc_method_handler if handler.request_streaming else _UNARY_UNARY
        return make(_single(method, inner), handler.request_deserializer, handler.response_serializer)


_UNARY_STREAM: Any = grpc.unary_stream_rpc_method_handler
_UNARY_UNARY: Any = grpc.unary_unary_rpc_method_handler


def _single(method: str, inner: Any) -> Any:
    async def call(request: Any, context: Context) -> Any:
        async with _Passage(method, context):
            return await inner(request, context)

    return call


def _streaming(method: str, inner: Any, stopping: asyncio.Event) -> Any:
    async def call(request: Any, context: Context) -> None:
        async with _Passage(method, context):
            answering = _answer(inner(request, context), context)
            if method.startswith("/mesh."):
                await _unless(stopping, answering)
            else:
                await answering

    return call


async def _answer(answers: AsyncIterator[Any] | Awaitable[None], context: Context) -> None:
    if not isasyncgen(answers):
        await answers  # type: ignore[misc]  # a handler that writes by itself
        return
    async with aclosing(answers):
        async for answer in answers:
            await context.write(answer)


async def _unless(stopping: asyncio.Event, answering: Coroutine[Any, Any, None]) -> None:
    """Answers until the end, or until meshd stops; cancelled, both are."""
    answer, stop = asyncio.ensure_future(answering), asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({answer, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise Unavailable("meshd is stopping; try again in a moment")
    finally:
        stop.cancel()
        if not answer.done():
            answer.cancel()
            await asyncio.wait({answer})
    answer.result()


class _Passage:
    """One call: who it is, how long it took, how it ended."""

    def __init__(self, method: str, context: Context) -> None:
        self.method = method
        self.context = context
        self.user = ""
        self.started = time.monotonic()

    async def __aenter__(self) -> None:
        try:
            who = caller(self.context.auth_context())
            self.user = who.name
            authorize(who, self.method)
        except MeshError as error:
            await self._refuse(error.kind, status_of(error))

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None:
            self._log("OK")
        elif isinstance(error, MeshError):
            await self._refuse(error.kind, status_of(error))
        elif not isinstance(error, Exception):
            self._log("CANCELLED")
        elif not isinstance(error, aio.AbortError):
            error_id = secrets.token_hex(6)
            _log.error("request_failed", method=self.method, user=self.user, id=error_id, exc_info=error)
            await self._refuse("Internal", internal(error_id))

    async def _refuse(self, code: str, status: status_pb2.Status) -> None:
        self._log(code, status.message)
        await self.context.abort_with_status(to_grpc(status))

    def _log(self, code: str, message: str = "") -> None:
        service, _, verb = self.method.rpartition("/")
        record = _log.info if verb in _WRITES and service.startswith("/mesh.") else _log.debug
        milliseconds = round((time.monotonic() - self.started) * 1000, 1)
        said = {"message": message} if message else {}
        record("request", method=self.method, user=self.user, code=code, milliseconds=milliseconds, **said)
