from pathlib import Path
from typing import Any

import pytest

from harness.gate.objectives import parse_objectives
from harness.reports.evidence import Budget
from harness.reports.matrix import Shelf
from harness.reports.measured import (
    EXAMPLES_SHOWN,
    JOURNEY_COLUMNS,
    REASONS_SHOWN,
    ViolationView,
    charts,
    journey_rows,
    lag_view,
    ledger_view,
    metric_rows,
    moment,
    violation_rows,
)
from harness.results.histogram import Histogram
from harness.results.metrics import METRICS, summary
from harness.results.store import Results, ResultsWriter, RunRow

from .samples import START, document


def _histogram(*values: float) -> Histogram:
    histogram = Histogram()
    histogram.record_many(values)
    return histogram


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.sqlite"


def _violations(path: Path) -> tuple[ViolationView, ...]:
    with Results(path) as results:
        budget = Budget()
        return tuple(violation_rows(results, Shelf(results, budget), budget))


def test_charts_are_drawn_of_what_there_is(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.add_histogram("ttft_ms", "fresh", START, "w0", _histogram(100.0))
        writer.add_ledger("w0", START, "fresh", "scheduled", 3)
        writer.add_ledger("w0", START + 1, "fresh", "done", 2)
        writer.add_failures("w0", START + 1, "fresh", 1)
    with Results(path) as results:
        percentiles, over_time, traffic = charts(
            results, parse_objectives({"ttft_p95_ms": 800, "stall_max_ms": 9})
        )
    assert [row[0] for row in percentiles.rows] == ["Time to first token (TTFT)"]
    assert [key.label for key in over_time.keys] == ["median", "p95", "longest", "limit ttft_p95_ms = 800 ms"]
    assert traffic.rows == (("0", "3", "0", "3", "0"), ("1", "0", "2", "1", "1"))


def test_no_chart_without_numbers(path: Path) -> None:
    ResultsWriter(path).close()
    with Results(path) as results:
        assert list(charts(results, ())) == []


def test_metric_rows_show_what_the_summary_says(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.add_histogram("stall_ms", "fresh", START, "w0", _histogram(42.0))
    with Results(path) as results:
        rows = {row.label: row for row in metric_rows(summary(results))}
    assert rows["Stall"].cells == ("42.0",) * 6
    assert rows["Stall"].formula == METRICS["stall_ms"].formula
    assert rows["Time to first token (TTFT)"].count == "0"
    assert set(rows["Time to first token (TTFT)"].cells) == {"\u2013"}


def test_each_journey_has_its_own_numbers(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.add_ledger("w0", START, "fresh", "scheduled", 1200)
        writer.add_ledger("w0", START, "resume", "scheduled", 3)
        writer.add_failures("w0", START, "resume", 2)
        writer.count_violation("ids.unique", "resume", "w0", 5)
        writer.add_histogram("ttft_ms", "fresh", START, "w0", _histogram(10.0))
        writer.add_histogram("resume_ms", "resume", START, "w0", _histogram(20.0))
    with Results(path) as results:
        rows = {
            row.name: dict(zip((head for head, _ in JOURNEY_COLUMNS), row.cells, strict=True))
            for row in journey_rows(results)
        }
    assert list(rows) == ["fresh", "resume"]
    assert rows["fresh"]["streams"] == "1,200"
    assert rows["fresh"]["TTFT p99"] == "10.0"
    assert rows["fresh"]["resume p95"] == "\u2013"
    assert (rows["resume"]["failed"], rows["resume"]["violations"], rows["resume"]["resume p95"]) == (
        "2",
        "5",
        "20.0",
    )


@pytest.mark.parametrize(
    ("done", "adds_up", "sentence"),
    [
        (10, True, "It adds up: every stream that was scheduled is accounted for."),
        (9, False, "It does not add up: of 1 scheduled stream nothing is known."),
        (12, False, "It does not add up: 2 streams ended that nobody had scheduled."),
    ],
)
def test_the_ledger_says_whether_it_adds_up(path: Path, done: int, adds_up: bool, sentence: str) -> None:
    with ResultsWriter(path) as writer:
        writer.add_ledger("w0", START, "fresh", "scheduled", 10)
        writer.add_ledger("w0", START, "fresh", "done", done)
    with Results(path) as results:
        ledger = ledger_view(results)
    assert ledger is not None
    assert (ledger.adds_up, ledger.sentence) == (adds_up, sentence)
    assert ledger.terms[0] == ("done", done)
    assert [word for word, _ in ledger.terms][-1] == "in flight"


def test_no_ledger_without_streams(path: Path) -> None:
    ResultsWriter(path).close()
    with Results(path) as results:
        assert ledger_view(results) is None


def _failed(writer: ResultsWriter, reason: str, times: int) -> None:
    writer.add_ledger("w0", START, "fresh", "scheduled", times)
    writer.add_ledger("w0", START, "fresh", "truncated", times)
    writer.add_failures("w0", START, "fresh", times)
    row = RunRow(journey="fresh", step="run", worker="w0", intended_ns=1, outcome="truncated", reason=reason)
    writer.add_runs([row] * times)


def test_reasons_of_failure_are_counted_the_most_frequent_first(path: Path) -> None:
    with ResultsWriter(path) as writer:
        _failed(writer, "reset", 2)
        _failed(writer, "\x00truncated", 3)
        for number in range(REASONS_SHOWN):
            _failed(writer, f"rare {number}", 1)
    with Results(path) as results:
        ledger = ledger_view(results)
    assert ledger is not None
    assert ledger.failed == 5 + REASONS_SHOWN
    assert ledger.reasons[:2] == (("fresh, run: \\x00truncated", "3"), ("fresh, run: reset", "2"))
    assert len(ledger.reasons) == REASONS_SHOWN
    assert ledger.reasons_note == "2 more failed streams not shown here, for 2 further reasons."


def test_a_server_that_makes_each_reason_unique_fills_no_memory(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.reports.measured.REASONS_KEPT", 20)
    with ResultsWriter(path) as writer:
        for number in range(30):
            _failed(writer, f"unique {number}", 1)
    with Results(path) as results:
        ledger = ledger_view(results)
    assert ledger is not None
    assert (
        ledger.reasons_note
        == f"{30 - REASONS_SHOWN} more failed streams not shown here, for many further reasons."
    )


def test_violations_come_with_their_first_examples(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.count_violation("ids.unique", "fresh", "w0", 2)
        writer.count_violation("terminal.last", "fresh", "w0", 7)
        writer.count_violation("never.heard", "fresh", "w0", 1)
        for number in range(EXAMPLES_SHOWN + 2):
            writer.add_violation(
                "terminal.last", "fresh", START * 10**9, f"example {number}", [document(3, note="after")]
            )
    last, unique, unknown = _violations(path)
    assert [(one.id, one.count) for one in (last, unique, unknown)] == [
        ("terminal.last", "7"),
        ("ids.unique", "2"),
        ("never.heard", "1"),
    ]
    assert [example.detail for example in last.examples] == [
        f"example {number}" for number in range(EXAMPLES_SHOWN)
    ]
    assert last.note == "The first 5 examples; the results file keeps 7, and at most 20."
    (exchange,) = last.examples[0].exchanges
    assert exchange.notes == ("event 2: after",)
    assert unique.note == "No example was kept."
    assert unknown.requirement == "not in this version's catalogue"


@pytest.mark.parametrize(
    ("evidence", "exchanges", "links", "other"),
    [
        (None, 0, (), ""),
        (document(2), 1, (), ""),
        ([document(2), document(2)], 2, (), ""),
        ([{"exchange": document(2), "note": "n"}], 1, (), ""),
        ([{"exchange": "known"}], 0, (("exchange-1", "b"),), ""),
        ([{"exchange": "unknown"}], 0, (), '{\n  "exchange": "unknown"\n}'),
        ({"ids": 1}, 0, (), '{\n  "ids": 1\n}'),
        ("words", 0, (), '"words"'),
    ],
)
def test_evidence_of_any_shape_is_shown(
    path: Path, evidence: Any, exchanges: int, links: tuple[tuple[str, str], ...], other: str
) -> None:
    with ResultsWriter(path) as writer:
        writer.add_exchange("known", "a", "b", document(1))
        writer.count_violation("ids.unique", "fresh", "w0")
        writer.add_violation("ids.unique", "fresh", START * 10**9, "twice", evidence)
    ((example,),) = (violation.examples for violation in _violations(path))
    assert (len(example.exchanges), example.links, example.other) == (exchanges, links, other)


def test_moments() -> None:
    assert moment(START * 10**9 + 5_000_000) == "2026-09-21 14:13:20.005 UTC"
    assert moment(2**62 * 10**6) == f"{2**62 * 10**6} ns"


def _lag(path: Path, lag_ms: float | None, **manifest: Any) -> Any:
    with ResultsWriter(path) as writer:
        writer.set_manifest(**manifest)
        if lag_ms is not None:
            writer.add_histogram("receive_lag_ms", "fresh", START, "w0", _histogram(lag_ms))
    with Results(path) as results:
        return lag_view(results, summary(results))


def test_a_harness_that_kept_up(path: Path) -> None:
    lag = _lag(path, 0.5, receive_stamp="kernel", tokens=1000, coalesced_tokens=12)
    assert (lag.saturated, lag.measured) == (False, True)
    assert lag.sentence == "The harness kept up: the p99 of each lag of its own is within 10 ms."
    assert lag.stamps.startswith("Arrivals are the kernel's receive stamps")
    assert lag.coalesced.startswith("12 of 1,000 tokens came in one read with the token before")
    assert lag.rows == (("Receive lag", METRICS["receive_lag_ms"].formula, "1", *["0.500"] * 6),)


def test_a_saturated_harness_says_so(path: Path) -> None:
    lag = _lag(path, 10.5, receive_stamp="user")
    assert lag.saturated
    assert lag.sentence.startswith("The harness was saturated: the p99 of a lag of its own is over 10 ms")
    assert "harness's own clock" in lag.stamps
    assert lag.coalesced == ""


def test_a_lag_that_nobody_measured(path: Path) -> None:
    lag = _lag(path, None)
    assert (lag.saturated, lag.measured, lag.rows) == (False, False, ())
    assert lag.sentence == "The harness's own lag was not measured in this run."
