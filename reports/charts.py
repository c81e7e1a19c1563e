"""The page's charts: histograms and counts of a results file drawn with matplotlib, without pyplot's global state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from harness.results.histogram import Histogram

from .svg import INKS, inline_svg
from .text import counted, duration, percent

WIDTH_IN, HEIGHT_IN = 12.0, 4.2
POINTS = 160
"""Samples of a percentile curve, and the most bins of a chart over time."""

_SIZE = 11
_SERIES = ("first", "second", "third")
_SHAPES = ("solid", "dashed", "dotted")
_DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = ("-", (0, (6.0, 2.0)), (0, (1.5, 1.5)))
_BIN_WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
_NINES = (
    (0, "0%"),
    (50, "50%"),
    (90, "90%"),
    (99, "99%"),
    (99.9, "99.9%"),
    (99.99, "99.99%"),
    (99.999, "99.999%"),
)


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a chart's key: its ink, its shape (solid, dashed, dotted, bar, tick, cross), what it is."""

    ink: str
    shape: str
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture, its key, and the numbers it was drawn from for those who do not see it."""

    title: str
    caption: str
    svg: Markup
    keys: tuple[Key, ...]
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def bin_width_s(first: int, last: int) -> int:
    """Seconds to a bin so that `first` to `last` takes at most POINTS bins."""
    span = last - first + 1
    return next((width for width in _BIN_WIDTHS_S if span <= width * POINTS), math.ceil(span / POINTS))


def percentile_curve(metrics: Sequence[tuple[str, Histogram]]) -> Chart:
    """Latency at every percentile, in the manner of HdrHistogram: each further nine takes the same width.

    metrics: up to three labels and histograms, none of them empty.
    """
    figure, axes = _figure(left=0.075)
    most = 10.0
    for (label, histogram), ink, dash in zip(metrics, _SERIES, _DASHES, strict=False):
        # Beyond 1 - 1/n lies only the largest value: a curve does not go where it has no data.
        most = max(most, float(histogram.count))
        places = np.linspace(0, math.log10(max(histogram.count, 1)), POINTS)
        values = [histogram.percentile(_percent_at(place)) or 0.0 for place in places]
        values[-1] = histogram.max or 0.0
        axes.plot(places, values, color=INKS[ink], linestyle=dash, linewidth=1.8, label=label)
        axes.plot(places[-1:], values[-1:], color=INKS[ink], marker="o", markersize=5)
    axes.set_xlim(0, math.log10(most) * 1.01)
    ticks = [(-math.log10(1 - percent / 100), text) for percent, text in _NINES]
    shown = [(place, text) for place, text in ticks if place <= math.log10(most) * 1.01]
    axes.set_xticks([place for place, _ in shown], [text for _, text in shown])
    _log_scale(axes, [value for _, one in metrics for value in (one.min, one.max) if value is not None])
    axes.set_xlabel("of the measured values are at most this long", fontsize=_SIZE)
    said = "; ".join(
        f"{label}: half within {duration(one.percentile(50))}, 99% within {duration(one.percentile(99))}, "
        f"the longest {duration(one.max)}"
        for label, one in metrics
    )
    return Chart(
        "Percentiles",
        "Read it from the bottom: that share of the values took at most what the curve shows above it. "
        "A dot is the longest.",
        inline_svg(figure, "percentiles", f"Percentile curves. {said}."),
        tuple(
            Key(ink, shape, label) for (label, _), ink, shape in zip(metrics, _SERIES, _SHAPES, strict=False)
        ),
        ("metric", "count", *(text for _, text in shown[1:]), "longest"),
        tuple(
            (
                label,
                f"{one.count:,}",
                *(duration(one.percentile(p)) for p, _ in _NINES[1 : len(shown)]),
                duration(one.max),
            )
            for label, one in metrics
        ),
    )


def _percent_at(place: float) -> float:
    return float(100 * (1 - 10**-place))


def over_time(
    label: str,
    by_second: Mapping[int, Histogram],
    span: tuple[int, int],
    limits: Sequence[tuple[str, float]],
    *,
    warmup_s: int = 0,
) -> Chart:
    """A metric's median, p95 and longest by second (or wider bins when there are too many seconds).

    by_second: histograms by epoch second, not empty. span: the first and last second of the whole picture.
    limits: names and limits in ms of objectives to draw as lines. warmup_s: so much is shaded.
    """
    width = bin_width_s(*span)
    bins: dict[int, Histogram] = {}
    for second, histogram in by_second.items():
        bins.setdefault((second - span[0]) // width * width, Histogram()).merge(histogram)
    places = sorted(bins)
    values = {p: [bins[place].percentile(p) or 0.0 for place in places] for p in (50.0, 95.0, 100.0)}
    figure, axes = _figure(left=0.075)
    _shade(axes, warmup_s)
    middles = np.array(places) + width / 2
    axes.fill_between(middles, values[50.0], values[95.0], color=INKS["first"], alpha=0.16, linewidth=0)
    marker = "o" if len(places) <= 40 else ""
    axes.plot(middles, values[50.0], color=INKS["first"], linewidth=2, marker=marker, markersize=4)
    axes.plot(middles, values[95.0], color=INKS["first"], linewidth=1.3, linestyle=_DASHES[1])
    axes.plot(
        middles,
        values[100.0],
        color=INKS["soft"],
        linestyle="",
        marker="_",
        markersize=7,
        markeredgewidth=1.4,
    )
    for _, limit in limits:
        axes.axhline(limit, color=INKS["limit"], linewidth=1.2, linestyle=_DASHES[2])
    _log_scale(axes, [*values[50.0], *values[100.0], *(limit for _, limit in limits)])
    _time_axis(axes, span, width)
    worst = max(places, key=lambda place: bins[place].percentile(95) or 0.0)
    return Chart(
        f"{label} over time",
        f"Counted from the first stream, {_per(width)}, by the second in which each stream was due.",
        inline_svg(
            figure,
            "over-time",
            f"{label} over time. The median lies between {duration(min(values[50.0]))} and "
            f"{duration(max(values[50.0]))}; p95 is highest {worst} s after the start, at "
            f"{duration(bins[worst].percentile(95))}.",
        ),
        (
            Key("first", "solid", "median"),
            Key("first", "dashed", "p95"),
            Key("soft", "tick", "longest"),
            *(Key("limit", "dotted", f"limit {name} = {duration(limit)}") for name, limit in limits),
            *_warmup_key(warmup_s),
        ),
        ("from second", "count", "median", "p95", "longest"),
        tuple(
            (f"{place}", f"{bins[place].count:,}", *(duration(values[p][index]) for p in values))
            for index, place in enumerate(places)
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
    figure, axes = _figure(left=0.075, right=0.93)
    _shade(axes, warmup_s)
    arrivals = [bins[place].scheduled / width for place in places]
    axes.bar(middles, arrivals, width=width * 0.82, color=INKS["first"], alpha=0.35, linewidth=0)
    axes.set_ylabel("streams due per second", fontsize=_SIZE)
    axes.set_ylim(0, max([*arrivals, 1]) * 1.18)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    other = axes.twinx()
    other.plot(middles, [bins[place].in_flight for place in places], color=INKS["third"], linewidth=2)
    other.set_ylabel("streams in flight", fontsize=_SIZE)
    other.set_ylim(0, max([*(one.in_flight for one in bins.values()), 1]) * 1.18)
    other.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    _bare(other)
    failed = [place + width / 2 for place in places if bins[place].failed]
    if failed:
        top = [0.965] * len(failed)
        other.plot(
            failed, top, transform=other.get_xaxis_transform(), color=INKS["bad"], linestyle="", marker="x",
            markersize=7, markeredgewidth=2,
        )  # fmt: skip
    _time_axis(axes, span, width)
    failures = sum(one.failed for one in bins.values())
    keys = [Key("first", "bar", "streams due"), Key("third", "solid", "streams in flight")]
    if failed:
        keys.append(Key("bad", "cross", "a stream failed here"))
    keys += _warmup_key(warmup_s)
    return Chart(
        "Arrivals and streams in flight",
        f"Counted from the first stream, {_per(width)}.",
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


@dataclass(frozen=True, slots=True)
class RatePoint:
    """One run of a search for the limit: its rate, what was measured there, and what came of it.

    value: a latency in ms; None where it was not measured. goodput: a share. mark: "held", "missed" or "open".
    """

    rate: float
    value: float | None
    goodput: float | None
    mark: str


_MARKS = {"held": ("first", "o"), "missed": ("bad", "x"), "open": ("soft", "_")}


def against_rate(
    label: str,
    name: str,
    points: Sequence[RatePoint],
    limit: float | None,
    interval: tuple[float | None, float | None],
    said: str,
) -> Chart:
    """A latency and goodput against the arrival rate, with the interval in which the limit lies shaded.

    label: what the latency is; empty for a picture of goodput alone. name: makes its ids unique in the page.
    points: not empty. limit: of the latency, in ms. interval: its ends, per second, as far as they are known.
    said: the answer, for those who do not see it.
    """
    figure, axes = _figure(left=0.075, right=0.93)
    rates = [point.rate for point in points]
    _rate_axis(axes, rates)
    keys = _latency_against_rate(axes, points, limit) if label else []
    if interval != (None, None):
        left, right = axes.get_xlim()
        low, high = interval
        axes.axvspan(low or left, high or right, color=INKS["limit"], alpha=0.16, linewidth=0)
        keys.append(Key("limit", "bar", "the limit lies here"))
    keys.append(_goodput_against_rate(axes.twinx() if label else axes, points))
    return Chart(
        f"{label} and goodput against the rate" if label else "Goodput against the rate",
        "Each mark is one run; the lines join the medians of the runs at a rate.",
        inline_svg(figure, name, f"{label or 'Goodput'} against the arrival rate. {said}"),
        tuple(keys),
        ("arrivals/s", *((label,) if label else ()), "goodput", "outcome"),
        tuple(
            (
                f"{point.rate:g}",
                *((duration(point.value),) if label else ()),
                percent(point.goodput),
                {"open": "undecided"}.get(point.mark, point.mark),
            )
            for point in sorted(points, key=lambda point: point.rate)
        ),
    )


def _latency_against_rate(axes: Axes, points: Sequence[RatePoint], limit: float | None) -> list[Key]:
    known = [(point.rate, point.value, point.mark) for point in points if point.value is not None]
    keys = []
    if known:
        axes.plot(*_medians([(rate, value) for rate, value, _ in known]), color=INKS["first"], linewidth=1.3)
        keys.append(Key("first", "solid", "latency; a dot is a run that held"))
    for mark, (ink, shape) in _MARKS.items():
        marked = [(rate, value) for rate, value, found in known if found == mark]
        if marked:
            axes.plot(
                [rate for rate, _ in marked], [value for _, value in marked], color=INKS[ink], linestyle="",
                marker=shape, markersize=7, markeredgewidth=2,
            )  # fmt: skip
    keys += [
        Key(ink, {"x": "cross", "_": "tick"}[shape], {"missed": "a run that missed"}.get(mark, "undecided"))
        for mark, (ink, shape) in _MARKS.items()
        if mark != "held" and any(found == mark for _, _, found in known)
    ]
    if limit is not None:
        axes.axhline(limit, color=INKS["limit"], linewidth=1.2, linestyle=_DASHES[2])
        keys.append(Key("limit", "dotted", f"limit = {duration(limit)}"))
    _log_scale(axes, [*(value for _, value, _ in known), *([] if limit is None else [limit])])
    return keys


def _goodput_against_rate(axes: Axes, points: Sequence[RatePoint]) -> Key:
    known = [(point.rate, 100 * point.goodput) for point in points if point.goodput is not None]
    if known:
        axes.plot(
            *_medians(known), color=INKS["third"], linewidth=2, linestyle=_DASHES[1], marker="o", markersize=3
        )
    axes.set_ylabel("goodput", fontsize=_SIZE)
    axes.set_ylim(0, 104)
    axes.set_yticks(range(0, 101, 20), [f"{tick}%" for tick in range(0, 101, 20)])
    _bare(axes)
    return Key("third", "dashed", "goodput")


def _medians(values: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """The rates, ascending, and the median of what was measured at each."""
    by_rate: dict[float, list[float]] = {}
    for rate, value in values:
        by_rate.setdefault(rate, []).append(value)
    rates = sorted(by_rate)
    return rates, [float(np.median(by_rate[rate])) for rate in rates]


def _rate_axis(axes: Axes, rates: Sequence[float]) -> None:
    low, high = min(rates) / 1.1, max(rates) * 1.1
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    decades = math.log10(high / low)
    ticks = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0) if decades < 1.3 else _tick_steps(decades)
    axes.xaxis.set_major_locator(LogLocator(subs=ticks, numticks=20))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("arrivals per second", fontsize=_SIZE)


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


def _shade(axes: Axes, warmup_s: int) -> None:
    if warmup_s:
        axes.axvspan(0, warmup_s, color=INKS["soft"], alpha=0.14, linewidth=0)


def _warmup_key(warmup_s: int) -> list[Key]:
    return [Key("soft", "bar", "warm-up, left out of the numbers")] if warmup_s else []


def _per(width: int) -> str:
    return "second by second" if width == 1 else f"in steps of {duration(width * 1000)}"


def _figure(left: float, right: float = 0.985) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN))
    axes = figure.add_subplot()
    figure.subplots_adjust(left=left, right=right, top=0.97, bottom=0.15)
    axes.grid(visible=True, axis="y", color=INKS["rule"], linewidth=0.8)
    axes.set_axisbelow(True)
    _bare(axes)
    return figure, axes


def _bare(axes: Axes) -> None:
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(INKS["soft"])
    axes.tick_params(colors=INKS["soft"], labelsize=_SIZE, length=0, pad=6)
    axes.xaxis.label.set_color(INKS["soft"])
    axes.yaxis.label.set_color(INKS["soft"])


def _log_scale(axes: Axes, values_ms: Sequence[float]) -> None:
    """A logarithmic axis of durations that holds the values, with a handful of labelled ticks."""
    positive = [value for value in values_ms if value > 0] or [1.0]
    low, high = min(positive) / 1.25, max(positive) * 1.25
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(LogLocator(subs=_tick_steps(math.log10(high / low)), numticks=20))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))


def _tick_steps(decades: float) -> tuple[float, ...]:
    """Where in each decade a tick stands, so that there are about four to eight in all."""
    if decades < 0.6:
        return (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    return (1.0, 2.0, 5.0) if decades < 2.5 else (1.0, 3.0) if decades < 4 else (1.0,)


def _time_axis(axes: Axes, span: tuple[int, int], width: int) -> None:
    length = (span[1] - span[0]) // width * width + width
    axes.set_xlim(0, length)
    step = next((step for step in _BIN_WIDTHS_S if length <= step * 9), length)
    axes.set_xticks(
        ticks := range(0, length + 1, step), [duration(tick * 1000) if tick else "0" for tick in ticks]
    )
