"""A collector of traces: OTLP over gRPC on a loopback port, which keeps what it is sent.

async with Collector() as collector:
    …                                           # meshd exports to collector.endpoint
    spans = await collector.until(lambda spans: "pod" in spans.names())
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from grpc import aio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

DEADLINE = 60.0


class Spans:
    """What came so far."""

    def __init__(self) -> None:
        self.all: list[Span] = []

    def names(self) -> list[str]:
        return [span.name for span in self.all]

    def one(self, name: str, **attributes: str) -> Span:
        """The one span of this name and these attributes (with "_" for ".")."""
        found = [s for s in self.all if s.name == name and attributes.items() <= _attributes(s).items()]
        assert len(found) == 1, f"{name} {attributes}: {len(found)} of {sorted(self.names())}"
        return found[0]

    def below(self, parent: Span) -> Iterator[Span]:
        """Its children."""
        return (s for s in self.all if s.parent_span_id == parent.span_id)


def _attributes(span: Span) -> dict[str, str]:
    return {a.key.replace(".", "_"): a.value.string_value for a in span.attributes}


class Collector(TraceServiceServicer):
    """See the module."""

    def __init__(self) -> None:
        self.spans = Spans()
        self.endpoint = ""
        self._news = asyncio.Event()

    async def __aenter__(self) -> "Collector":
        self._server = aio.server()
        add_TraceServiceServicer_to_server(self, self._server)
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)

    async def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:  # noqa: N802 - gRPC's
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans.all += scope.spans
        self._news.set()
        return ExportTraceServiceResponse()

    async def until(self, enough: Callable[[Spans], bool]) -> Spans:
        """What came, once it is enough."""
        async with asyncio.timeout(DEADLINE):
            while not enough(self.spans):
                self._news.clear()
                await self._news.wait()
        return self.spans
