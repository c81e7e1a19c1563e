"""Line charts of histograms and counts in a results file, drawn with matplotlib without its global state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from harness.reports.chart_style import (
    DASHES,
    LABEL_PT,
    POINTS,
    SERIES,
    SHAPES,
    Chart,
    Key,
    Limit,
    bare,
    bin_width_s,
    binned,
    limit_lines,
    log_scale,
    new_figure,
    per,
    shade_warmup,
    time_axis,
    warmup_keys,
)
from harness.results.histogram import Histogram

from .svg import INKS, inline_svg
from .text import counted, duration

_NINES = (
    (0, "0%"),
    (50, "50%"),
    (90, "90%"),
    (99, "99%"),
    (99.9, "99.9%"),
    (99.99, "99.99%"),
    (99.999, "99.999%"),
)


def style_of(place: int) -> tuple[str, str]:
    """Ink and shape of the series at that place; the first sixteen differ."""
    return SERIES[place % len(SERIES)], SHAPES[(place + place // len(SERIES)) % len(SHAPES)]


def percentile_curve(
    series: Sequence[tuple[str, Histogram]],
    limits: Sequence[Limit] = (),
    *,
    title: str = "Percentiles",
    name: str = "percentiles",
    head: str = "metric",
) -> Chart:
    """Latency at every percentile, in the manner of HdrHistogram: each further nine takes the same width.

    series: labels and histograms, none of them empty. limits: each is drawn up to the percentile that it
    limits. name: makes its ids unique in the page. head: what the labels are, for the table of numbers.
    """
    figure, axes = new_figure(labelled=True)
    most = max(10.0, *(float(histogram.count) for _, histogram in series))
    right = math.log10(most) * 1.01
    for number, (_, histogram) in enumerate(series):
        _curve(axes, histogram, *style_of(number))
    for limit in limits:
        _limit_mark(axes, limit, right)
    axes.set_xlim(0, right)
    shown = [(place, text) for place, text in ((_place(p), text) for p, text in _NINES) if place <= right]
    axes.set_xticks([place for place, _ in shown], [text for _, text in shown])
    extremes = [value for _, one in series for value in (one.min, one.max) if value is not None]
    log_scale(axes, [*extremes, *(limit.limit_ms for limit in limits)])
    axes.set_xlabel("of the measured values are at most this long", fontsize=LABEL_PT)
    said = "; ".join(
        f"{label}: half within {duration(one.percentile(50))}, 99% within {duration(one.percentile(99))}, "
        f"the longest {duration(one.max)}"
        for label, one in series
    )
    return Chart(
        title,
        "Read it from the bottom: that share of the values took at most what the curve shows above it. "
        "A dot is the longest."
        + (
            " A limit's line ends at the percentile that it limits: the curve is to pass below."
            if limits
            else ""
        ),
        inline_svg(figure, name, f"{title}, as curves. {said}."),
        (
            *(Key(*style_of(number), label) for number, (label, _) in enumerate(series)),
            *(one.key for one in limits),
        ),
        (head, "count", *(text for _, text in shown[1:]), "longest"),
        tuple(
            (
                label,
                f"{one.count:,}",
                *(duration(one.percentile(p)) for p, _ in _NINES[1 : len(shown)]),
                duration(one.max),
            )
            for label, one in series
        ),
    )


def _curve(axes: Axes, histogram: Histogram, ink: str, shape: str) -> None:
    # Beyond 1 - 1/n lies only the largest value: a curve does not go where it has no data.
    places = np.linspace(0, math.log10(max(histogram.count, 1)), POINTS)
    values = [histogram.percentile(_percent_at(place)) or 0.0 for place in places]
    values[-1] = histogram.max or 0.0
    axes.plot(places, values, color=INKS[ink], linestyle=DASHES[shape], linewidth=1.8)
    axes.plot(places[-1:], values[-1:], color=INKS[ink], marker="o", markersize=5)


def _limit_mark(axes: Axes, limit: Limit, right: float) -> None:
    end = right if limit.percent == 100 else min(_place(limit.percent), right)
    values = [limit.limit_ms] * 2
    axes.plot([0, end], values, color=INKS["limit"], linewidth=1.2, linestyle=DASHES["dotted"])
    axes.plot([end], values[:1], color=INKS["limit"], marker="|", markersize=11, markeredgewidth=1.8)
    axes.annotate(
        limit.name, (end, limit.limit_ms), xytext=(-6, 4), textcoords="offset points", ha="right",
        fontsize=LABEL_PT - 1, color=INKS["limit"],
    )  # fmt: skip


def _percent_at(place: float) -> float:
    return float(100 * (1 - 10**-place))


def _place(percent: float) -> float:
    """Where a percentile below 100 stands on the axis: at 1 for 90%, 2 for 99%."""
    return -math.log10(1 - percent / 100)


_BANDS = (5.0, 25.0, 50.0, 75.0, 95.0, 99.0, 100.0)


def over_time(
    label: str,
    by_second: Mapping[int, Histogram],
    span: tuple[int, int],
    limits: Sequence[Limit] = (),
    *,
    warmup_s: int = 0,
) -> Chart:
    """A metric's percentile bands by second (or wider bins when there are too many seconds).

    by_second: histograms by epoch second, not empty. span: the first and last second of the whole picture.
    limits: objectives to draw as lines. warmup_s: so much is shaded.
    """
    width = bin_width_s(*span)
    bins = binned(by_second, span[0], width)
    values = {p: [one.percentile(p) or 0.0 for one in bins.values()] for p in _BANDS}
    figure, axes = new_figure()
    shade_warmup(axes, warmup_s)
    _bands(axes, np.array(list(bins)) + width / 2, values)
    limit_lines(axes, limits)
    log_scale(axes, [*values[5.0], *values[100.0], *(limit.limit_ms for limit in limits)])
    time_axis(axes, span, width)
    worst = max(bins, key=lambda place: bins[place].percentile(95) or 0.0)
    return Chart(
        f"{label} over time",
        f"Counted from the first stream, {per(width)}, by the second in which each stream was due.",
        inline_svg(
            figure,
            "over-time",
            f"{label} over time. The median lies between {duration(min(values[50.0]))} and "
            f"{duration(max(values[50.0]))}; p95 is highest {worst} s after the start, at "
            f"{duration(bins[worst].percentile(95))}.",
        ),
        (
            Key("first", "solid", "median"),
            Key("first", "band", "p25 to p75"),
            Key("first", "wash", "p5 to p95"),
            Key("first", "dashed", "p95"),
            Key("first", "dotted", "p99"),
            Key("soft", "tick", "longest"),
            *(limit.key for limit in limits),
            *warmup_keys(warmup_s),
        ),
        ("from second", "count", "p5", "p25", "median", "p75", "p95", "p99", "longest"),
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
    """One percentile of a metric in several tests, each counted from its own first second.

    series: labels, and histograms by seconds after the test's start; none of them empty. name: makes its ids
    unique in the page.
    """
    span = 0, max(max(by_second) for _, by_second in series)
    width = bin_width_s(*span)
    bins = [binned(by_second, 0, width) for _, by_second in series]
    figure, axes = new_figure()
    every: list[float] = []
    for number, one in enumerate(bins):
        ink, shape = style_of(number)
        values = [histogram.percentile(percent) or 0.0 for histogram in one.values()]
        every += values
        axes.plot(
            np.array(list(one)) + width / 2, values, color=INKS[ink], linestyle=DASHES[shape], linewidth=1.8,
            marker="o" if len(one) <= 40 else "", markersize=3.5,
        )  # fmt: skip
    log_scale(axes, every)
    time_axis(axes, span, width)
    word = "median" if percent == 50 else f"p{percent:g}"
    said = "; ".join(
        f"{test}: between {duration(min(values))} and {duration(max(values))}"
        for (test, _), values in (
            (one, [histogram.percentile(percent) or 0.0 for histogram in many.values()])
            for one, many in zip(series, bins, strict=True)
        )
    )
    return Chart(
        f"{label}, {word} over time",
        f"Each test counted from its own first stream, {per(width)}.",
        inline_svg(figure, name, f"{label}, {word} over time. {said}."),
        tuple(Key(*style_of(number), test) for number, (test, _) in enumerate(series)),
        ("from second", *(test for test, _ in series)),
        tuple(
            (
                f"{place}",
                *(duration(one[place].percentile(percent) if place in one else None) for one in bins),
            )
            for place in sorted({place for one in bins for place in one})
        ),
    )


@dataclass(frozen=True, slots=True)
class Second:
    """What happened in one second of a load. in_flight: streams open at its end."""

    scheduled: int
    ended: int
    failed: int
    in_flight: int


def traffic(seconds: Mapping[int, Second], span: tuple[int, int], *, warmup_s: int = 0) -> Chart:
    """Arrivals, and streams in flight, over time; seconds in which streams failed are marked, warm-up shaded."""
    width = bin_width_s(*span)
    bins = _traffic_bins(seconds, span, width)
    places = np.array(sorted(bins))
    middles = places + width / 2
    figure, axes = new_figure(right=0.93)
    shade_warmup(axes, warmup_s)
    arrivals = [bins[place].scheduled / width for place in places]
    axes.bar(middles, arrivals, width=width * 0.82, color=INKS["first"], alpha=0.35, linewidth=0)
    axes.set_ylabel("streams due per second", fontsize=LABEL_PT)
    axes.set_ylim(0, max([*arrivals, 1]) * 1.18)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    other = axes.twinx()
    other.plot(middles, [bins[place].in_flight for place in places], color=INKS["third"], linewidth=2)
    other.set_ylabel("streams in flight", fontsize=LABEL_PT)
    other.set_ylim(0, max([*(one.in_flight for one in bins.values()), 1]) * 1.18)
    other.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    bare(other)
    failed = [place + width / 2 for place in places if bins[place].failed]
    if failed:
        top = [0.965] * len(failed)
        other.plot(
            failed, top, transform=other.get_xaxis_transform(), color=INKS["bad"], linestyle="", marker="x",
            markersize=7, markeredgewidth=2,
        )  # fmt: skip
    time_axis(axes, span, width)
    failures = sum(one.failed for one in bins.values())
    keys = [Key("first", "bar", "streams due"), Key("third", "solid", "streams in flight")]
    if failed:
        keys.append(Key("bad", "cross", "a stream failed here"))
    keys += warmup_keys(warmup_s)
    return Chart(
        "Arrivals and streams in flight",
        f"Counted from the first stream, {per(width)}.",
        inline_svg(
            figure,
            "traffic",
            f"Arrivals and streams in flight over time. At most {max(arrivals):.4g} streams were due per second, and "
            f"{counted(max(one.in_flight for one in bins.values()), 'stream')} were in flight; "
            f"{counted(failures, 'stream')} failed.",
        ),
        tuple(keys),
        ("from second", "due", "ended", "in flight", "failed"),
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


def _traffic_bins(seconds: Mapping[int, Second], span: tuple[int, int], width: int) -> dict[int, Second]:
    """Sums of what happened, and the state at the end, of each bin; a bin in which nothing happened is there too."""
    inside: dict[int, list[Second]] = {}
    for second in sorted(seconds):
        inside.setdefault((second - span[0]) // width * width, []).append(seconds[second])
    bins: dict[int, Second] = {}
    in_flight = 0
    for start in range(0, span[1] - span[0] + 1, width):
        here = inside.get(start, [])
        in_flight = here[-1].in_flight if here else in_flight
        bins[start] = Second(
            sum(one.scheduled for one in here),
            sum(one.ended for one in here),
            sum(one.failed for one in here),
            in_flight,
        )
    return bins
