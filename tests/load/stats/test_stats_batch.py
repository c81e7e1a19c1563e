from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgpack
import pytest

from harness.export.trace_records import SpanRecord, TraceRecord
from harness.load.stats.stats_batch import StatsBatch
from harness.results.histogram import Histogram
from harness.results.ledger import Ledger
from harness.results.rate_counts import RateCounts
from harness.results.reader import Results
from harness.results.records import ProcessRecord, StreamRecord, ViolationRecord
from harness.results.writer import ResultsWriter

ROW = StreamRecord(
    journey="fresh",
    step="run",
    worker="w",
    intended_ns=5,
    outcome="done",
    reason="a\ud800b",
    ttft_ms=1.5,
    run_id="r",
    trace_id="0af7651916cd43dd8448eb211c80319c",
)


SPAN = SpanRecord(
    name="stream run",
    span_id="b7ad6b7169203331",
    parent_id="b7ad6b7169203332",
    start_ns=1,
    end_ns=2**62,
    error="a\ud800b",
    attributes={"a": 1, "b": "x", "c": 1.5, "d": True},
    moments={"sent": 2},
)


def everything() -> StatsBatch:
    batch = StatsBatch(
        ledger=Counter({(1, "fresh", "scheduled"): 3, (1, "fresh", "done"): 2}),
        failures=Counter({(1, "fresh"): 1}),
        violations=Counter({("ids.unique", "fresh"): 2}),
        violated_at=Counter({1: 2}),
        warnings=Counter({"ids.clock": 1}),
        totals=Counter({"tokens": 7}),
        faults=Counter({"harness fault while checking it: X": 2}),
        open={"fresh": 1},
        rows=[ROW],
        examples=[ViolationRecord(requirement="ids.unique", journey="fresh", at_ns=1, detail="\udfff")],
        processes=[ProcessRecord(worker="w", second=1, cpu=0.5, rss_bytes=9, open_streams=1)],
        traces=[TraceRecord("0af7651916cd43dd8448eb211c80319c", (SPAN,))],
    )
    batch.record("ttft_ms", "fresh", 1, 1.5)
    batch.count_rates(1, "fresh", judged=True, run=True, good=True)
    return batch


def test_it_survives_the_message() -> None:
    sent = everything()
    received = StatsBatch.from_message(msgpack.loads(msgpack.dumps(sent.to_message())))
    parts = (
        "ledger",
        "failures",
        "violations",
        "violated_at",
        "warnings",
        "totals",
        "faults",
        "rate_counts",
        "open",
        "processes",
        "traces",
    )
    for part in parts:
        assert getattr(received, part) == getattr(sent, part), part
    assert (received.rows, received.examples) == (sent.rows, sent.examples)
    assert [(key, one.sum) for key, one in received.histograms.items()] == [(("ttft_ms", "fresh", 1), 1.5)]
    assert StatsBatch.from_message(StatsBatch().to_message()) == StatsBatch()


def test_an_empty_batch_is_false() -> None:
    assert not StatsBatch()
    assert not StatsBatch(open={"fresh": 3})
    assert StatsBatch(ledger=Counter({(1, "fresh", "scheduled"): 1}))
    assert StatsBatch(processes=everything().processes)


@pytest.mark.parametrize(
    ("words", "counted"),
    [
        ({}, {}),
        ({"run": True, "good": True}, {}),
        ({"judged": True}, {"judged"}),
        ({"judged": True, "run": True}, {"judged", "runs"}),
        ({"judged": True, "run": True, "good": True}, {"judged", "runs", "good"}),
        ({"judged": True, "good": True}, {"judged"}),
        ({"failed": True}, {"judged", "failed"}),
        ({"failed": True, "run": True, "good": True}, {"judged", "failed", "runs"}),
    ],
)
def test_which_counters_a_stream_adds_to(words: dict[str, bool], counted: set[str]) -> None:
    batch = StatsBatch()
    batch.count_rates(9, "fresh", **words)
    assert batch.rate_counts == {(9, "fresh", word): 1 for word in counted}


def test_it_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path) as writer:
        everything().write_to(writer, "w")
    with Results(path) as results:
        assert results.ledger() == Ledger({"scheduled": 3, "done": 2, "in flight": 1})
        assert results.rate_counts() == RateCounts(1, 0, 1, 1)
        assert (results.failures(), results.violation_counts()) == (1, {"ids.unique": 2})
        assert len(list(results.streams())) == len(results.violations()) == 1
        assert results.processes() == everything().processes
        assert results.histogram("ttft_ms").count == 1


def test_it_is_committed_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.results.writer.COMMIT_AT_ROWS", 1)
    path = tmp_path / "results.sqlite"
    commits = []
    writer = ResultsWriter(path)
    monkeypatch.setattr(writer, "commit", lambda: commits.append(len(writer._pending.processes)))
    everything().write_to(writer, "w")
    assert commits == [1]  # the last part is there when the first is committed
    monkeypatch.undo()
    writer.close()


def test_histograms_of_one_key_are_one() -> None:
    batch = StatsBatch()
    batch.record("ttft_ms", "fresh", 1, 1.0)
    batch.record("ttft_ms", "fresh", 1, 3.0)
    (histogram,) = batch.histograms.values()
    assert isinstance(histogram, Histogram)
    assert histogram.sum == 4.0
