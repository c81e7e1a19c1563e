import re

import pytest

from harness.reports.chart_style import POINTS, LegendEntry, LimitLine, bin_width_s
from harness.reports.charts import (
    TrafficSecond,
    over_time,
    percentile_curve,
    percentiles_over_time,
    style_of,
    traffic,
)
from harness.results.histogram import Histogram


def _histogram(*values: float) -> Histogram:
    histogram = Histogram()
    histogram.record_many(values)
    return histogram


@pytest.mark.parametrize(
    ("span", "width"),
    [((0, 0), 1), ((100, 100 + POINTS - 1), 1), ((100, 100 + POINTS), 2), ((0, 3599), 30), ((0, 86399), 600)],
)
def test_bins_grow_with_the_span(span: tuple[int, int], width: int) -> None:
    assert bin_width_s(*span) == width


def test_a_span_of_years_still_has_a_bounded_number_of_bins() -> None:
    span = (0, 2_000_000_000)
    assert (span[1] + 1) / bin_width_s(*span) <= POINTS
    chart = traffic({0: TrafficSecond(1, 0, 0, 1), 2_000_000_000: TrafficSecond(0, 1, 0, 0)}, span)
    assert len(chart.rows) <= POINTS + 1


def test_the_percentile_chart_has_a_table_of_its_values() -> None:
    chart = percentile_curve([("TTFT", _histogram(*range(1, 101))), ("ITL", _histogram(5.0))])
    assert chart.columns == ("metric", "count", "50%", "90%", "99%", "max")
    assert chart.rows == (
        ("TTFT", "100", "50 ms", "90.1 ms", "98.9 ms", "100 ms"),
        ("ITL", "1", "5 ms", "5 ms", "5 ms", "5 ms"),
    )
    assert [entry.label for entry in chart.legend] == ["TTFT", "ITL"]
    assert "TTFT: median 50 ms, p99 98.9 ms, maximum 100 ms" in chart.svg


def test_the_percentile_axis_ends_where_the_data_does() -> None:
    chart = percentile_curve([("TTFT", _histogram(*range(1, 1001)))])
    labels = re.findall(r"<text[^>]*>([^<]*)%</text>", chart.svg)
    assert labels == ["0", "50", "90", "99", "99.9"]


def test_a_chart_over_time_merges_seconds_into_bins() -> None:
    by_second = {1000 + second: _histogram(10.0 + second) for second in range(320)}
    chart = over_time("TTFT", by_second, (1000, 1319), [LimitLine("ttft_p95_ms", 95, 800.0)])
    assert len(chart.rows) == 160
    assert chart.rows[1] == ("2", "2", "12 ms", "12 ms", "12 ms", "13 ms", "13 ms", "13 ms", "13 ms")
    assert "per 2 s interval" in chart.caption
    assert LegendEntry("limit", "dotted", "limit ttft_p95_ms = 800 ms") in chart.legend


def test_seconds_without_a_value_leave_no_row() -> None:
    chart = over_time("TTFT", {1003: _histogram(7.0)}, (1000, 1009), [])
    assert chart.rows == (("3", "1", *["7 ms"] * 7),)


def test_traffic_counts_and_marks_failures() -> None:
    seconds = {50: TrafficSecond(4, 1, 0, 3), 52: TrafficSecond(2, 5, 1, 0)}
    chart = traffic(seconds, (50, 53))
    assert chart.rows == (
        ("0", "4", "1", "3", "0"),
        ("1", "0", "0", "3", "0"),
        ("2", "2", "5", "0", "1"),
        ("3", "0", "0", "0", "0"),
    )
    assert chart.legend[-1] == LegendEntry("bad", "cross", "second with a failed stream")
    assert chart.svg.count("stroke-bad") >= 1
    assert "At most 4 arrivals per second and 3 streams in flight; 1 stream failed." in chart.svg


def test_traffic_without_failures_has_no_mark() -> None:
    chart = traffic({50: TrafficSecond(1, 1, 0, 0)}, (50, 50))
    assert "stroke-bad" not in chart.svg
    assert "cross" not in {entry.shape for entry in chart.legend}


def test_values_of_one_size_still_get_a_labelled_axis() -> None:
    for value in (0.07, 6.9, 105.0, 7_777.0, 4_000_000.0):
        chart = percentile_curve([("one", _histogram(value))])
        labels = re.findall(r"<text[^>]*>([\d.]+ (?:µs|ms|s|min|h)[^<]*)</text>", chart.svg)
        assert labels, value


def test_a_limit_ends_at_its_percentile_and_is_in_the_legend() -> None:
    limits = [LimitLine("ttft_p95_ms", 95, 800.0), LimitLine("ttft_max_ms", 100, 900.0)]
    chart = percentile_curve([("TTFT", _histogram(*range(1, 1001)))], limits)
    assert [entry.label for entry in chart.legend] == [
        "TTFT",
        "limit ttft_p95_ms = 800 ms",
        "limit ttft_max_ms = 900 ms",
    ]
    assert re.findall(r"<text[^>]*>(ttft_[^<]*)</text>", chart.svg) == ["ttft_p95_ms", "ttft_max_ms"]
    assert "A dotted line is an objective" in chart.caption
    assert "dotted" not in percentile_curve([("TTFT", _histogram(1.0))]).caption


def test_sixteen_series_can_be_told_apart() -> None:
    assert len({style_of(place) for place in range(16)}) == 16
    assert [style_of(place) for place in range(5)] == [
        ("first", "solid"),
        ("second", "dashed"),
        ("third", "dotted"),
        ("fourth", "dashdot"),
        ("first", "dashed"),
    ]


def test_one_percentile_of_several_tests_over_time() -> None:
    before = {second: _histogram(10.0 + second) for second in range(3)}
    after = {0: _histogram(5.0, 50.0), 2: _histogram(7.0)}
    chart = percentiles_over_time("TTFT", 95, [("before", before), ("after", after)], name="t")
    assert chart.title == "TTFT, p95 over time"
    assert chart.columns == ("from second", "before", "after")
    assert chart.rows == (("0", "10 ms", "50 ms"), ("1", "11 ms", "\u2013"), ("2", "12 ms", "7 ms"))
    assert [(entry.ink, entry.label) for entry in chart.legend] == [("first", "before"), ("second", "after")]
    assert "before: between 10 ms and 12 ms; after: between 7 ms and 50 ms." in chart.svg
