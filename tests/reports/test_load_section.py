from pathlib import Path
from typing import Any

import pytest

from harness.gate.objective import parse_objectives
from harness.reports.exchange_index import ExchangeIndex, ExchangeLink
from harness.reports.exchange_view import SizeBudget
from harness.reports.load_section import (
    EXAMPLES_SHOWN,
    JOURNEY_COLUMNS,
    REASONS_SHOWN,
    WATERFALL,
    ViolationView,
    charts,
    journey_rows,
    ledger_view,
    metric_rows,
    rate_rows,
    utc_time,
    violation_rows,
    warmup_note,
)
from harness.results.histogram import Histogram
from harness.results.metrics import METRICS
from harness.results.reader import Results
from harness.results.records import StreamRecord
from harness.results.summary import summarize
from harness.results.writer import ResultsWriter

from .samples import START, document


def _histogram(*values: float) -> Histogram:
    histogram = Histogram()
    histogram.record_many(values)
    return histogram


def _violations(path: Path) -> tuple[ViolationView, ...]:
    with Results(path) as results:
        budget = SizeBudget()
        return tuple(violation_rows(results, ExchangeIndex(results, budget), budget))


def test_charts_are_drawn_if_they_have_data(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.add_histogram("ttft_ms", "fresh", START, "w0", _histogram(100.0))
        writer.add_ledger("w0", START, "fresh", "scheduled", 3)
        writer.add_ledger("w0", START + 1, "fresh", "done", 2)
        writer.add_failures("w0", START + 1, "fresh", 1)
    with Results(path) as results:
        percentiles, over_time, heat, traffic = charts(
            results, parse_objectives({"ttft_p95_ms": 800, "stall_max_ms": 9})
        )
    assert [row[0] for row in percentiles.rows] == ["Time to first token (TTFT)"]
    assert [entry.label for entry in percentiles.legend] == [
        "Time to first token (TTFT)",
        "limit ttft_p95_ms = 800 ms",
        "limit stall_max_ms = 9 ms",
    ]
    assert [entry.label for entry in over_time.legend if entry.ink == "limit"] == [
        "limit ttft_p95_ms = 800 ms"
    ]
    assert [entry.label for entry in heat.legend if entry.ink == "limit"] == [
        "limit ttft_p95_ms = 800 ms, outside the chart"
    ]
    assert traffic.rows == (("0", "3", "0", "3", "0"), ("1", "0", "2", "1", "1"))


def test_no_chart_without_data(path: Path) -> None:
    ResultsWriter(path).close()
    with Results(path) as results:
        assert list(charts(results, ())) == []


def test_metric_rows_show_what_the_summary_says(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.add_histogram("stall_ms", "fresh", START, "w0", _histogram(42.0))
    with Results(path) as results:
        rows = {row.label: row for row in metric_rows(summarize(results))}
    assert rows["Stall"].cells == ("42.0",) * 6
    assert rows["Stall"].formula == METRICS["stall_ms"].formula
    assert rows["Time to first token (TTFT)"].count == "0"
    assert set(rows["Time to first token (TTFT)"].cells) == {"\u2013"}


def test_each_journey_has_its_own_numbers(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.add_ledger("w0", START, "fresh", "scheduled", 1200)
        writer.add_ledger("w0", START, "resume", "scheduled", 3)
        writer.add_failures("w0", START, "resume", 2)
        writer.add_rate_counts("w0", START, "fresh", "runs", 4)
        writer.add_rate_counts("w0", START, "fresh", "good", 3)
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
    assert (rows["fresh"]["goodput"], rows["resume"]["goodput"]) == ("75%", "\u2013")
    assert rows["fresh"]["resume p95"] == "\u2013"
    assert (rows["resume"]["failed"], rows["resume"]["violations"], rows["resume"]["resume p95"]) == (
        "2",
        "5",
        "20.0",
    )


@pytest.mark.parametrize(
    ("done", "adds_up", "sentence"),
    [
        (10, True, "The ledger adds up: every scheduled stream is accounted for."),
        (9, False, "The ledger does not add up: 1 scheduled stream is unaccounted for."),
        (12, False, "The ledger does not add up: 2 streams ended without being scheduled."),
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
    assert [outcome for outcome, _ in ledger.terms][-3:] == ["in flight", "dropped", "lost"]
    assert ledger.notes == ()


def test_no_ledger_without_streams(path: Path) -> None:
    ResultsWriter(path).close()
    with Results(path) as results:
        assert ledger_view(results) is None


def _failed(writer: ResultsWriter, reason: str, times: int) -> None:
    writer.add_ledger("w0", START, "fresh", "scheduled", times)
    writer.add_ledger("w0", START, "fresh", "truncated", times)
    writer.add_failures("w0", START, "fresh", times)
    row = StreamRecord(
        journey="fresh", step="run", worker="w0", intended_ns=1, outcome="truncated", reason=reason
    )
    writer.add_streams([row] * times)


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
    assert ledger.reasons_note == "Not shown: 2 more failed streams, with 2 further reasons."


def test_unique_reasons_do_not_fill_the_page(path: Path) -> None:
    with ResultsWriter(path) as writer:
        for number in range(30):
            _failed(writer, f"unique {number}", 1)
    with Results(path) as results:
        ledger = ledger_view(results)
    assert ledger is not None
    assert len(ledger.reasons) == REASONS_SHOWN
    hidden = 30 - REASONS_SHOWN
    assert ledger.reasons_note == f"Not shown: {hidden} more failed streams, with {hidden} further reasons."


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
    assert [(violation.id, violation.count) for violation in (last, unique, unknown)] == [
        ("terminal.last", "7"),
        ("ids.unique", "2"),
        ("never.heard", "1"),
    ]
    assert [example.detail for example in last.examples] == [
        f"example {number}" for number in range(EXAMPLES_SHOWN)
    ]
    assert last.note == "The first 5 of 7 recorded examples; at most 20 are recorded per requirement."
    (exchange,) = last.examples[0].exchanges
    assert exchange.notes == ("event 2: after",)
    assert unique.note == "No example was recorded."
    assert unknown.requirement == "not in this version's catalogue"


@pytest.mark.parametrize(
    ("evidence", "exchanges", "links", "other"),
    [
        (None, 0, (), ""),
        (document(2), 1, (), ""),
        ([document(2), document(2)], 2, (), ""),
        ([{"exchange": document(2), "note": "n"}], 1, (), ""),
        ([{"exchange": "known"}], 0, (ExchangeLink("b", "exchange-1"),), ""),
        ([{"exchange": "unknown"}], 0, (), '{\n  "exchange": "unknown"\n}'),
        ({"ids": 1}, 0, (), '{\n  "ids": 1\n}'),
        ("words", 0, (), '"words"'),
    ],
)
def test_evidence_of_any_shape_is_shown(
    path: Path, evidence: Any, exchanges: int, links: tuple[ExchangeLink, ...], other: str
) -> None:
    with ResultsWriter(path) as writer:
        writer.add_exchange("known", "a", "b", document(1))
        writer.count_violation("ids.unique", "fresh", "w0")
        writer.add_violation("ids.unique", "fresh", START * 10**9, "twice", evidence)
    ((example,),) = (violation.examples for violation in _violations(path))
    assert (len(example.exchanges), example.links, example.other) == (exchanges, links, other)


def test_utc_times() -> None:
    assert utc_time(START * 10**9 + 5_000_000) == "2026-09-21 14:13:20.005 UTC"
    assert utc_time(2**62 * 10**6) == f"{2**62 * 10**6} ns"


def test_rates_show_their_counts(path: Path) -> None:
    with ResultsWriter(path) as writer:
        for counter, count in (("judged", 2000), ("failed", 3), ("runs", 1500), ("good", 1455)):
            writer.add_rate_counts("w0", START, "fresh", counter, count)
    with Results(path) as results:
        rows = list(rate_rows(summarize(results)))
        assert [(row.label, row.value, row.counts) for row in rows] == [
            ("Error rate", "0.15%", "3 of 2,000 streams"),
            ("Goodput", "97%", "1,455 of 1,500 streams that should complete a run"),
        ]


def test_a_rate_without_counts_has_no_row(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.add_rate_counts("w0", START, "fresh", "judged", 4)
    with Results(path) as results:
        assert [row.label for row in rate_rows(summarize(results))] == ["Error rate"]


def test_a_metric_in_a_different_unit_names_it(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.add_histogram("tokens_per_s", "fresh", START, "w0", _histogram(42.0))
    with Results(path) as results:
        labels = [row.label for row in metric_rows(summarize(results))]
    assert "Token rate, tokens/s" in labels
    assert "Run duration" in labels


def _warmed_up(path: Path) -> None:
    with ResultsWriter(path) as writer:
        for second, value in ((START, 900.0), (START + 1, 800.0), (START + 2, 100.0)):
            writer.add_histogram("ttft_ms", "fresh", second, "w0", _histogram(value))
            writer.add_ledger("w0", second, "fresh", "scheduled")
            writer.add_ledger("w0", second, "fresh", "done")
            writer.add_rate_counts("w0", second, "fresh", "judged")
        writer.add_rate_counts("w0", START, "fresh", "failed")
        writer.set_manifest(measured_from=START + 2, warmup_s=1.5)


def test_warm_up_has_a_note_and_is_shaded(path: Path) -> None:
    _warmed_up(path)
    with Results(path) as results:
        numbers = summarize(results)
        assert warmup_note(numbers) == (
            "Warm-up: the first 1.5 s, in which 2 streams were due and 1 failed. Warm-up streams appear in the ledger "
            "and in the shaded part of the charts, and their violations count. All other numbers exclude them. "
            "Their TTFT: p50 800 ms, p99 900 ms."
        )
        percentiles, over_time, _, traffic = charts(results, ())
        (row,) = journey_rows(results)
    assert percentiles.rows[0][:2] == ("Time to first token (TTFT)", "1")
    assert len(over_time.rows) == len(traffic.rows) == 3
    for chart in (over_time, traffic):
        assert chart.legend[-1].label == "warm-up, excluded from the metrics"
    assert row.cells[4] == "100.0"


def test_no_note_without_a_warm_up(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.add_ledger("w0", START, "fresh", "scheduled")
    with Results(path) as results:
        assert warmup_note(summarize(results)) == ""
        assert "warm-up" not in str(list(charts(results, ())))


def test_dropped_and_lost_streams_have_a_note_and_are_not_in_flight(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.add_ledger("w0", START, "fresh", "scheduled", 10)
        writer.add_ledger("w0", START, "fresh", "dropped", 4)
        writer.add_ledger("w0", START + 1, "fresh", "done", 3)
        writer.add_ledger("w0", START + 1, "fresh", "lost", 2)
        writer.add_ledger("w0", START + 2, "fresh", "in flight", 1)
    with Results(path) as results:
        ledger = ledger_view(results)
        (traffic,) = charts(results, ())
    assert ledger is not None
    assert ledger.adds_up
    dropped, lost = ledger.notes
    assert dropped.startswith("4 arrivals were dropped because the maximum number of streams was in flight")
    assert lost.startswith("2 streams were open in workers that died.")
    assert [row[3] for row in traffic.rows] == ["6", "1", "1"]


def test_reasons_of_a_sample_say_so(path: Path) -> None:
    row = StreamRecord(
        journey="fresh", step="run", worker="w0", intended_ns=1, outcome="truncated", reason="gone"
    )
    with ResultsWriter(path, keep_streams=4) as writer:
        writer.add_ledger("w0", START, "fresh", "truncated", 10)
        writer.add_failures("w0", START, "fresh", 10)
        writer.add_streams([row] * 10)
    with Results(path) as results:
        ledger = ledger_view(results)
    assert ledger is not None
    assert ledger.reasons == (("fresh, run: gone", "4"),)
    assert ledger.reasons_note == "Counted in a sample of 4 of 10 streams."


def test_the_slowest_runs_are_drawn(path: Path) -> None:
    with ResultsWriter(path, keep_streams=WATERFALL + 5) as writer:
        writer.add_ledger("w0", START, "fresh", "scheduled", 40)
        writer.add_streams(
            StreamRecord(
                journey="fresh",
                step="run",
                worker="w0",
                intended_ns=START * 10**9,
                outcome="done",
                duration_ms=n + 1.0,
            )
            for n in range(40)
        )
    with Results(path) as results:
        _, slowest = charts(results, ())
    assert slowest.title == f"The {WATERFALL} slowest runs"
    assert len(slowest.rows) == WATERFALL
    assert slowest.caption.startswith("The runs with the longest duration, from when they were due")
    assert "Taken from the 15 of 40 streams that the results file keeps" in slowest.caption


@pytest.mark.parametrize(
    ("settings", "linked"),
    [
        ({"report": {"trace_url": "https://t.example/{trace_id}"}}, True),
        ({"report": {"trace_url": "javascript:alert(1)//{trace_id}"}}, False),
        ({"report": {"trace_url": ["https://t.example/{trace_id}"]}}, False),
        ({"report": {}}, False),
        ({"report": "https://t.example/{trace_id}"}, False),
        ({}, False),
    ],
)
def test_traces_are_linked_only_by_an_address_that_the_settings_allow(
    path: Path, settings: dict[str, Any], linked: bool
) -> None:
    row = StreamRecord(
        journey="fresh",
        step="run",
        worker="w0",
        intended_ns=START * 10**9,
        outcome="done",
        duration_ms=1.0,
        trace_id="ab" * 16,
    )
    with ResultsWriter(path) as writer:
        writer.set_manifest(settings=settings)
        writer.add_ledger("w0", START, "fresh", "scheduled")
        writer.add_streams([row])
    with Results(path) as results:
        *_, slowest = charts(results, ())
    address = f"https://t.example/{row.trace_id}"
    assert slowest.rows[0][-1] == (
        f'<a href="{address}" rel="noreferrer">{row.trace_id}</a>' if linked else row.trace_id
    )


def test_the_report_says_who_ended_abandoned_streams(path: Path) -> None:
    with ResultsWriter(path) as writer:
        for outcome, streams in (("scheduled", 63), ("abandoned", 63)):
            writer.add_ledger("w0", START, "resume", outcome, streams)
    with Results(path) as results:
        ledger = ledger_view(results)
    assert ledger is not None
    assert ledger.notes[0].startswith(
        "The harness ended 63 streams (they are abandoned): a journey such as resume"
    )
