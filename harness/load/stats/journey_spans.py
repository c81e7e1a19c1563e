"""The spans of one journey: what is kept of each of its streams, and the trace that becomes of it.

A journey's span is the parent of its requests' spans. The span of a request has the parent id that was sent in its
traceparent field as its own id, so that the server's spans hang below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from harness.contract.exchange import Exchange, Timing
from harness.export.trace_records import SpanRecord, SpanValue, TraceRecord
from harness.load.stats.stream_metrics import RESUMED, StreamStep, to_wall_ns
from harness.profiles.profile import Profile
from harness.protocol.traceparent import FIELD, ids_of, new_span_id
from harness.results.journeys import parent
from harness.results.records import StreamRecord

MOST_STREAMS = 500
"""The most streams of one journey that its trace has; as many more if they failed."""

PREFIX = "agent.run."
"""Of the attributes that no convention names."""

_PORTS = {"http": 80, "https": 443}
_SECONDS = ("ttft_ms", "duration_ms", "resume_ms", "stall_ms")


@dataclass(slots=True)  # not frozen: that takes three times as long to make
class RequestPart:
    """What is kept of a request and its response. Moments are monotonic clock, ns; None if they did not come.

    The request's body is not kept. traceparent: the field that was sent.
    record: the stream's row; None for a request before a run. kind: why the stream failed, without its details.
    first_event_ns, first_token_ns: of its events. over_ns: its terminal event. cancel_ms: the time from the request
    that cancelled its run to its end. output_tokens: by the API's own count.
    """

    step: StreamStep | None
    method: str
    target: str
    origin: str | None
    traceparent: str | None
    timing: Timing
    profile: Profile
    status: int | None = None
    record: StreamRecord | None = None
    kind: str | None = None
    first_event_ns: int | None = None
    first_token_ns: int | None = None
    over_ns: int | None = None
    cancel_ms: float | None = None
    output_tokens: int | None = None


class JourneySpans:
    """Collects the parts of one journey.

    trace_id: the one that its requests have. on_end: called when the journey has ended and every stream of it was
    added. scheduled: the number of its streams so far. failure, kind: its first stream that failed, and why,
    without details. duration_ms, ttft_ms,
    age_ms: the longest of its streams that were due at measured_from_ns or later, epoch ns; negative without one. Only
    what the end of the test cut off has an age.
    """

    __slots__ = (
        "_is_over",
        "_measured_from_ns",
        "_on_end",
        "_seen",
        "age_ms",
        "duration_ms",
        "failure",
        "kind",
        "left_out",
        "parts",
        "scheduled",
        "trace_id",
        "ttft_ms",
    )

    def __init__(
        self, trace_id: str, on_end: Callable[[JourneySpans], None], measured_from_ns: float
    ) -> None:
        self.trace_id = trace_id
        self.parts: list[RequestPart] = []
        self.scheduled = 0
        self.left_out = 0
        self.failure: StreamRecord | None = None
        self.kind: str | None = None
        self.duration_ms = self.ttft_ms = self.age_ms = -1.0
        self._measured_from_ns = measured_from_ns
        self._seen = 0
        self._is_over = False
        self._on_end = on_end

    def add_request(self, exchange: Exchange) -> None:
        """Add a request before a run."""
        self._keep(RequestPart(None, *_request(exchange), exchange.status))

    def add(
        self,
        step: StreamStep,
        exchange: Exchange | None,
        record: StreamRecord,
        *,
        kind: str | None,
        cancel_ms: float | None,
    ) -> None:
        """Add a stream whose row is known. exchange: None if it was never sent.

        After a harness fault nothing of it is decoded.
        """
        self._seen += 1
        if record.reason is not None and self.failure is None:
            self.failure, self.kind = record, kind
        if exchange is not None:
            if record.intended_ns >= self._measured_from_ns:
                self._measure(record, exchange.timing)
            self._keep(
                RequestPart(step, *_request(exchange), record.status, record)
                if record.unjudged
                else _decoded(step, exchange, record, kind, cancel_ms)
            )
        self._offer()

    def _measure(self, record: StreamRecord, timing: Timing) -> None:
        if record.duration_ms is not None and record.duration_ms > self.duration_ms:
            self.duration_ms = record.duration_ms
        if record.ttft_ms is not None and record.ttft_ms > self.ttft_ms:
            self.ttft_ms = record.ttft_ms
        if record.outcome == "in flight":
            self.age_ms = max(self.age_ms, (timing.ended_ns - timing.intended_ns) / 1e6)

    def end(self) -> None:
        """The journey is over. Its last streams may be added later, when the test ends."""
        self._is_over = True
        self._offer()

    def _offer(self) -> None:
        if self._is_over and self._seen == self.scheduled:
            self._on_end(self)

    def _keep(self, part: RequestPart) -> None:
        failed = part.record is not None and part.record.reason is not None
        if len(self.parts) < (2 if failed else 1) * MOST_STREAMS:
            self.parts.append(part)
        else:
            self.left_out += 1

    def trace(self, address: str, shown: Callable[[str], str]) -> TraceRecord:
        """The trace of what was added, at least one part. address: base URL of the target. shown: masks secrets."""
        root_id = new_span_id()
        spans = [span for part in self.parts for span in self._spans(part, root_id, address, shown)]
        return TraceRecord(self.trace_id, (self._root(spans, root_id), *spans))

    def _root(self, spans: list[SpanRecord], root_id: str) -> SpanRecord:
        rows = [part.record for part in self.parts if part.record is not None]
        name = (parent(rows[0].journey) or rows[0].journey) if rows else ""
        attributes: dict[str, SpanValue] = {f"{PREFIX}journey": name, f"{PREFIX}streams": self.scheduled}
        if rows:
            attributes[f"{PREFIX}worker"] = rows[0].worker
        if self.left_out:
            attributes[f"{PREFIX}streams.left_out"] = self.left_out
        return SpanRecord(
            name=f"journey {name}".rstrip(),
            span_id=root_id,
            parent_id=None,
            start_ns=min(span.start_ns for span in spans),
            end_ns=max(span.end_ns for span in spans),
            error=next((span.error for span in spans if span.error is not None), None),
            attributes=attributes,
        )

    def _spans(
        self, part: RequestPart, root_id: str, address: str, shown: Callable[[str], str]
    ) -> Iterator[SpanRecord]:
        """The span of a request, then those of what happened in it."""
        sent = ids_of(part.traceparent)
        is_ours = sent is not None and sent[0] == self.trace_id
        span_id = sent[1] if sent is not None and is_ours else new_span_id()
        timing, row = part.timing, part.record
        yield SpanRecord(
            name="request before a run" if part.step is None else f"stream {part.step.name}",
            span_id=span_id,
            parent_id=root_id,
            start_ns=to_wall_ns(timing.intended_ns),
            end_ns=to_wall_ns(max(timing.ended_ns, timing.intended_ns)),
            is_client=True,
            error=None if row is None or row.unjudged else row.reason,
            attributes=_attributes(part, address, shown),
            moments=dict(_moments(part)),
            link=None if is_ours else sent,
        )
        for name, start_ns, end_ns in _phases(part):
            yield SpanRecord(
                name=name,
                span_id=new_span_id(),
                parent_id=span_id,
                start_ns=to_wall_ns(start_ns),
                end_ns=to_wall_ns(max(start_ns, end_ns)),
            )


def _request(exchange: Exchange) -> tuple[str, str, str | None, str | None, Timing, Profile]:
    """The fields of a RequestPart that a request has before it is answered."""
    request = exchange.request
    return (
        request.method,
        request.target,
        request.origin,
        request.header(FIELD),
        exchange.timing,
        exchange.profile,
    )


def _decoded(
    step: StreamStep, exchange: Exchange, record: StreamRecord, kind: str | None, cancel_ms: float | None
) -> RequestPart:
    summary = exchange.summary
    tokens = summary.token_arrivals_ns
    return RequestPart(
        step,
        *_request(exchange),
        record.status,
        record,
        kind,
        summary.first_event_ns,
        tokens[0] if tokens else None,
        exchange.over_ns,
        cancel_ms,
        summary.output_tokens,
    )


def _phases(part: RequestPart) -> Iterator[tuple[str, int, int]]:
    """Name, start and end of what happened in a request."""
    timing = part.timing
    if timing.connected_ns is not None:
        yield "connect", timing.started_ns, timing.connected_ns
    if timing.sent_ns is not None and part.step is not None:
        if part.step.name == RESUMED.name and part.first_event_ns is not None:
            yield "resume", timing.sent_ns, part.first_event_ns
        if part.first_token_ns is not None:
            yield "first token", timing.sent_ns, part.first_token_ns
    if part.cancel_ms is not None and part.over_ns is not None:
        yield "cancel", part.over_ns - round(part.cancel_ms * 1e6), part.over_ns


def _moments(part: RequestPart) -> Iterator[tuple[str, int]]:
    for name, at_ns in (
        ("sent", part.timing.sent_ns),
        ("first event", part.first_event_ns),
        ("end of the run", part.over_ns),
    ):
        if at_ns is not None:
            yield name, to_wall_ns(at_ns)


def _attributes(part: RequestPart, address: str, shown: Callable[[str], str]) -> dict[str, SpanValue]:
    """HTTP's own by their names in the stable conventions, the others with PREFIX; times in seconds."""
    row, base = part.record, part.origin or address
    server = urlsplit(base)
    found: dict[str, SpanValue | None] = {
        "http.request.method": part.method,
        "url.full": shown(base.rstrip("/") + part.target),
        "server.address": shown(server.hostname or "") or None,
        "server.port": server.port or _PORTS.get(server.scheme),
        "http.response.status_code": part.status,
        f"{PREFIX}profile": part.profile.name,
    }
    if row is not None:
        found |= {
            "error.type": None if row.unjudged else part.kind,
            f"{PREFIX}journey": row.journey,
            f"{PREFIX}step": row.step,
            f"{PREFIX}outcome": row.outcome,
            f"{PREFIX}id": row.run_id,
            f"{PREFIX}idempotency_key": row.idempotency_key,
            f"{PREFIX}events": row.events,
            f"{PREFIX}tokens": row.tokens,
            f"{PREFIX}output_tokens": part.output_tokens,
            f"{PREFIX}violations": row.violations,
            f"{PREFIX}harness_fault": row.reason if row.unjudged else None,
        }
        if part.step is not None and part.step.begins_run:
            found[f"{PREFIX}operation"] = part.profile.genai.operation
            found[f"{PREFIX}provider"] = part.profile.genai.provider or part.profile.name
        for name in _SECONDS:
            value_ms: float | None = getattr(row, name)
            found[PREFIX + name.removesuffix("_ms")] = None if value_ms is None else value_ms / 1000
    return {name: value for name, value in found.items() if value is not None}
