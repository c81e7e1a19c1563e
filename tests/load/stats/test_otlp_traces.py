"""Sending traces costs nothing but one sentence and a count, whatever the collector does."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from harness.export.trace_records import SpanRecord, TraceRecord
from harness.load.stats import otlp_traces
from harness.load.stats.otlp_traces import OtlpTraces
from harness.load.stats.stats_batch import StatsBatch
from harness.load.stats.trace_sampler import LEFT_OUT

_WITHIN_S = 20.0


class Sender:
    """Keeps what it is given, in the thread that gives it."""

    url = "http://collector/v1/traces"
    reason = ""

    def __init__(self) -> None:
        self.pushes: list[int] = []
        self.threads: set[int] = set()
        self.arrives = True
        self.may_go = threading.Event()
        self.may_go.set()
        self.got = threading.Semaphore(0)
        self.closed = threading.Event()

    def push(self, traces: Sequence[TraceRecord]) -> bool:
        self.pushes.append(len(traces))
        self.threads.add(threading.get_ident())
        self.got.release()
        assert self.may_go.wait(_WITHIN_S)
        return self.arrives

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def sender() -> Iterator[Sender]:
    sender = Sender()
    yield sender
    sender.may_go.set()


def trace(spans: int) -> TraceRecord:
    span = SpanRecord(name="s", span_id="1" * 16, parent_id=None, start_ns=1, end_ns=2)
    return TraceRecord("2" * 32, (span,) * spans)


def batch(number: int, left_out: int = 0) -> StatsBatch:
    return StatsBatch(traces=[trace(1)] * number, totals=Counter({LEFT_OUT: left_out}))


def test_all_arrive_in_another_thread(
    sender: Sender, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(otlp_traces, "AT_ONCE", 200)
    one = OtlpTraces(sender)
    one.started(0, None)
    one.add(batch(250), "v")
    one.add(batch(1), "w")
    one.flush()
    one.add(batch(1), "w")
    one.close("finished", [])
    assert sender.pushes == [200, 51, 1]
    assert (one.arrived, one.lost, one.problem) == (252, 0, None)
    assert "252 traces sent to http://collector/v1/traces" in caplog.text
    assert threading.get_ident() not in sender.threads
    assert sender.closed.is_set()


def test_a_collector_that_hangs_delays_nothing_and_is_counted(
    sender: Sender, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp_traces, "MOST_WAITING", 30)
    monkeypatch.setattr(otlp_traces, "_LAST_S", 0.05)
    sender.may_go.clear()
    one = OtlpTraces(sender)
    for _ in range(10):
        one.add(batch(5), "w")
        one.flush()
    assert sender.got.acquire(timeout=_WITHIN_S)
    one.close("finished", [])
    assert sender.closed.is_set(), "so that it stops trying"
    assert (one.arrived, one.crowded_out) == (0, 20)
    assert one.problem == (
        "50 of 50 traces did not reach http://collector/v1/traces; check [export] otlp_traces_endpoint"
    )
    assert len(caplog.records) == 1


def test_a_collector_that_refuses_is_told_once_and_at_the_end(
    sender: Sender, caplog: pytest.LogCaptureFixture
) -> None:
    sender.arrives, sender.reason = False, "404 Not Found"
    one = OtlpTraces(sender)
    for _ in range(3):
        one.add(batch(1), "w")
        one.flush()
        assert sender.got.acquire(timeout=_WITHIN_S)
    one.add(batch(4), "w")
    one.close("finished", [])
    assert one.problem == (
        "7 of 7 traces did not reach http://collector/v1/traces (404 Not Found); "
        "check [export] otlp_traces_endpoint"
    )
    assert caplog.text.count("the test continues") == 1
    assert len(caplog.records) == 2


def test_one_that_comes_back_gets_the_later_ones(sender: Sender) -> None:
    sender.arrives = False
    one = OtlpTraces(sender)
    one.add(batch(1), "w")
    one.flush()
    assert sender.got.acquire(timeout=_WITHIN_S)
    while not one.lost:
        threading.Event().wait(0.001)
    sender.arrives = True
    one.add(batch(2), "w")
    one.flush()
    assert sender.got.acquire(timeout=_WITHIN_S)
    one.close("finished", [])
    assert (one.arrived, one.lost) == (2, 1)
    assert one.problem is not None
    assert one.problem.startswith("1 of 3 traces did not reach")


def test_a_push_and_the_queue_are_limited_by_their_spans(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(otlp_traces, "AT_ONCE", 10)
    monkeypatch.setattr(otlp_traces, "MOST_WAITING", 60)
    sender.may_go.clear()
    one = OtlpTraces(sender)
    one.add(StatsBatch(traces=[trace(4), trace(6), trace(25), trace(1), trace(24), trace(1)]), "w")
    one.flush()
    assert one.crowded_out == 1
    sender.may_go.set()
    one.close("finished", [])
    assert sender.pushes == [2, 1, 1, 1]
    assert one.arrived == 5


def test_what_was_left_out_is_told(sender: Sender) -> None:
    one = OtlpTraces(sender)
    one.add(batch(1, left_out=7), "w")
    one.close("finished", [])
    assert one.problem is not None
    assert one.problem.startswith("7 traces of failed runs or of [export] trace_share were left out")


def test_a_sender_that_breaks_does_not_end_the_thread(
    sender: Sender, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = OtlpTraces(sender)

    def broken(_: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(sender, "push", broken)
    one.add(batch(1), "w")
    one.close("finished", [])
    assert "ZeroDivisionError" in caplog.text
    assert (one.lost, sender.closed.is_set()) == (1, True)
