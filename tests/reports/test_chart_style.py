"""What charts over time mark in addition to their values."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.reports.chart_style import NO_MARKS, Chart, TimeMarks, log_scale
from harness.reports.load_section import charts
from harness.results.histogram import Histogram
from harness.results.reader import Results
from harness.results.records import ScrapeRecord
from harness.results.restart_cost import RestartCost
from harness.results.writer import ResultsWriter

from .samples import START

RESTART_NS = START * 10**9 + 1_500_000_000
COST = RestartCost(at_ns=RESTART_NS, how="command")


def drawn(path: Path, restart: RestartCost | None) -> list[Chart]:
    """The charts of a load of three seconds."""
    histogram = Histogram()
    histogram.record_many([100.0, 120.0])
    with ResultsWriter(path) as writer:
        for second in range(START, START + 3):
            for metric in ("ttft_ms", "inter_token_ms"):
                writer.add_histogram(metric, "fresh", second, "w0", histogram)
            writer.add_ledger("w0", second, "fresh", "scheduled")
            writer.add_scrapes([ScrapeRecord(series="queue", kind="gauge", second=second, value=1.0)])
        if restart is not None:
            writer.set_manifest(restart=restart.document())
    with Results(path) as results:
        return list(charts(results, ()))


def upright_lines(chart: Chart) -> int:
    """Dashed lines from the top to the bottom of the picture."""
    return len(re.findall(r'<path d="M (\S+) \S+ L \1 [^"]*"[^>]*stroke-dasharray', chart.svg))


def test_a_restart_is_a_line_in_each_chart_over_time(path: Path) -> None:
    curve, *over_time = drawn(path, COST)
    assert len(over_time) == 5, "TTFT, a metric of the server, two heat maps, traffic"
    for chart in over_time:
        assert (chart.legend[-1].shape, chart.legend[-1].label) == (
            "upright",
            "restart of the server, at 1.5 s",
        )
        assert "A vertical line marks a restart of the server, at 1.5 s." in chart.svg
        assert upright_lines(chart) == 1, chart.title
    assert "restart" not in str(curve)


def test_without_a_restart_there_is_no_line(path: Path) -> None:
    for chart in drawn(path, None):
        assert "restart" not in str(chart)
        assert upright_lines(chart) == 0, chart.title


@pytest.mark.parametrize(
    ("restart", "text"),
    [
        (None, ""),
        (RestartCost(at_ns=RESTART_NS - 10**11, how="suite"), ""),
        (RestartCost(at_ns=RESTART_NS + 10**11, how="suite"), ""),
        (RestartCost(at_ns=START * 10**9, how="hand"), "restart of the server, at 0 µs"),
        (
            RestartCost(at_ns=RESTART_NS, how="command", problem="failed"),
            "failed restart of the server, at 1.5 s",
        ),
    ],
)
def test_marks_of_a_restart(restart: RestartCost | None, text: str) -> None:
    marks = TimeMarks.of((START, START + 9), START + 3, restart)
    assert marks.restart_text == text
    assert marks.warmup_s == 3
    assert [entry.label for entry in marks.legend] == [
        "warm-up, excluded from the metrics",
        *([text] if text else []),
    ]


def test_nothing_is_marked_without_a_warm_up_and_a_restart() -> None:
    assert TimeMarks.of((START, START + 9), None, None) == NO_MARKS
    assert (NO_MARKS.legend, NO_MARKS.alternative) == ([], "")


def test_an_axis_of_zeros_alone_warns_of_nothing() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    axes.plot([0, 1], [0, 0])
    log_scale(axes, [0.0, 0.0])
    assert axes.get_yscale() == "log"
    assert 0 < axes.get_ylim()[0] < 1 < axes.get_ylim()[1]
