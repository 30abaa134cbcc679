"""A server in the place of an OpenTelemetry collector: takes spans by OTLP over HTTP and keeps them."""

from __future__ import annotations

import dataclasses
import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

PATH: Final = "/v1/traces"
KINDS: Final = {2: "server", 3: "client", 4: "producer", 5: "consumer"}


@dataclasses.dataclass(frozen=True)
class ReceivedSpan:
    """A span as it was exported; ids are lower-case hex, the parent's is empty for a root."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    links: frozenset[tuple[str, str]]
    attributes: dict[str, Any]


class Collector:
    """A collector that listens while the block lasts; `requests` counts whatever was sent, to any path."""

    def __init__(self) -> None:
        """Take a port; nobody gets an answer before the block begins."""
        self.spans: list[ReceivedSpan] = []
        self.requests = 0
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.requests += 1
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                if self.path == PATH:
                    collector.spans.extend(_spans_in(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def named(self, service: str, name: str) -> list[ReceivedSpan]:
        """The spans of that name from that service."""
        return [span for span in list(self.spans) if (span.service, span.name) == (service, name)]


def _spans_in(body: bytes) -> list[ReceivedSpan]:
    request = ExportTraceServiceRequest.FromString(body)
    found = []
    for resource in request.resource_spans:
        of_resource = {one.key: _value(one.value) for one in resource.resource.attributes}
        for scope in resource.scope_spans:
            found += [
                ReceivedSpan(
                    service=of_resource["service.name"],
                    name=span.name,
                    kind=KINDS.get(span.kind, str(span.kind)),
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    links=frozenset((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                    attributes={one.key: _value(one.value) for one in span.attributes},
                )
                for span in scope.spans
            ]
    return found


def _value(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value") or "string_value")
