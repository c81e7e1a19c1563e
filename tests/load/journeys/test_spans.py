"""The spans of journeys on a server: their ids are those that were sent, and they hang together."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.export.otel_traces import TracePusher
from harness.export.trace_records import SpanRecord, TraceRecord
from harness.load.journeys.builtin import JOURNEYS
from harness.load.journeys.stream_runner import StreamRunner
from harness.load.stats import trace_sampler
from harness.load.stats.otlp_traces import OtlpTraces
from harness.load.stats.stats_batch import StatsBatch
from harness.load.stats.trace_sampler import TraceSampler
from harness.protocol.traceparent import ids_of
from tests.export.receiver import attributes, collector
from tests.forked import embedded_server
from tests.load.journeys.rig import JourneyRig, journey_rig
from tests.load.journeys.test_cancel import rig_for
from tests.load.journeys.test_own_requests import own_requests


def traced(rig: JourneyRig, journey: str, *, is_traced: bool = True) -> TraceRecord:
    sampler = TraceSampler(1.0, address="http://a")
    given = rig.runner
    runner = StreamRunner(
        given._client,
        rig.target,
        rig.collector,
        stopping=lambda: False,
        rng=given.rng,
        is_traced=is_traced,
        sampler=sampler,
    )
    runner.random_event_index = lambda *_, **__: 2  # type: ignore[method-assign]
    JOURNEYS[journey](runner, None)
    runner.end()
    batch = StatsBatch()
    sampler.report_to(batch)
    (trace,) = batch.traces
    return trace


def check(trace: TraceRecord) -> dict[str, list[SpanRecord]]:
    """The spans by name, once each has a parent of the trace that spans it."""
    root, *others = trace.spans
    ids = {span.span_id: span for span in trace.spans}
    assert len(ids) == len(trace.spans)
    assert root.parent_id is None
    for span in others:
        parent = ids[span.parent_id or ""]
        assert parent.start_ns <= span.start_ns <= span.end_ns <= parent.end_ns, span
        assert (parent is root) == span.is_client
    by_name: dict[str, list[SpanRecord]] = {}
    for span in trace.spans:
        by_name.setdefault(span.name, []).append(span)
    return by_name


@pytest.mark.parametrize("journey", ["fresh", "replay", "resume", "conflict"])
def test_the_servers_spans_hang_below_ours(tmp_path: Path, journey: str) -> None:
    with journey_rig(tmp_path) as rig:
        trace = traced(rig, journey)
        assert rig.server is not None
        sent = {ids_of(headers["traceparent"]) for headers in rig.server.received}
    spans = check(trace)
    assert sent == {(trace.trace_id, span.span_id) for span in trace.spans if span.is_client}
    assert (
        [trace.spans[0].name]
        == [name for name in spans if name.startswith("journey")]
        == [f"journey {journey}"]
    )
    assert len(spans["connect"]) == len(sent)
    assert "first token" in spans
    assert ("resume" in spans) == (journey == "resume")
    urls = {span.attributes["url.full"] for span in trace.spans if span.is_client}
    assert urls == {f"http://a{rig.target.settings.path}"}


def test_a_cancelled_run_shows_how_long_that_took() -> None:
    with embedded_server() as base_url:
        rig = rig_for(base_url, second_reader=False)
        spans = check(traced(rig, "cancel"))
    (cancelled,) = spans["cancel"]
    (run,) = spans["stream run"]
    assert cancelled.parent_id == run.span_id
    assert cancelled.end_ns == run.moments["end of the run"]
    assert "stream cancelling" in spans


def test_each_request_before_the_run_is_in_the_trace(tmp_path: Path) -> None:
    with own_requests(tmp_path) as rig:
        spans = check(traced(rig, "replay"))
    assert len(spans["request before a run"]) == 2


def test_without_the_field_there_are_spans_of_the_harness_alone(tmp_path: Path) -> None:
    with journey_rig(tmp_path) as rig:
        trace = traced(rig, "replay", is_traced=False)
        assert rig.server is not None
        assert all("traceparent" not in headers for headers in rig.server.received)
    assert set(check(trace)) == {
        "journey replay",
        "stream original",
        "stream retry",
        "connect",
        "first token",
    }


def test_a_slow_and_a_failed_run_arrive_and_an_ordinary_one_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a collector decodes them: ids, parents, times and attributes."""
    monkeypatch.setattr(trace_sampler, "SLOWEST", 1)
    faults = ["none", "error", "none", "none"]
    sampler = TraceSampler(0.0, address="http://a")
    with journey_rig(tmp_path, fault=faults.__getitem__) as rig, collector() as received:
        assert rig.server is not None
        for gap_s in (0.002, 0.002, 0.1, 0.002):
            rig.server.behaviour.gap_s = gap_s
            runner = StreamRunner(
                rig.runner._client, rig.target, rig.collector, stopping=lambda: False, sampler=sampler
            )
            JOURNEYS["fresh"](runner, None)
            runner.end()
        rows = rig.collector.take().rows
        sent = [ids_of(headers["traceparent"]) for headers in rig.server.received]
        rig.collector.close()
        sampler.close()
        batch = StatsBatch()
        sampler.report_to(batch)
        traces = OtlpTraces(TracePusher(received.url))
        traces.add(batch, "w")
        traces.close("finished", [])
        spans = received.spans()
    assert traces.problem is None
    requests = {span.trace_id.hex(): span for span in spans if span.kind == span.SPAN_KIND_CLIENT}
    assert set(requests) <= {row.trace_id for row in rows}
    assert rows[0].trace_id not in requests or rows[3].trace_id not in requests
    for number in (1, 2):
        row = rows[number]
        request = requests[row.trace_id or ""]
        assert (request.trace_id.hex(), request.span_id.hex()) == sent[number]
        took_ns = request.end_time_unix_nano - request.start_time_unix_nano
        assert (row.duration_ms or 0.0) * 1e6 <= took_ns + 1
        assert abs(request.start_time_unix_nano - row.intended_ns) < 1e9
        assert attributes(request)["agent.run.duration"] == pytest.approx((row.duration_ms or 0.0) / 1000)
        (first,) = [
            span for span in spans if span.name == "first token" and span.parent_span_id == request.span_id
        ]
        assert first.end_time_unix_nano - first.start_time_unix_nano == pytest.approx(
            (row.service_ttft_ms or 0.0) * 1e6, abs=1000
        )
        (root,) = [span for span in spans if span.span_id == request.parent_span_id]
        assert (root.name, root.parent_span_id) == ("journey fresh", b"")
        assert root.status.code == request.status.code == (2 if number == 1 else 0)
    assert requests[rows[1].trace_id or ""].status.message == rows[1].reason
    assert attributes(requests[rows[1].trace_id or ""])["agent.run.outcome"] == "error"
