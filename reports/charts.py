"""Line charts of percentiles and of traffic, drawn with matplotlib without its global state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.reports.chart_style import (
    DASHES,
    LABEL_PT,
    NO_MARKS,
    POINTS,
    SERIES,
    SHAPES,
    Chart,
    LegendEntry,
    LimitLine,
    TimeMarks,
    bin_width_s,
    binned,
    drawn_text,
    interval_name,
    limit_lines,
    log_scale,
    new_figure,
    remove_frame,
    time_axis,
)
from harness.results.histogram import Histogram

from .svg import INKS, inline_svg
from .text import counted, duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NINES = (
    (0, "0%"),
    (50, "50%"),
    (90, "90%"),
    (99, "99%"),
    (99.9, "99.9%"),
    (99.99, "99.99%"),
    (99.999, "99.999%"),
)

_CURVE_CAPTION = "Each curve shows the share of values at or below a latency. A dot marks the maximum."
_LIMIT_CAPTION = (
    " A dotted line is an objective and ends at the percentile that it limits: the objective is met if the curve is "
    "below the line's end."
)


def style_of(place: int) -> tuple[str, str]:
    """Ink and shape of the series at that place; the first sixteen differ."""
    return SERIES[place % len(SERIES)], SHAPES[(place + place // len(SERIES)) % len(SHAPES)]


def percentile_curve(
    series: Sequence[tuple[str, Histogram]],
    limits: Sequence[LimitLine] = (),
    *,
    title: str = "Percentiles",
    name: str = "percentiles",
    column: str = "metric",
) -> Chart:
    """Latency by percentile, in the style of HdrHistogram: each further nine takes the same width.

    series: labels and histograms, none of them empty. limits: drawn up to the percentile that each limits.
    name: prefix that makes its ids unique in the page. column: head of the labels in the table.
    """
    figure, axes = new_figure(labelled=True)
    largest_count = max(10.0, *(float(histogram.count) for _, histogram in series))
    right = math.log10(largest_count) * 1.01
    for number, (_, histogram) in enumerate(series):
        _curve(axes, histogram, *style_of(number))
    for limit in limits:
        _limit_mark(axes, limit, right)
    axes.set_xlim(0, right)
    ticks = [(place, text) for place, text in ((_place(p), text) for p, text in _NINES) if place <= right]
    axes.set_xticks([place for place, _ in ticks], [text for _, text in ticks])
    extremes = [
        value for _, histogram in series for value in (histogram.min, histogram.max) if value is not None
    ]
    log_scale(axes, [*extremes, *(limit.limit_ms for limit in limits)])
    axes.set_xlabel("share of values at or below the latency", fontsize=LABEL_PT)
    alternative = "; ".join(
        f"{label}: median {duration(histogram.percentile(50))}, p99 {duration(histogram.percentile(99))}, "
        f"maximum {duration(histogram.max)}"
        for label, histogram in series
    )
    return Chart(
        title,
        _CURVE_CAPTION + (_LIMIT_CAPTION if limits else ""),
        inline_svg(figure, name, f"{title} as curves. {alternative}."),
        (
            *(LegendEntry(*style_of(number), label) for number, (label, _) in enumerate(series)),
            *(limit.legend_entry for limit in limits),
        ),
        (column, "count", *(text for _, text in ticks[1:]), "max"),
        tuple(
            (
                label,
                f"{histogram.count:,}",
                *(duration(histogram.percentile(p)) for p, _ in _NINES[1 : len(ticks)]),
                duration(histogram.max),
            )
            for label, histogram in series
        ),
    )


def _curve(axes: Axes, histogram: Histogram, ink: str, shape: str) -> None:
    # Only the maximum lies beyond 1 - 1/n, so the curve ends there.
    places = np.linspace(0, math.log10(max(histogram.count, 1)), POINTS)
    values = [histogram.percentile(_percent_at(place)) or 0.0 for place in places]
    values[-1] = histogram.max or 0.0
    axes.plot(places, values, color=INKS[ink], linestyle=DASHES[shape], linewidth=1.8)
    axes.plot(places[-1:], values[-1:], color=INKS[ink], marker="o", markersize=5)


def _limit_mark(axes: Axes, limit: LimitLine, right: float) -> None:
    end = right if limit.percent == 100 else min(_place(limit.percent), right)
    values = [limit.limit_ms] * 2
    axes.plot([0, end], values, color=INKS["limit"], linewidth=1.2, linestyle=DASHES["dotted"])
    axes.plot([end], values[:1], color=INKS["limit"], marker="|", markersize=11, markeredgewidth=1.8)
    axes.annotate(
        drawn_text(limit.name), (end, limit.limit_ms), xytext=(-6, 4), textcoords="offset points", ha="right",
        fontsize=LABEL_PT - 1, color=INKS["limit"],
    )  # fmt: skip


def _percent_at(place: float) -> float:
    return float(100 * (1 - 10**-place))


def _place(percent: float) -> float:
    """Position of a percentile below 100 on the axis: 1 for 90%, 2 for 99%."""
    return -math.log10(1 - percent / 100)


_BANDS = (5.0, 25.0, 50.0, 75.0, 95.0, 99.0, 100.0)


def over_time(
    label: str,
    by_second: Mapping[int, Histogram],
    span: tuple[int, int],
    limits: Sequence[LimitLine] = (),
    marks: TimeMarks = NO_MARKS,
) -> Chart:
    """Percentile bands of a metric over time, in bins of a second or wider.

    by_second: histograms by epoch second, not empty. span: first and last epoch second of the chart.
    limits: objectives to draw as lines. marks: what it also marks.
    """
    width = bin_width_s(*span)
    bins = binned(by_second, span[0], width)
    values = {p: [histogram.percentile(p) or 0.0 for histogram in bins.values()] for p in _BANDS}
    figure, axes = new_figure()
    marks.draw(axes)
    _bands(axes, np.array(list(bins)) + width / 2, values)
    limit_lines(axes, limits)
    log_scale(axes, [*values[5.0], *values[100.0], *(limit.limit_ms for limit in limits)])
    time_axis(axes, span, width)
    worst = max(bins, key=lambda place: bins[place].percentile(95) or 0.0)
    return Chart(
        f"{label} over time",
        f"Percentiles per {interval_name(width)}, from the start of the load. A stream counts in the second in which "
        "it was due.",
        inline_svg(
            figure,
            "over-time",
            f"{label} over time. The median is between {duration(min(values[50.0]))} and "
            f"{duration(max(values[50.0]))}; p95 is highest {worst} s after the start, at "
            f"{duration(bins[worst].percentile(95))}.{marks.alternative}",
        ),
        (
            LegendEntry("first", "solid", "median"),
            LegendEntry("first", "band", "p25 to p75"),
            LegendEntry("first", "wash", "p5 to p95"),
            LegendEntry("first", "dashed", "p95"),
            LegendEntry("first", "dotted", "p99"),
            LegendEntry("soft", "tick", "max"),
            *(limit.legend_entry for limit in limits),
            *marks.legend,
        ),
        ("from second", "count", "p5", "p25", "median", "p75", "p95", "p99", "max"),
        tuple(
            (f"{place}", f"{bins[place].count:,}", *(duration(values[p][index]) for p in _BANDS))
            for index, place in enumerate(bins)
        ),
    )


def _bands(
    axes: Axes, middles: np.ndarray[tuple[int], np.dtype[np.float64]], values: Mapping[float, list[float]]
) -> None:
    ink = INKS["first"]
    axes.fill_between(middles, values[5.0], values[95.0], color=ink, alpha=0.16, linewidth=0)
    axes.fill_between(middles, values[25.0], values[75.0], color=ink, alpha=0.24, linewidth=0)
    marker = "o" if len(middles) <= 40 else ""
    axes.plot(middles, values[50.0], color=ink, linewidth=2, marker=marker, markersize=4)
    axes.plot(middles, values[95.0], color=ink, linewidth=1.3, linestyle=DASHES["dashed"])
    axes.plot(middles, values[99.0], color=ink, linewidth=1.1, linestyle=DASHES["dotted"])
    axes.plot(
        middles,
        values[100.0],
        color=INKS["soft"],
        linestyle="",
        marker="_",
        markersize=7,
        markeredgewidth=1.4,
    )


def percentiles_over_time(
    label: str, percent: float, series: Sequence[tuple[str, Mapping[int, Histogram]]], *, name: str
) -> Chart:
    """One percentile of a metric in several tests, each from its own first second.

    series: labels, and histograms by seconds after the test's start; none of them empty. name: prefix that makes
    its ids unique in the page.
    """
    span = 0, max(max(by_second) for _, by_second in series)
    width = bin_width_s(*span)
    bins = [binned(by_second, 0, width) for _, by_second in series]
    values = [[histogram.percentile(percent) or 0.0 for histogram in test.values()] for test in bins]
    figure, axes = new_figure()
    for number, (test, of_test) in enumerate(zip(bins, values, strict=True)):
        ink, shape = style_of(number)
        axes.plot(
            np.array(list(test)) + width / 2, of_test, color=INKS[ink], linestyle=DASHES[shape], linewidth=1.8,
            marker="o" if len(test) <= 40 else "", markersize=3.5,
        )  # fmt: skip
    log_scale(axes, [value for of_test in values for value in of_test])
    time_axis(axes, span, width)
    percentile = "median" if percent == 50 else f"p{percent:g}"
    alternative = "; ".join(
        f"{test}: between {duration(min(of_test))} and {duration(max(of_test))}"
        for (test, _), of_test in zip(series, values, strict=True)
    )
    return Chart(
        f"{label}, {percentile} over time",
        f"The {percentile} per {interval_name(width)}, from the start of each test's load.",
        inline_svg(figure, name, f"{label}, {percentile} over time. {alternative}."),
        tuple(LegendEntry(*style_of(number), test) for number, (test, _) in enumerate(series)),
        ("from second", *(test for test, _ in series)),
        tuple(
            (
                f"{place}",
                *(duration(test[place].percentile(percent) if place in test else None) for test in bins),
            )
            for place in sorted({place for test in bins for place in test})
        ),
    )


@dataclass(frozen=True, slots=True)
class TrafficSecond:
    """One second of a load. in_flight: streams open at its end."""

    scheduled: int
    ended: int
    failed: int
    in_flight: int


def traffic(
    seconds: Mapping[int, TrafficSecond], span: tuple[int, int], marks: TimeMarks = NO_MARKS
) -> Chart:
    """Arrivals and streams in flight over time, with marks at failures.

    seconds: by epoch second. span, marks: as for `over_time`.
    """
    from matplotlib.ticker import MaxNLocator

    width = bin_width_s(*span)
    bins = _traffic_bins(seconds, span, width)
    places = np.array(sorted(bins))
    middles = places + width / 2
    figure, axes = new_figure(right=0.93)
    marks.draw(axes)
    arrivals = [bins[place].scheduled / width for place in places]
    axes.bar(middles, arrivals, width=width * 0.82, color=INKS["first"], alpha=0.35, linewidth=0)
    axes.set_ylabel("arrivals per second", fontsize=LABEL_PT)
    axes.set_ylim(0, max([*arrivals, 1]) * 1.18)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    right_axes = axes.twinx()
    right_axes.plot(middles, [bins[place].in_flight for place in places], color=INKS["third"], linewidth=2)
    right_axes.set_ylabel("streams in flight", fontsize=LABEL_PT)
    most_in_flight = max(second.in_flight for second in bins.values())
    right_axes.set_ylim(0, max(most_in_flight, 1) * 1.18)
    right_axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    remove_frame(right_axes)
    failed = [place + width / 2 for place in places if bins[place].failed]
    if failed:
        heights = [0.965] * len(failed)
        right_axes.plot(
            failed, heights, transform=right_axes.get_xaxis_transform(), color=INKS["bad"], linestyle="", marker="x",
            markersize=7, markeredgewidth=2,
        )  # fmt: skip
    time_axis(axes, span, width)
    failures = sum(second.failed for second in bins.values())
    legend = [LegendEntry("first", "bar", "arrivals"), LegendEntry("third", "solid", "streams in flight")]
    if failed:
        legend.append(LegendEntry("bad", "cross", f"{interval_name(width)} with a failed stream"))
    legend += marks.legend
    return Chart(
        "Arrivals and streams in flight",
        f"Per {interval_name(width)}, from the start of the load. An arrival counts in the second in which it was due.",
        inline_svg(
            figure,
            "traffic",
            f"Arrivals and streams in flight over time. At most {max(arrivals):.4g} arrivals per second and "
            f"{counted(most_in_flight, 'stream')} in flight; {counted(failures, 'stream')} failed."
            f"{marks.alternative}",
        ),
        tuple(legend),
        ("from second", "arrivals", "ended", "in flight", "failed"),
        tuple(
            (
                f"{place}",
                f"{bins[place].scheduled:,}",
                f"{bins[place].ended:,}",
                f"{bins[place].in_flight:,}",
                f"{bins[place].failed:,}",
            )
            for place in places
        ),
    )


def _traffic_bins(
    seconds: Mapping[int, TrafficSecond], span: tuple[int, int], width: int
) -> dict[int, TrafficSecond]:
    """Counts added up per bin, and the streams in flight at its end; includes bins without events."""
    by_bin: dict[int, list[TrafficSecond]] = {}
    for second in sorted(seconds):
        by_bin.setdefault((second - span[0]) // width * width, []).append(seconds[second])
    bins: dict[int, TrafficSecond] = {}
    in_flight = 0
    for start in range(0, span[1] - span[0] + 1, width):
        inside = by_bin.get(start, [])
        in_flight = inside[-1].in_flight if inside else in_flight
        bins[start] = TrafficSecond(
            sum(second.scheduled for second in inside),
            sum(second.ended for second in inside),
            sum(second.failed for second in inside),
            in_flight,
        )
    return bins
