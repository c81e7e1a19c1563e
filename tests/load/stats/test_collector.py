from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest

from harness.contract.decoding.token_layout import token_reader_in_use
from harness.contract.exchange import Ending
from harness.contract.finding import Finding, Location, Verdict
from harness.load.stats.collector import Collector, CollectorClosedError, PendingStream
from harness.load.stats.stats_batch import StatsBatch
from harness.load.stats.stream_metrics import CUT, RUN
from harness.results.ledger import Ledger
from harness.results.reader import Results
from harness.results.writer import ResultsWriter
from harness.transport.ready_sockets import reader_in_use
from tests.load.run_server import HEAD
from tests.load.stats.test_stream_metrics import DONE, END, TOKEN, exchange, frame

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
WHOLE = exchange((30, HEAD + TOKEN), (40, TOKEN), (45, DONE + END))
BROKEN = exchange((30, HEAD + TOKEN), ending=Ending.TRUNCATED, detail="gone")


def ledger(batch: StatsBatch) -> dict[str, int]:
    counts: dict[str, int] = {}
    for (_, _, outcome), count in batch.ledger.items():
        counts[outcome] = counts.get(outcome, 0) + count
    return counts


def test_a_stream_is_scheduled_and_ended_once() -> None:
    collector = Collector("w")
    stream = collector.schedule("fresh", RUN)
    assert collector.open_streams == 1
    assert ledger(collector.take()) == {"scheduled": 1}
    assert collector.end(stream, WHOLE) == "done"
    assert collector.open_streams == 0
    collector.finalize(stream, [])
    batch = collector.take()
    assert ledger(batch) == {"done": 1}
    (row,) = batch.rows
    assert (row.journey, row.step, row.worker, row.outcome) == ("fresh", "run", "w", "done")
    assert (row.status, row.events, row.tokens, row.run_id) == (200, 3, 2, "r")
    assert (row.ttft_ms, row.stall_ms, row.duration_ms, row.reason) == (20, 10, 35, None)
    assert not batch.failures
    assert {key[0]: histogram.count for key, histogram in batch.histograms.items()} == {
        "connect_ms": 1,
        "head_ms": 1,
        "first_event_ms": 1,
        "ttft_ms": 1,
        "service_ttft_ms": 1,
        "duration_ms": 1,
        "tokens_per_s": 1,
        "tpot_ms": 1,
        "stall_ms": 1,
        "inter_token_ms": 1,
        "receive_lag_ms": 3,
        "arrival_error_ms": 1,
        "net_ttft_ms": 1,
        "net_first_event_ms": 1,
        "net_duration_ms": 1,
    }
    assert batch.totals == {
        "tokens": 2,
        "coalesced_tokens": 0,
        "reads_stamped": 3,
        "reads_unstamped": 0,
        f"reads_{reader_in_use()}": 3,
        f"tokens_{token_reader_in_use()}": 2,
    }
    assert not collector.take()


def test_each_gap_and_lag_is_in_the_batch_of_its_stream_however_many_end() -> None:
    """They are recorded 64 streams at a time, and the rest when a batch is taken."""
    collector = Collector("w")
    for streams in (1, 64, 130):
        for _ in range(streams):
            for journey in ("fresh", "replay"):
                collector.end(collector.schedule(journey, RUN), WHOLE)
        counts = {key[:2]: histogram.count for key, histogram in collector.take().histograms.items()}
        for journey in ("fresh", "replay"):
            assert counts["inter_token_ms", journey] == streams
            assert counts["receive_lag_ms", journey] == 3 * streams


def test_no_stream_ends_or_is_finalized_twice() -> None:
    collector = Collector("w")
    stream = collector.schedule("fresh", RUN)
    with pytest.raises(ValueError, match="has not ended"):
        collector.finalize(stream, [])
    collector.end(stream, WHOLE)
    with pytest.raises(ValueError, match="ended twice"):
        collector.end(stream, WHOLE)
    collector.finalize(stream, [])
    with pytest.raises(ValueError, match="already finalized"):
        collector.finalize(stream, [])
    assert ledger(collector.take()) == {"scheduled": 1, "done": 1}


def test_the_intended_start_decides_the_second() -> None:
    collector = Collector("w")
    now = time.time_ns()
    stream = collector.schedule("fresh", RUN, time.monotonic_ns() - 5_000_000_000)
    assert abs(stream.intended_wall_ns - (now - 5_000_000_000)) < 1_000_000_000
    (key,) = collector.take().ledger
    assert key == (stream.intended_wall_ns // 10**9, "fresh", "scheduled")
    collector.end(stream, WHOLE)
    assert ("schedule_lag_ms", "fresh", stream.intended_wall_ns // 10**9) in collector.take().histograms


def test_a_failed_stream() -> None:
    finalized: list[PendingStream] = []
    collector = Collector("w", on_finalized=finalized.append)
    stream = collector.schedule("fresh", RUN)
    collector.end(stream, BROKEN)
    collector.finalize(stream, [Finding("terminal.always", Verdict.FAIL, "none", (Location(BROKEN),))])
    batch = collector.take()
    assert sum(batch.failures.values()) == 1
    assert batch.violations == {("terminal.always", "fresh"): 1}
    assert batch.rows[0].reason == "truncated: gone"
    assert batch.rows[0].violations == 1
    assert finalized == [stream]
    (example,) = batch.examples
    assert (example.requirement, example.detail) == ("terminal.always", "none")
    assert example.evidence[0]["ending"] == "truncated"


def test_an_unmet_recommendation_is_a_warning_not_a_failure() -> None:
    collector = Collector("w")
    stream = collector.schedule("fresh", RUN)
    collector.end(stream, WHOLE)
    collector.finalize(stream, [Finding("headers.no-cache", Verdict.WARN, "absent")])
    batch = collector.take()
    assert (batch.warnings, batch.violations, batch.failures) == ({"headers.no-cache": 1}, {}, {})


def test_examples_are_limited_and_counts_are_not() -> None:
    collector = Collector("w")
    for _ in range(30):
        stream = collector.schedule("fresh", RUN)
        collector.end(stream, WHOLE)
        collector.finalize(stream, [Finding("ids.unique", Verdict.FAIL, "twice", (Location(WHOLE),))])
    batch = collector.take()
    assert batch.violations == {("ids.unique", "fresh"): 30}
    assert len(batch.examples) == 20


def test_a_fault_of_the_harness_counts_neither_for_nor_against_the_server() -> None:
    finalized: list[PendingStream] = []
    collector = Collector("w", secrets=["s3cret"], on_finalized=finalized.append)
    stream = collector.schedule("fresh", RUN)
    collector.end(stream, WHOLE)
    broken = Finding("ids.unique", Verdict.FAIL, "twice", (Location(WHOLE),))
    collector.finalize(stream, [broken], fault="while checking it: KeyError('s3cret')")
    batch = collector.take()
    assert ledger(batch) == {"scheduled": 1, "done": 1}
    assert (batch.failures, batch.rate_counts, batch.violations, batch.examples) == ({}, {}, {}, [])
    assert batch.faults == {"harness fault while checking it: KeyError('******')": 1}
    (row,) = batch.rows
    assert row.unjudged
    assert (row.outcome, row.reason, row.violations) == ("done", next(iter(batch.faults)), 0)
    assert (row.status, row.run_id, row.ttft_ms) == (200, "r", 20)
    assert [stream.kind for stream in finalized] == [row.reason]


def test_fault_reasons_are_limited_and_counts_are_not() -> None:
    collector = Collector("w")
    for number in range(30):
        stream = collector.schedule("fresh", RUN)
        collector.end(stream, WHOLE)
        collector.finalize(stream, [], fault=f"while checking it: {number % 15}")
    batch = collector.take()
    assert (len(batch.faults), batch.faults.total()) == (11, 30)
    assert batch.faults["harness fault for other reasons"] == 10


def test_a_stream_whose_measuring_fails_keeps_its_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    collector = Collector("w")
    stream, unknown = collector.schedule("fresh", RUN), collector.schedule("fresh", RUN)
    monkeypatch.setattr("harness.load.stats.collector.measure", broken)
    with pytest.raises(ZeroDivisionError):
        collector.end(stream, WHOLE)
    collector.abort(stream, WHOLE, "while measuring it: X")
    monkeypatch.setattr("harness.load.stats.collector.outcome_of", broken)
    with pytest.raises(ZeroDivisionError):
        collector.end(unknown, WHOLE)
    collector.abort(unknown, WHOLE, "while measuring it: X")
    batch = collector.take()
    assert ledger(batch) == {"scheduled": 2, "done": 1, "abandoned": 1}
    assert [row.reason for row in batch.rows] == ["harness fault while measuring it: X"] * 2
    assert collector.open_streams == 0


def test_a_response_that_cannot_be_decoded_still_has_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    collector = Collector("w")
    stream = collector.schedule("fresh", RUN)
    monkeypatch.setattr("harness.contract.exchange.Exchange._response", property(broken))
    stopped = exchange((30, HEAD + TOKEN), ending=Ending.STOPPED)
    collector.abort(stream, stopped, "while reading it: X")
    (row,) = collector.take().rows
    assert (row.outcome, row.status, row.run_id, row.sent_ns is None) == ("abandoned", None, None, False)


def test_what_is_open_at_the_end_is_in_flight() -> None:
    collector = Collector("w")
    stopped, unsettled, never_begun = (collector.schedule("fresh", RUN) for _ in range(3))
    stopped.exchange = exchange((30, HEAD + TOKEN), ending=Ending.STOPPED)
    collector.end(unsettled, WHOLE)
    collector.close()
    collector.close()
    batch = collector.take()
    assert ledger(batch) == {"scheduled": 3, "done": 1, "in flight": 2}
    assert [row.outcome for row in batch.rows] == ["done", "in flight", "in flight"]
    assert batch.rows[1].ttft_ms == 20
    assert [row.reason for row in batch.rows] == [None] * 3
    assert not batch.failures
    assert never_begun.outcome is None


def test_a_stream_not_checked_before_the_end_is_not_a_success() -> None:
    collector = Collector("w")
    whole, broken = (collector.schedule("fresh", RUN) for _ in range(2))
    collector.end(whole, WHOLE)
    collector.end(broken, BROKEN)
    collector.close()
    batch = collector.take()
    assert ledger(batch) == {"scheduled": 2, "done": 1, "truncated": 1}
    counters = [counter for _, _, counter in batch.rate_counts]
    assert sorted(counters) == ["failed", "judged", "runs"]  # of the failed stream
    assert [row.reason for row in batch.rows] == [None, "truncated: gone"]


def test_a_closed_collector_takes_no_stream() -> None:
    collector = Collector("w")
    collector.close()
    with pytest.raises(CollectorClosedError):
        collector.schedule("fresh", RUN)
    assert not collector.take()


def test_what_ends_after_the_end_stays_in_flight() -> None:
    collector = Collector("w")
    stream = collector.schedule("fresh", RUN)
    collector.close()
    assert collector.end(stream, WHOLE) == "in flight"
    assert ledger(collector.take()) == {"scheduled": 1, "in flight": 1}


def test_a_user_stopped_during_the_test_abandons_its_stream() -> None:
    collector = Collector("w")
    stream = collector.schedule("resume", CUT)
    collector.abort(stream, exchange((30, HEAD + TOKEN), ending=Ending.STOPPED))
    batch = collector.take()
    assert ledger(batch) == {"scheduled": 1, "abandoned": 1}
    assert batch.rows[0].reason is None
    stream = collector.schedule("fresh", RUN)
    collector.abort(stream, exchange(ending=Ending.STOPPED), "while reading it: X")
    batch = collector.take()
    assert batch.rows[0].outcome == "abandoned"
    assert not batch.failures
    assert not batch.rate_counts


def hostile_batch() -> StatsBatch:
    collector = Collector("w", secrets=["secret-token"])
    hostile = exchange(
        (30, HEAD + frame(type="token", content="\ud800 secret-token <b>") + TOKEN),
        (40, frame(type="done", runId="r" * 1000) + END),
    )
    stream = collector.schedule("fresh", RUN)
    collector.end(stream, hostile)
    places = (Location(hostile, hostile.events[2], "here"), Location(hostile, hostile.events[0]))
    collector.finalize(stream, [Finding("ids.present", Verdict.FAIL, "bad \ud800", places)])
    collector.schedule("conflict", RUN)
    return collector.take()


def test_a_batch_survives_the_message_between_processes() -> None:
    batch = hostile_batch()
    received = StatsBatch.from_message(msgpack.loads(msgpack.dumps(batch.to_message())))
    for part in ("ledger", "failures", "violations", "warnings", "totals", "rows", "examples"):
        assert getattr(received, part) == getattr(batch, part)
    assert {key: one.to_bytes() for key, one in received.histograms.items()} == {
        key: one.to_bytes() for key, one in batch.histograms.items()
    }


def test_a_batch_in_the_results_file(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path / "r.sqlite") as writer:
        hostile_batch().write_to(writer, "w")
        hostile_batch().write_to(writer, "v")
    with Results(tmp_path / "r.sqlite") as results:
        assert results.ledger() == Ledger({"scheduled": 4, "done": 2, "in flight": 2})
        assert results.failures() == 2
        assert results.violation_counts() == {"ids.present": 2}
        assert results.histogram("ttft_ms").count == 2
        assert [len(row.run_id or "") for row in results.streams()] == [200, 200]
        (first, _) = results.violations()
    (document,) = first.evidence
    assert [one["event"] for one in document["pointed_at"]] == [2, 0]
    assert "secret-token" not in json.dumps(document)


def test_a_run_is_good_by_the_limits_of_its_own_journey() -> None:
    collector = Collector(
        "w", run_limits={"ttft_ms": 25}, journey_limits={"fresh": {"ttft_ms": 15}, "join": {"ttft_ms": 25}}
    )
    for journey in ("fresh", "join", "replay"):
        stream = collector.schedule(journey, RUN)
        collector.end(stream, WHOLE)  # its TTFT is 20 ms
        collector.finalize(stream, [])
    good = {
        journey: count
        for (_, journey, counter), count in collector.take().rate_counts.items()
        if counter == "good"
    }
    assert good == {"join": 1, "replay": 1}


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (f"00-{TRACE_ID}-b7ad6b7169203331-01", TRACE_ID),
        ("mine", None),
        (None, None),
    ],
)
def test_a_row_has_the_trace_id_that_was_sent(sent: str | None, stored: str | None) -> None:
    collector = Collector("w")
    stream = collector.schedule("fresh", RUN)
    ended = replace(WHOLE, request=WHOLE.request.with_header("traceparent", sent))
    collector.end(stream, ended)
    collector.finalize(stream, [])
    assert [row.trace_id for row in collector.take().rows] == [stored]


def test_a_trace_id_with_a_secret_in_it_is_not_stored() -> None:
    collector = Collector("w", secrets=(TRACE_ID,))
    stream = collector.schedule("fresh", RUN)
    field = f"00-{TRACE_ID}-b7ad6b7169203331-01"
    collector.end(stream, replace(WHOLE, request=WHOLE.request.with_header("traceparent", field)))
    collector.finalize(stream, [])
    assert [row.trace_id for row in collector.take().rows] == [None]


def test_findings_and_reasons_have_no_token() -> None:
    echoing = exchange((30, HEAD + TOKEN), ending=Ending.TRUNCATED, detail="gone: s3cret")
    for answer, findings in (
        (WHOLE, [Finding("ids.unique", Verdict.FAIL, "s3cret", (Location(WHOLE),))]),
        (echoing, []),
    ):
        collector = Collector("w", secrets=["s3cret"])
        stream = collector.schedule("fresh", RUN)
        collector.end(stream, answer)
        collector.finalize(stream, findings)
        batch = collector.take()
        shown = repr((stream.kind, batch.rows, batch.examples, batch.failures))
        assert "s3cret" not in str(stream.kind)
        assert "******" in shown
        assert "s3cret" not in shown


def test_an_id_is_short_and_cannot_control_a_terminal() -> None:
    assert Collector._shown("r\x1b[31m") == r"r\x1b[31m"
    assert len(Collector._shown("r" * 100_000) or "") < 1000
    assert Collector._shown(None) is None
