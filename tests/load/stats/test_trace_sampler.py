"""Which journeys' traces are exported, and that memory has a bound."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from harness.contract.evidence.redaction import Redactor
from harness.contract.exchange import Ending, Exchange
from harness.contract.finding import Finding, Verdict
from harness.export.trace_records import SpanRecord, TraceRecord
from harness.load.stats import journey_spans, trace_sampler
from harness.load.stats.collector import Collector
from harness.load.stats.stats_batch import StatsBatch
from harness.load.stats.stream_metrics import RUN
from harness.load.stats.trace_sampler import LEFT_OUT, SLOWEST, WINDOW_S, TraceSampler
from harness.protocol.traceparent import new_trace_id
from tests.load.run_server import HEAD
from tests.load.stats.test_stream_metrics import DONE, END, MS, TOKEN, exchange


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Load:
    """Journeys of one stream each, in a process of its own."""

    def __init__(self, share: float = 0.0, **options: Any) -> None:
        self.clock = Clock()
        self.sampler = TraceSampler(share, clock=self.clock, **{"address": "http://a", **options})
        self.collector = Collector("w")

    def journey(
        self, name: str, took_ms: float = 100, *, ttft_ms: float = 10, broken: str = "", trace_id: str = ""
    ) -> str:
        """Its trace id. broken: the requirement that it breaks."""
        first, last = (30, HEAD + TOKEN), (took_ms, DONE + END)
        ended = exchange((ttft_ms + 10, first[1]), last, ending=Ending.COMPLETE)
        return self.with_exchange(name, ended, broken, trace_id)

    def with_exchange(self, name: str, ended: Exchange, broken: str = "", trace_id: str = "") -> str:
        spans = self.sampler.begin(trace_id or new_trace_id())
        stream = self.collector.schedule(name, RUN)
        spans.scheduled += 1
        stream.spans = spans
        self.collector.end(stream, ended)
        self.collector.finalize(stream, [Finding(broken, Verdict.FAIL, "wrong")] if broken else [])
        spans.end()
        return spans.trace_id

    def reported(self, *, after_s: float = 0.0) -> StatsBatch:
        self.clock.now_s += after_s
        batch = StatsBatch()
        self.sampler.report_to(batch)
        return batch

    def ids(self, *, after_s: float = 0.0) -> set[str]:
        return {trace.trace_id for trace in self.reported(after_s=after_s).traces}


def test_the_slowest_of_a_window_come_at_its_end() -> None:
    load = Load()
    ids = [load.journey("fresh", took_ms, ttft_ms=5) for took_ms in range(100, 140)]
    early = load.journey("fresh", 60, ttft_ms=40)  # the latest first token, in a short run
    assert load.ids(after_s=WINDOW_S - 1) == set()
    found = load.ids(after_s=1)
    assert found >= {*ids[-SLOWEST:], early}
    assert len(found) <= 2 * SLOWEST
    assert load.ids(after_s=WINDOW_S) == set()
    next_one = load.journey("fresh", 50)
    assert load.ids(after_s=WINDOW_S) == {next_one}


def test_memory_has_a_bound_however_many_run() -> None:
    load = Load()
    for took_ms in range(140, 100, -1):
        load.journey("fresh", took_ms)
    assert sum(len(slowest._heap) for slowest in load.sampler._slowest) <= 3 * SLOWEST
    assert load.sampler._open == {}


def test_the_failed_come_at_once_and_with_their_reason() -> None:
    load = Load()
    load.journey("fresh")
    failed = load.journey("fresh", broken="ids.increasing")
    (trace,) = load.reported().traces
    assert trace.trace_id == failed
    root, stream, *_ = trace.spans
    assert root.error == stream.error == "ids.increasing: wrong"
    assert stream.attributes["error.type"] == "violates ids.increasing"


def test_a_rare_failure_is_not_lost_among_frequent_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_sampler, "MOST_FAILED", 20)
    monkeypatch.setattr(trace_sampler, "RARE", 3)
    load = Load()
    frequent = [load.journey("fresh", broken="ids.increasing") for _ in range(50)]
    rare = {load.journey("fresh", broken="key.bad") for _ in range(3)}
    batch = load.reported()
    found = {trace.trace_id for trace in batch.traces}
    assert found == {*frequent[:10]} | rare
    assert batch.totals[LEFT_OUT] == 40
    assert load.reported().totals[LEFT_OUT] == 0
    load.reported(after_s=WINDOW_S)
    again = load.journey("fresh", broken="ids.increasing")
    assert again in load.ids(), "each window has room"


def test_what_there_is_no_room_for_may_still_be_the_slowest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_sampler, "MOST_FAILED", 0)
    load = Load()
    failed = load.journey("fresh", broken="ids.increasing")
    assert load.ids(after_s=WINDOW_S) == {failed}


@pytest.mark.parametrize(
    ("share", "least"), [(0.0, 2**56), (0.25, 3 * 2**54), (1.0, 0), (0.01, round(0.99 * 2**56))]
)
def test_the_share_is_decided_by_the_random_part_of_the_trace_id(share: float, least: int) -> None:
    load = Load(share)
    ids = {
        number: f"{'ff' * 9}{number:014x}"
        for number in (0, least - 1, least, 2**56 - 1)
        if 0 <= number < 2**56
    }
    for trace_id in ids.values():
        load.journey("fresh", trace_id=trace_id)
    assert load.ids() == {trace_id for number, trace_id in ids.items() if number >= least}


def test_the_share_has_a_bound_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_sampler, "MOST_OF_SHARE", 5)
    monkeypatch.setattr(trace_sampler, "SLOWEST", 1)
    load = Load(1.0)
    for _ in range(9):
        load.journey("fresh")
    batch = load.reported()
    assert (len(batch.traces), batch.totals[LEFT_OUT]) == (5, 4)


def test_so_have_the_requests_of_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_sampler, "MOST_REQUESTS", 3)
    monkeypatch.setattr(trace_sampler, "SLOWEST", 1)
    load = Load(1.0)
    for number in range(6):
        load.journey("fresh", broken="x.y" if number % 2 else "")
    batch = load.reported()
    assert (len(batch.traces), batch.totals[LEFT_OUT]) == (3, 3)
    load.reported(after_s=WINDOW_S)
    load.journey("fresh")
    assert len(load.ids()) == 1


def test_warm_up_is_never_the_slowest_but_its_failures_are_told() -> None:
    load = Load(measured_from=2**40)
    load.journey("fresh", 450)
    failed = load.journey("fresh", broken="ids.increasing")
    assert load.ids(after_s=WINDOW_S) == {failed}


def test_a_journey_that_the_end_of_the_test_cut_off_has_its_trace() -> None:
    load = Load()
    spans = load.sampler.begin(new_trace_id())
    stream = load.collector.schedule("fresh", RUN)
    spans.scheduled, stream.spans = 1, spans
    stream.exchange = exchange((30, HEAD + TOKEN), ending=Ending.STOPPED)
    spans.end()  # its greenlet was killed
    never_sent = load.sampler.begin(new_trace_id())
    never_sent.scheduled, load.collector.schedule("fresh", RUN).spans = 1, never_sent
    assert load.ids(after_s=WINDOW_S) == set()
    load.collector.close()
    load.sampler.close()
    (trace,) = load.reported().traces
    assert (trace.trace_id, trace.spans[1].attributes["agent.run.outcome"]) == (spans.trace_id, "in flight")
    assert [span.name for span in trace.spans] == ["journey fresh", "stream run", "connect", "first token"]


def test_a_trace_survives_the_message_of_its_batch() -> None:
    load = Load()
    load.journey("fresh", broken="ids.increasing")
    sent = load.reported()
    assert sent.traces
    assert sent
    assert StatsBatch.from_message(json.loads(json.dumps(sent.to_message()))).traces == sent.traces


@pytest.fixture
def few_streams(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(journey_spans, "MOST_STREAMS", 3)
    return 3


def test_a_journey_without_end_keeps_its_first_streams_and_more_that_failed(few_streams: int) -> None:
    load = Load(1.0)
    spans = load.sampler.begin(new_trace_id())
    for number in range(9):
        stream = load.collector.schedule("own", RUN)
        spans.scheduled += 1
        stream.spans = spans
        load.collector.end(stream, exchange((30, HEAD + TOKEN), (40, DONE + END)))
        load.collector.finalize(stream, [Finding("x.y", Verdict.FAIL, "wrong")] if number == 8 else [])
    spans.end()
    (trace,) = load.reported().traces
    streams = [span for span in trace.spans if span.is_client]
    assert [span.error is not None for span in streams] == [False] * few_streams + [True]
    assert trace.spans[0].attributes["agent.run.streams"] == 9
    assert trace.spans[0].attributes["agent.run.streams.left_out"] == 9 - few_streams - 1


def by_name(trace: TraceRecord) -> dict[str, SpanRecord]:
    return {span.name: span for span in trace.spans}


def test_times_are_those_that_were_measured() -> None:
    load = Load(1.0)
    load.journey("fresh", 90, ttft_ms=35)
    (trace,) = load.reported().traces
    spans = by_name(trace)
    start_ns = spans["stream run"].start_ns

    def at_ms(span: SpanRecord) -> tuple[float, float]:
        return (span.start_ns - start_ns) / MS + 10, (span.end_ns - start_ns) / MS + 10  # it starts at 10 ms

    assert {name: at_ms(span) for name, span in spans.items()} == {
        "journey fresh": (10, 500),
        "stream run": (10, 500),
        "connect": (10, 12),
        "first token": (20, 45),
    }
    moments = {name: (at - start_ns) / MS + 10 for name, at in spans["stream run"].moments.items()}
    assert moments == {"sent": 20, "first event": 45, "end of the run": 90}
    assert spans["stream run"].attributes["agent.run.ttft"] == 0.035
    assert spans["stream run"].attributes["agent.run.duration"] == 0.08


@pytest.mark.parametrize(
    ("address", "host", "port", "url"),
    [
        ("http://a", "a", 80, "http://a/"),
        ("https://b.example/", "b.example", 443, "https://b.example/"),
        ("http://[::1]:8000", "::1", 8000, "http://[::1]:8000/"),
        ("http://s3cret.example", "******.example", 80, "http://******.example/"),
    ],
)
def test_a_request_has_the_address_that_it_was_sent_to(address: str, host: str, port: int, url: str) -> None:
    load = Load(1.0, address=address, redact=Redactor(["s3cret"]))
    load.journey("fresh")
    (trace,) = load.reported().traces
    found = by_name(trace)["stream run"].attributes
    assert (found["server.address"], found["server.port"], found["url.full"]) == (host, port, url)


@pytest.mark.parametrize(
    ("profile", "operation", "provider"),
    [("workflow-actions", "invoke_agent", "workflow-actions"), ("openai-chat", "chat", "openai")],
)
def test_a_request_that_begins_a_run_says_what_it_is_by_its_profile(
    profile: str, operation: str, provider: str
) -> None:
    load = Load(1.0)
    load.with_exchange("fresh", exchange((30, HEAD), profile=profile))
    (trace,) = load.reported().traces
    found = by_name(trace)["stream run"].attributes
    assert (found["agent.run.operation"], found["agent.run.provider"]) == (operation, provider)


def test_a_request_of_somebody_elses_trace_is_linked_to_it() -> None:
    load = Load(1.0)
    ended = exchange((30, HEAD + TOKEN), (40, DONE + END))
    own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
    trace_id = load.with_exchange(
        "fresh", replace(ended, request=ended.request.with_header("traceparent", own))
    )
    (trace,) = load.reported().traces
    stream = by_name(trace)["stream run"]
    assert trace.trace_id == trace_id
    assert stream.link == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert stream.span_id != "b7ad6b7169203331"
