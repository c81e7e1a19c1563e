"""The spans of journeys on a server: their ids are those that were sent, and they hang together."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.export.trace_records import SpanRecord, TraceRecord
from harness.load.journeys.builtin import JOURNEYS
from harness.load.journeys.stream_runner import StreamRunner
from harness.load.stats.stats_batch import StatsBatch
from harness.load.stats.trace_sampler import TraceSampler
from harness.protocol.traceparent import ids_of
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


def test_a_request_before_the_run_is_in_the_trace(tmp_path: Path) -> None:
    with own_requests(tmp_path) as rig:
        spans = check(traced(rig, "replay"))
    assert len(spans["request before a run"]) == 1


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
