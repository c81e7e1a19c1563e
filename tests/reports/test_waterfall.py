import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from markupsafe import Markup

from harness.reports.waterfall import StreamPhase, phases, waterfall
from harness.results.reader import Results
from harness.results.records import StreamRecord
from harness.results.writer import ResultsWriter

DUE_NS = 1_000 * 10**9
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def _row(**values: Any) -> StreamRecord:
    return StreamRecord(
        **{
            "journey": "fresh",
            "step": "run",
            "worker": "w0",
            "intended_ns": DUE_NS,
            "outcome": "done",
            **values,
        }
    )


FULL = _row(
    sent_ns=DUE_NS + 5_000_000,
    connect_ms=2.0,
    head_ms=20.0,
    first_event_ms=26.0,
    ttft_ms=40.0,
    stall_ms=30.0,
    duration_ms=100.0,
    tokens=7,
    run_id="run-1",
    trace_id=TRACE_ID,
)


def test_each_phase_begins_where_the_previous_one_ended() -> None:
    assert phases(FULL) == (
        StreamPhase("waiting", 0.0, 3.0),
        StreamPhase("connect", 3.0, 5.0),
        StreamPhase("head", 5.0, 25.0),
        StreamPhase("event", 25.0, 26.0),
        StreamPhase("token", 26.0, 40.0),
        StreamPhase("stream", 40.0, 100.0),
    )


def test_a_stream_with_a_harness_fault_did_not_fail() -> None:
    rows = [_row(duration_ms=9.0, reason=reason) for reason in ("harness fault on X", "gone", None)]
    chart = waterfall(rows, 1_000, "worst")
    assert [cells[-3] for cells in chart.rows] == ["done, not judged", "done, failed", "done"]


def test_a_phase_that_was_not_measured_is_merged_into_the_next() -> None:
    assert phases(_row(ttft_ms=40.0, duration_ms=100.0)) == (
        StreamPhase("token", 0.0, 40.0),
        StreamPhase("stream", 40.0, 100.0),
    )
    # A reused connection has no connect phase.
    assert [phase.name for phase in phases(_row(sent_ns=DUE_NS + 10**6, head_ms=3.0, duration_ms=9.0))] == [
        "waiting",
        "head",
        "stream",
    ]


def test_a_phase_never_has_a_negative_length() -> None:
    row = _row(sent_ns=DUE_NS - 10**6, connect_ms=0.5, head_ms=50.0, first_event_ms=48.0, duration_ms=60.0)
    assert phases(row) == (StreamPhase("head", 0.0, 49.0), StreamPhase("stream", 49.0, 60.0))


def test_any_journey_can_be_drawn() -> None:
    """Names may have characters that SVG cannot contain, that the font cannot draw, or that mean mathematics."""
    shown = {
        "a\x00b": r"a\x00b",
        "a\x1bb\n": r"a\x1bb\n",
        "a\ud800b": r"a\ud800b",
        "a\ufffe\u2028": r"a\ufffe\u2028",
        "\xe9\u8a9e": r"\xe9\u8a9e",
        "$x^$ $y$": "$x^$ $y$",
    }
    svg = waterfall([replace(FULL, journey=journey) for journey in shown], 1_000, "worst").svg
    labels = [element.text or "" for element in ET.fromstring(str(svg)).iter("text")]
    for place, text in enumerate(shown.values(), start=1):
        assert f"{text}  {place}" in labels, text


def test_the_chart_has_a_table_of_its_values() -> None:
    failed = _row(
        journey="a journey with a long name",
        duration_ms=80.0,
        outcome="error",
        reason="ended with error",
        run_id="x" * 80,
        intended_ns=DUE_NS + 1_500_000_000,
    )
    chart = waterfall([FULL, failed], 1_000, "worst")
    assert chart.title == "The 2 slowest runs"
    assert dict(zip(chart.columns, chart.rows[0], strict=True)) == {
        "run": "1",
        "journey": "fresh, run",
        "due, since start": "0 µs",
        "connect": "2 ms",
        "response head": "20 ms",
        "first event": "26 ms",
        "first token": "40 ms",
        "largest gap": "30 ms",
        "end": "100 ms",
        "tokens": "7",
        "violations": "0",
        "outcome": "done",
        "run id": "run-1",
        "trace id": TRACE_ID,
    }
    second = dict(zip(chart.columns, chart.rows[1], strict=True))
    assert (second["due, since start"], second["connect"], second["outcome"]) == (
        "1.5 s",
        "\u2013",
        "error, failed",
    )
    assert second["run id"] == f"{'x' * 60}\u2026 (20 more characters omitted)"
    assert re.findall(r"<text[^>]*>([^<]*  \d)</text>", chart.svg) == ["fresh  1", "a journey with a  2"]
    assert chart.legend[-1].label == "length of the largest gap between tokens"


def test_trace_ids_link_to_their_traces() -> None:
    rows = [FULL, _row(duration_ms=80.0)]
    linked, without = (
        cells[-1] for cells in waterfall(rows, 1_000, "worst", "https://t/{trace_id}?a=1&b='").rows
    )
    assert linked == f'<a href="https://t/{TRACE_ID}?a=1&amp;b=&#39;" rel="noreferrer">{TRACE_ID}</a>'
    assert isinstance(linked, Markup)
    assert without == "\N{EN DASH}"
    assert not isinstance(waterfall(rows, 1_000, "worst").rows[0][-1], Markup)


def test_only_what_is_drawn_is_in_the_legend() -> None:
    chart = waterfall([_row(ttft_ms=40.0, duration_ms=100.0)], 1_000, "worst")
    assert [entry.label for entry in chart.legend] == [
        "waiting for the first token",
        "first token to terminal event",
    ]


def test_the_slowest_runs_ended_after_the_warm_up(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path / "r.sqlite") as writer:
        writer.set_manifest(measured_from=1_010)
        for second, duration_ms in ((1_000, 900.0), (1_010, 5.0), (1_011, None), (1_012, 70.0), (1_013, 8.0)):
            writer.add_streams([_row(intended_ns=second * 10**9, duration_ms=duration_ms)])
    with Results(tmp_path / "r.sqlite") as results:
        assert [row.duration_ms for row in results.longest_streams(2)] == [70.0, 8.0]
        assert len(results.longest_streams(10)) == 3
