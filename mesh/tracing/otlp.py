"""Spans go to a collector, by OTLP over gRPC: OpenTelemetry's own exporter, in a thread of its own.

Rule: imported only when traces are configured. A collector that is away costs spans and a line in the log, nothing
else: at most MOST wait for it.
"""

import asyncio
import os
import threading

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from mesh import __version__
from mesh.tracing.span import Context, Span

MOST, BATCH, PAUSE = 20_000, 512, 1000  # spans, spans, milliseconds
LEAVE = 2.0  # seconds that the last of them get at the end


class Exporter:
    """To one collector, "http://host:port" or "https://…"; what else there is to set are OpenTelemetry's variables."""

    def __init__(self, endpoint: str) -> None:
        name = os.environ.get("OTEL_SERVICE_NAME", "meshd")
        self._resource = Resource.create({"service.name": name, "service.version": __version__})
        exporter = OTLPSpanExporter(endpoint=endpoint)
        self._queue = BatchSpanProcessor(exporter, MOST, PAUSE, BATCH)

    def emit(self, span: Span) -> None:
        """Takes a span; never waits."""
        parent = _context(Context(span.context.trace, span.parent)) if span.parent else None
        status = Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET)
        kind = SpanKind.SERVER if "rpc.method" in span.attributes else SpanKind.INTERNAL
        self._queue.on_end(ReadableSpan(
            span.name, _context(span.context), parent, self._resource, dict(span.attributes), kind=kind, status=status,
            start_time=span.began, end_time=span.ended,
        ))  # fmt: skip

    async def close(self) -> None:
        """Sends what is left, for as long as LEAVE."""
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def leave() -> None:
            self._queue.shutdown()  # type: ignore[no-untyped-call]  # theirs
            loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=leave, daemon=True).start()
        try:
            async with asyncio.timeout(LEAVE):
                await sent.wait()
        except TimeoutError:
            return


def _context(of: Context) -> SpanContext:
    return SpanContext(int(of.trace, 16), int(of.span, 16), False, TraceFlags(TraceFlags.SAMPLED))
