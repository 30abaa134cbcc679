"""OpenTelemetry spans, exported by OTLP when `OTEL_EXPORTER_OTLP_ENDPOINT` is set; without it, nothing is made at all.

The trace context of a request is read by the edge either way, so that ids reach logs, events and audit. Batches link to
the requests they carry (a batch has many parents, so links, as OpenTelemetry's messaging conventions say).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from shared.web.context import RequestContext

MAX_LINKS = 32
CLOSE_SECONDS = 3.0


class Tracing:
    """Makes spans when an exporter is configured; `enabled` is False otherwise and the hot path skips it."""

    def __init__(self, service: str, instance: str, version: str) -> None:
        self.enabled = bool(
            os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        )
        resource = Resource.create(
            {"service.name": f"plystra-{service}", "service.instance.id": instance, "service.version": version}
        )
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False) if self.enabled else None
        if self._provider is not None:
            self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
            self._tracer = self._provider.get_tracer("plystra", version)

    def start_server_span(self, method: str, context: RequestContext) -> Span:
        """Begin the span of one request, a child of its `traceparent`; the context gets the span's ids."""
        parent = None
        if context.trace_id is not None and context.span_id is not None:
            parent = set_span_in_context(
                NonRecordingSpan(_span_context(context.trace_id, context.span_id, context.sampled))
            )
        span = self._tracer.start_span(method, context=parent, kind=SpanKind.SERVER)
        made = span.get_span_context()
        context.trace_id, context.span_id = f"{made.trace_id:032x}", f"{made.span_id:016x}"
        context.sampled = made.trace_flags.sampled
        span.set_attribute("plystra.request_id", context.request_id)
        return span

    def end_server_span(self, span: Span, method: str, route: str, status: int) -> None:
        """Finish a request's span under its route template."""
        span.update_name(f"{method} {route}")
        span.set_attribute("http.request.method", method)
        span.set_attribute("http.route", route)
        span.set_attribute("http.response.status_code", status)
        if status >= 500 or status == 0:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    @contextmanager
    def batch_span(self, name: str, traceparents: Iterable[str]) -> Iterator[str | None]:
        """Span a piece of work done for many requests; yields the `traceparent` to pass on, None when disabled."""
        if not self.enabled:
            yield None
            return
        links = [Link(_span_context(*_split(t))) for t in list(traceparents)[:MAX_LINKS]]
        with self._tracer.start_as_current_span(name, kind=SpanKind.PRODUCER, links=links) as span:
            made = span.get_span_context()
            yield f"00-{made.trace_id:032x}-{made.span_id:016x}-{int(made.trace_flags):02x}"

    def close(self) -> None:
        """Export what is left; waits a bounded time, for a collector that is away must not hold up the stop."""
        if self._provider is not None:
            last = threading.Thread(target=self._provider.shutdown, daemon=True)
            last.start()
            last.join(CLOSE_SECONDS)


def traceparent_of(context: RequestContext) -> str | None:
    """Return the `traceparent` of a sampled request, None otherwise."""
    if not context.sampled or context.trace_id is None:
        return None
    return f"00-{context.trace_id}-{context.span_id}-01"


def _split(traceparent: str) -> tuple[str, str, bool]:
    _, trace_id, span_id, flags = traceparent.split("-")
    return trace_id, span_id, flags == "01"


def _span_context(trace_id: str, span_id: str, sampled: bool) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=flags)
