"""A collector on loopback that keeps the metrics and traces it receives, decoded from OTLP protobuf."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Received:
    """Received requests, with metrics and with traces. status: HTTP status of the next responses."""

    url: str = ""
    status: int = 200
    requests: list[Any] = field(default_factory=list)
    traces: list[Any] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def metrics(self, number: int = -1) -> dict[str, Any]:
        """The metrics of one request by name."""
        (resource,) = self.requests[number].resource_metrics
        (scope,) = resource.scope_metrics
        return {metric.name: metric for metric in scope.metrics}

    def resource(self, number: int = -1) -> dict[str, str]:
        """The resource attributes."""
        (resource,) = self.requests[number].resource_metrics
        return {one.key: one.value.string_value for one in resource.resource.attributes}

    def spans(self) -> list[Any]:
        """The spans of all requests, in their order."""
        return [
            span
            for request in self.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


def attributes(holder: Any) -> dict[str, Any]:
    """Attributes of a span or a resource, each with its value's own type."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in holder.attributes}


def labels(point: Any) -> dict[str, str]:
    """Attributes of a data point."""
    return {one.key: one.value.string_value for one in point.attributes}


@contextmanager
def collector() -> Iterator[Received]:
    """A collector that runs during the block."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            received.headers.append(dict(self.headers))
            received.paths.append(self.path)
            if received.status == 200 and self.path.endswith("/v1/traces"):
                received.traces.append(ExportTraceServiceRequest.FromString(body))
            elif received.status == 200:
                received.requests.append(ExportMetricsServiceRequest.FromString(body))
            self.send_response(received.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    received.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
