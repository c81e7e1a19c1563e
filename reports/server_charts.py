"""The server's own metrics over time, on the axis of the other charts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import fmean

from harness.reports.chart_style import (
    DASHES,
    LABEL_PT,
    NO_MARKS,
    Chart,
    LegendEntry,
    TimeMarks,
    bin_width_s,
    interval_name,
    new_figure,
    time_axis,
)
from harness.results.records import ScrapeRecord

from .charts import style_of
from .svg import INKS, inline_svg
from .text import bounded, visible

CHARTS = 8
LINES = 6
"""Series of one metric in its chart; those with the largest values."""
_LABEL = 120
_NAME = 80
_HEIGHT_IN = 2.6

_BySecond = Mapping[int, float]


def server_charts(
    series: Mapping[str, Sequence[ScrapeRecord]], span: tuple[int, int], marks: TimeMarks = NO_MARKS
) -> Iterator[Chart]:
    """A chart for each metric. series: values by second. span, marks: as for the chart of the TTFT."""
    width = bin_width_s(*span)
    metrics: dict[str, dict[str, _BySecond]] = {}
    counters = set()
    for name, rows in series.items():
        metric, brace, labels = name.partition("{")
        counts = rows[0].kind == "counter"
        values = _binned(_rates(rows) if counts else {row.second: row.value for row in rows}, span, width)
        if values:
            metrics.setdefault(metric, {})[f"{brace}{labels}"] = values
            counters |= {metric} if counts else set()
    for number, metric in enumerate(sorted(metrics)[:CHARTS], 1):
        left_out = sorted(metrics)[CHARTS:] if number == min(CHARTS, len(metrics)) else []
        yield _chart(metric, metrics[metric], span, marks, number, left_out, counts=metric in counters)


def _rates(rows: Sequence[ScrapeRecord]) -> dict[int, float]:
    """The growth of a counter per second. After a restart of the server it grew from 0."""
    return {
        after.second: (after.value - before.value if after.value >= before.value else after.value)
        / (after.second - before.second)
        for before, after in pairwise(rows)
    }


def _binned(values: _BySecond, span: tuple[int, int], width: int) -> dict[int, float]:
    """The mean of each bin, by seconds after the start of the span, ascending, without what lies outside of it."""
    bins: dict[int, list[float]] = {}
    for second, value in sorted(values.items()):
        if span[0] <= second <= span[1]:
            bins.setdefault((second - span[0]) // width * width, []).append(value)
    return {place: fmean(found) for place, found in bins.items()}


def _chart(
    metric: str,
    lines: Mapping[str, _BySecond],
    span: tuple[int, int],
    marks: TimeMarks,
    number: int,
    left_out: Sequence[str],
    *,
    counts: bool,
) -> Chart:
    from matplotlib.ticker import MaxNLocator

    width = bin_width_s(*span)
    largest = sorted(lines, key=lambda labels: (-max(lines[labels].values()), labels))
    shown = sorted(largest[:LINES])
    name = bounded(visible(metric), _NAME)
    title = f"{name}, per second" if counts else name
    figure, axes = new_figure(height_in=_HEIGHT_IN)
    marks.draw(axes)
    for place, labels in enumerate(shown):
        ink, shape = style_of(place)
        values = lines[labels]
        axes.plot(
            [second + width / 2 for second in values], list(values.values()), color=INKS[ink],
            linestyle=DASHES[shape], linewidth=1.8, marker="o" if len(values) <= 40 else "", markersize=3.5,
        )  # fmt: skip
    low = min(0.0, *(min(lines[labels].values()) for labels in shown))
    high = max(max(lines[labels].values()) for labels in shown)
    axes.set_ylim(low * 1.1, high * 1.15 if high > 0 else 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(axis="y", labelsize=LABEL_PT)
    time_axis(axes, span, width)
    names = [bounded(visible(labels), _LABEL) or name for labels in shown]
    caption = (
        f"The server's own metric, read every second; per {interval_name(width)}, from the start of the load."
    )
    if len(lines) > len(shown):
        caption += f" The {len(shown)} of {len(lines)} series with the largest values."
    if left_out:
        further = ", ".join(bounded(visible(one), _NAME) for one in left_out[:LINES])
        caption += f" Without a chart: {further}{' and others' if len(left_out) > LINES else ''}."
    alternative = "; ".join(
        f"{label}: between {min(lines[labels].values()):.4g} and {max(lines[labels].values()):.4g}"
        for label, labels in zip(names, shown, strict=True)
    )
    return Chart(
        title,
        caption,
        inline_svg(figure, f"server-{number}", f"{title} over time. {alternative}.{marks.alternative}"),
        (
            *(LegendEntry(*style_of(place), label) for place, label in enumerate(names)),
            *marks.legend,
        ),
        ("from second", *names),
        tuple(
            (f"{second}", *(_number(lines[labels].get(second)) for labels in shown))
            for second in sorted({second for labels in shown for second in lines[labels]})
        ),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.6g}"
