"""Traces pushed to a collector over OTLP/HTTP.

The SDK's tracer makes up its own ids and times, but these spans are made of what was measured, and their ids were sent.
So the spans are built here, and only the exporter of the SDK is used, with its variables for headers, certificates and
compression (OTEL_EXPORTER_OTLP_TRACES_HEADERS and others).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness import __version__
from harness.export.genai import GENAI_VERSIONS, genai_span
from harness.export.otel import missing_packages, resource_of, signal_url
from harness.export.trace_records import SpanRecord, TraceRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan

TRACES_PATH = "/v1/traces"
"""Path of the traces endpoint below the base URL of a collector (OTLP 1.0, "OTLP/HTTP Request")."""

_EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_LONGEST_REASON = 200


def ensure_traces_installed() -> None:
    """Raises ResultsError if the OpenTelemetry SDK or its OTLP exporter is not installed."""
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter
        import opentelemetry.sdk.trace  # noqa: F401 - only to check that it is installed
    except ImportError as problem:
        raise missing_packages(problem) from None


class _LastWords(logging.Filter):
    """Keeps the exporter's last message and lets none pass: a collector that is gone is reported once."""

    text = ""

    def filter(self, record: logging.LogRecord) -> bool:
        self.text = " ".join(record.getMessage().split())[:_LONGEST_REASON]
        return False


class TracePusher:
    """Sends traces to a collector. It has no thread: `push` blocks until the collector answers.

    endpoint: base URL of the collector, or URL of its traces endpoint. genai: the version of the GenAI conventions
    whose names the spans have too, one of GENAI_VERSIONS; None for none. Raises ResultsError if the packages are not
    installed.
    """

    def __init__(self, endpoint: str, genai: str | None = None) -> None:
        ensure_traces_installed()
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        self.url = signal_url(endpoint, TRACES_PATH)
        self._genai = genai
        self._resource = resource_of()
        self._words = _LastWords()
        self._logger = logging.getLogger(_EXPORTER)
        self._logger.addFilter(self._words)
        self._exporter = OTLPSpanExporter(endpoint=self.url)
        self._is_closed = False

    def push(self, traces: Iterable[TraceRecord]) -> bool:
        """Send the traces; returns whether the collector accepted them.

        Retries while the collector is busy, for at most the SDK's timeout (OTEL_EXPORTER_OTLP_TIMEOUT, 10 s).
        """
        from opentelemetry.sdk.trace.export import SpanExportResult

        self._words.text = ""
        spans = [span for trace in traces for span in sdk_spans(trace, self._resource, self._genai)]
        return self._exporter.export(spans) is SpanExportResult.SUCCESS

    @property
    def reason(self) -> str:
        """Why the last push failed, in the exporter's words; empty if it gave none."""
        return self._words.text

    def close(self) -> None:
        """Close the connection and abort a push that waits for its next try. Further calls do nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._exporter.shutdown()  # type: ignore[no-untyped-call]
            self._logger.removeFilter(self._words)


def sdk_spans(trace: TraceRecord, resource: Resource, genai: str | None = None) -> list[ReadableSpan]:
    """A trace as spans of the SDK, its first span first. genai: as in TracePusher."""
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    scope = InstrumentationScope("harness", __version__, None if genai is None else GENAI_VERSIONS[genai])
    return [_sdk_span(span, trace.trace_id, resource, scope, genai) for span in trace.spans]


def _sdk_span(
    span: SpanRecord, trace_id: str, resource: Resource, scope: Any, genai: str | None
) -> ReadableSpan:
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.trace import Link, SpanKind, Status, StatusCode

    name, attributes = (span.name, span.attributes) if genai is None else genai_span(span)
    return ReadableSpan(
        _encodable(name),
        context=_context((trace_id, span.span_id)),
        parent=None if span.parent_id is None else _context((trace_id, span.parent_id)),
        resource=resource,
        attributes=_all_encodable(attributes),
        events=[Event(name, timestamp=at_ns) for name, at_ns in span.moments.items()],
        links=[] if span.link is None else [Link(_context(span.link, is_remote=True))],
        kind=SpanKind.CLIENT if span.is_client else SpanKind.INTERNAL,
        status=Status(StatusCode.UNSET)
        if span.error is None
        else Status(StatusCode.ERROR, _encodable(span.error)),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=scope,
    )


def _context(ids: Sequence[str], *, is_remote: bool = False) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags

    trace_id, span_id = ids
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote, TraceFlags(TraceFlags.SAMPLED))


def _all_encodable(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _encodable(value) if isinstance(value, str) else value for name, value in attributes.items()
    }


def _encodable(text: str) -> str:
    """No format can encode lone surrogates, which a server may send."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
