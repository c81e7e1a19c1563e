"""Rows and histograms for results files."""

from harness.results.histogram import Histogram
from harness.results.records import StreamRecord

RUN = StreamRecord(journey="fresh", step="run", worker="w1", intended_ns=2_000, outcome="done")


FULL = StreamRecord(
    journey="resume",
    step="resumed",
    worker="w2",
    intended_ns=1_000,
    sent_ns=1_500,
    outcome="truncated",
    status=200,
    reason="the stream ended early",
    connect_ms=0.5,
    head_ms=1.5,
    first_event_ms=2.5,
    ttft_ms=3.5,
    service_ttft_ms=3.0,
    duration_ms=9.5,
    resume_ms=2.25,
    stall_ms=4.0,
    events=7,
    tokens=6,
    idempotency_key="k",
    run_id="r",
    trace_id="0af7651916cd43dd8448eb211c80319c",
    violations=1,
)


def of(*values_ms):
    histogram = Histogram()
    histogram.record_many(values_ms)
    return histogram
