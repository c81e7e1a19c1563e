from __future__ import annotations

from harness.reports.chart_style import TimeMarks
from harness.reports.server_charts import CHARTS, LINES, server_charts
from harness.results.records import ScrapeRecord


def rows(name: str, values: dict[int, float], kind: str = "gauge") -> dict[str, list[ScrapeRecord]]:
    return {
        name: [
            ScrapeRecord(second=second, series=name, kind=kind, value=value)
            for second, value in values.items()
        ]
    }


def test_a_gauge_is_drawn_as_it_is_on_the_axis_of_the_load() -> None:
    (chart,) = server_charts(rows("queue", {99: 9, 100: 1, 102: 3, 131: 9}), (100, 130), TimeMarks(5))
    assert chart.title == "queue"
    assert chart.columns == ("from second", "queue")
    assert chart.rows == (("0", "1"), ("2", "3"))
    assert 'aria-label="queue over time. queue: between 1 and 3."' in chart.svg
    assert [entry.label for entry in chart.legend] == ["queue", "warm-up, excluded from the metrics"]


def test_a_counter_is_drawn_per_second_also_after_a_restart() -> None:
    values = {100: 1000.0, 101: 1010.0, 103: 1050.0, 104: 4.0}
    (chart,) = server_charts(rows('runs_total{tool="echo"}', values, "counter"), (100, 110))
    assert chart.title == "runs_total, per second"
    assert chart.columns == ("from second", '{tool="echo"}')
    assert chart.rows == (("1", "10"), ("3", "20"), ("4", "4"))


def test_the_series_of_a_metric_are_in_one_chart_up_to_a_limit() -> None:
    series = {}
    for number in range(LINES + 3):
        series |= rows(f'queue{{n="{number}"}}', {100: number})
    (chart,) = server_charts(series, (100, 110))
    assert len(chart.columns) == 1 + LINES
    assert '{n="0"}' not in chart.columns
    assert f"The {LINES} of {LINES + 3} series with the largest values." in chart.caption


def test_what_has_no_chart_is_named() -> None:
    series = {}
    for number in range(CHARTS + 2):
        series |= rows(f"m{number}", {100: number})
    charts = list(server_charts(series, (100, 110)))
    assert len(charts) == CHARTS
    assert [("Without a chart: m8, m9." in chart.caption) for chart in charts] == [False] * 7 + [True]
    assert len({chart.svg for chart in charts}) == CHARTS


def test_nothing_is_drawn_of_a_counter_that_was_read_once_or_of_values_outside_the_load() -> None:
    assert not list(server_charts(rows("runs_total", {100: 1}, "counter"), (100, 110)))
    assert not list(server_charts(rows("queue", {90: 1}), (100, 110)))
    assert not list(server_charts({}, (100, 110)))


def test_a_server_cannot_write_into_the_page() -> None:
    (chart,) = server_charts(rows('queue{a="<script>x</script>\x1b[2J"}', {100: 1}), (100, 110))
    assert "<script>" not in chart.svg
    assert "\x1b" not in "".join(chart.columns)


def test_negative_values_and_zeros_have_an_axis() -> None:
    for value in (-5.0, 0.0, 1e200):
        (chart,) = server_charts(rows("queue", {100: value}), (100, 110))
        assert chart.svg
