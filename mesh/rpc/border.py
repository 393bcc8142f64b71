"""The border of the service: every call is recognised, allowed, logged, and leaves with a status of ours.

Rule: no handler is reached unless the gate let its caller in; a stream ends as soon as it would not any more; no
exception leaves but as a status.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from inspect import isasyncgen
from typing import Any

import grpc
import structlog
from google.rpc import status_pb2
from grpc import aio

from mesh.access.who import Who
from mesh.errors import MeshError, Unavailable
from mesh.exposition.tally import Tally
from mesh.exposition.text import Family
from mesh.rpc.gate import Call, Gate, begin
from mesh.rpc.status import internal, status_of, to_grpc
from mesh.tracing.walks import Walks

_log = structlog.get_logger("mesh.rpc")
HANDLED = Family("grpc_server_handled_total", "counter", "Calls that ended, by how they ended.")
TOOK = Family("grpc_server_handling_seconds", "histogram", "How long calls took; streams to their end.")
_WRITES = frozenset(("Apply", "Create", "Update", "Patch", "Delete", "Exec", "PortForward", "Backup"))

_TRACED = frozenset(f"/mesh.v1.Resources/{verb}" for verb in ("Apply", "Create", "Update", "Patch", "Delete"))

Context = aio.ServicerContext[Any, Any]


class Border(aio.ServerInterceptor):
    """Wraps every handler of the server; made on the event loop that serves."""

    def __init__(
        self,
        gate: Gate,
        tally: Tally | None = None,
        walks: Walks | None = None,
        elsewhere: Callable[[str], MeshError | None] = lambda _method: None,
    ) -> None:
        """`elsewhere`: why a method is not for this meshd to serve, though the caller may call it."""
        self._gate = gate
        self._walks = walks
        self._elsewhere = elsewhere
        self._tally = tally or Tally()
        self._streams: set[_Passage] = set()

    def stop(self) -> None:
        """Ends every stream of ours with Unavailable: watches, logs and execs never end by themselves."""
        for passage in tuple(self._streams):
            passage.end(Unavailable("meshd is stopping; try again in a moment"))

    def recheck(self, *, tokens_alone: bool = False) -> None:
        """Ends every stream whose caller may not have it any more; those of tokens alone, where only they can."""
        for passage in tuple(self._streams):
            if tokens_alone and passage.call.claims is None:
                continue
            if error := self._gate.still(passage.call):
                passage.end(error)

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
            serialise = _unless_bytes(handler.response_serializer)
            return make(self._streaming(method, inner), handler.request_deserializer, serialise)
        make = grpc.stream_unary_rpc_method_handler if handler.request_streaming else _UNARY_UNARY
        return make(self._single(method, inner), handler.request_deserializer, handler.response_serializer)

    def _single(self, method: str, inner: Any) -> Any:
        async def call(request: Any, context: Context) -> Any:
            passage = _Passage(self._gate, method, context, self._tally)
            async with passage:
                entered = await passage.enter(request)
                self._check(method)
                if self._walks is None or method not in _TRACED:
                    return await inner(entered, context)
                with self._walks.call(method, _told(context, "traceparent")) as traced:
                    passage.trace = traced.context.trace
                    return await inner(entered, context)

        return call

    def _streaming(self, method: str, inner: Any) -> Any:
        async def call(request: Any, context: Context) -> None:
            passage = _Passage(self._gate, method, context, self._tally)
            async with passage:
                entered = await passage.enter(request)
                self._check(method)
                if not method.startswith("/mesh."):
                    await _answer(inner(entered, context), context)
                    return
                with passage.counted():
                    self._streams.add(passage)
                    try:
                        patience = self._gate.meter.reader_seconds
                        await passage.until_ended(_answer(inner(entered, context), context, patience))
                    finally:
                        self._streams.discard(passage)

        return call

    def _check(self, method: str) -> None:
        if error := self._elsewhere(method):
            raise error


def _unless_bytes(serialise: Any) -> Callable[[Any], bytes]:
    """Lets an answer through that its handler has made bytes of: one to many callers is made once."""
    return lambda answer: answer if isinstance(answer, bytes) else serialise(answer)


_UNARY_STREAM: Any = grpc.unary_stream_rpc_method_handler
_UNARY_UNARY: Any = grpc.unary_unary_rpc_method_handler


async def _answer(
    answers: AsyncIterator[Any] | Awaitable[None], context: Context, patience: float | None = None
) -> None:
    """Writes all answers; raises Unavailable when their reader takes nothing for `patience` seconds."""
    if not isasyncgen(answers):
        await answers  # type: ignore[misc]  # a handler that writes by itself
        return
    async with aclosing(answers):
        async for answer in answers:
            try:
                async with asyncio.timeout(patience):
                    await context.write(answer)
            except TimeoutError:
                raise Unavailable(f"the stream was cut: its reader took nothing for {patience:g} s") from None


async def _again(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    yield first
    async for request in rest:
        yield request


def _told(context: Context, name: str) -> str:
    """What the caller's metadata say under a name, "" for nothing."""
    return next((v for k, v in context.invocation_metadata() or () if k == name and isinstance(v, str)), "")


def _token(context: Context) -> str:
    """What the caller brought as a bearer token, "" for nothing."""
    for key, value in context.invocation_metadata() or ():
        scheme, _, token = (value if isinstance(value, str) else "").partition(" ")
        if key == "authorization" and scheme.lower() == "bearer":
            return token.strip()
    return ""


class _Passage:
    """One call: who it is, how long it took, how it ended."""

    def __init__(self, gate: Gate, method: str, context: Context, tally: Tally) -> None:
        self._tally = tally
        self.context = context
        self.call = Call(gate, Who(""), method, context.peer())
        self.started = time.monotonic()
        self.trace = ""  # the id of its trace
        self._ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def enter(self, request: Any) -> Any:
        """The request to hand to the handler, once its caller may make it; raises MeshError."""
        call = self.call
        try:
            call.gate.recognise(call, self.context.auth_context(), _token(self.context))
        except MeshError as error:
            call.gate.refused(call, error)
            raise
        begin(call)
        if not hasattr(request, "__aiter__"):
            call.gate.enter(call, request)
            return request
        requests = aiter(request)
        first = await anext(requests, None)
        if first is None:
            return requests
        call.gate.enter(call, first)
        return _again(first, requests)

    def _alarm(self) -> asyncio.TimerHandle | None:
        """Ends the stream when the token of who has it expires: he comes again with the newest."""
        if not self.call.expires:
            return None
        left = self.call.expires - self.call.gate.now
        ended = Unavailable("the token that this began with has expired; come again with the newest")
        return asyncio.get_running_loop().call_later(max(0, left), self.end, ended)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Counts it among its caller's streams; raises Unavailable when it is one too many."""
        meter, client = self.call.gate.meter, self.call.who.name
        meter.open(client)
        try:
            yield
        finally:
            meter.close(client)

    def end(self, error: MeshError) -> None:
        """Ends the stream with this error."""
        if not self._ending.done():
            self._ending.set_exception(error)

    async def until_ended(self, answering: Coroutine[Any, Any, None]) -> None:
        """Answers until the end, or until `end`; cancelled, both are."""
        answer = asyncio.ensure_future(answering)
        alarm = self._alarm()
        try:
            await asyncio.wait({answer, self._ending}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                self._ending.result()
        finally:
            if alarm is not None:
                alarm.cancel()
            if not answer.done():
                answer.cancel()
                await asyncio.wait({answer})
            answer.cancelled() or answer.exception()  # a client that left makes writing fail: nobody is to hear of it
        answer.result()

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if self._ending.done():
            self._ending.exception()  # looked at, whoever ended first
        if error is None:
            self._log("OK")
        elif isinstance(error, MeshError):
            await self._refuse(error.kind, status_of(error))
        elif not isinstance(error, Exception):
            self._log("CANCELLED")
        elif not isinstance(error, aio.AbortError):
            error_id = secrets.token_hex(6)
            _log.error("request_failed", method=self.call.method, user=self.call.who.name, id=error_id, exc_info=error)
            await self._refuse("Internal", internal(error_id))

    async def _refuse(self, code: str, status: status_pb2.Status) -> None:
        self._log(code, status.message)
        await self.context.abort_with_status(to_grpc(status))

    def _log(self, code: str, message: str = "") -> None:
        service, _, verb = self.call.method.rpartition("/")
        record = _log.info if verb in _WRITES and service.startswith("/mesh.") else _log.debug
        milliseconds = round((time.monotonic() - self.started) * 1000, 1)
        said = {"message": message} if message else {}
        of = f'grpc_service="{service.strip("/")}",grpc_method="{verb}"'
        self._tally.add(HANDLED, f'{of},grpc_code="{code}"')
        self._tally.observe(TOOK, of, milliseconds / 1000, self.trace)
        record(
            "request", method=self.call.method, user=self.call.who.name, code=code, milliseconds=milliseconds, **said
        )
