"""Latency and goodput by arrival rate: the chart of a capacity search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.reports.chart_style import (
    DASHES,
    LABEL_PT,
    Chart,
    LegendEntry,
    log_scale,
    new_figure,
    remove_frame,
    tick_steps,
)

from .svg import INKS, inline_svg
from .text import duration, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class RatePoint:
    """One run of a search.

    value: a latency in ms; None if it was not measured. goodput: a share. verdict: "passed", "failed" or
    "inconclusive".
    """

    rate: float
    value: float | None
    goodput: float | None
    verdict: str


_MARKERS = {"passed": ("first", "o"), "failed": ("bad", "x"), "inconclusive": ("soft", "_")}
_MARKER_SHAPES = {"x": "cross", "_": "tick"}


def rate_chart(
    label: str,
    name: str,
    points: Sequence[RatePoint],
    limit: float | None,
    interval: tuple[float | None, float | None],
    answer: str,
) -> Chart:
    """A latency and goodput by arrival rate, with the interval that contains the capacity shaded.

    label: of the latency; empty for a chart of goodput alone. name: prefix that makes its ids unique in the page.
    points: not empty. limit: of the latency, in ms. interval: its ends, per second, None if unknown.
    answer: the search's answer, for the text alternative.
    """
    figure, axes = new_figure(right=0.93, labelled=True)
    _rate_axis(axes, [point.rate for point in points])
    legend = _plot_latency(axes, points, limit) if label else []
    if interval != (None, None):
        left, right = axes.get_xlim()
        low, high = interval
        axes.axvspan(low or left, high or right, color=INKS["limit"], alpha=0.16, linewidth=0)
        legend.append(LegendEntry("limit", "bar", "the capacity is in this range"))
    legend.append(_plot_goodput(axes.twinx() if label else axes, points))
    return Chart(
        f"{label} and goodput by arrival rate" if label else "Goodput by arrival rate",
        "Each mark is one run. The lines connect the medians at each rate.",
        inline_svg(figure, name, f"{label or 'Goodput'} by arrival rate. {answer}"),
        tuple(legend),
        ("arrivals/s", *((label,) if label else ()), "goodput", "verdict"),
        tuple(
            (
                f"{point.rate:g}",
                *((duration(point.value),) if label else ()),
                percent(point.goodput),
                point.verdict,
            )
            for point in sorted(points, key=lambda point: point.rate)
        ),
    )


def _plot_latency(axes: Axes, points: Sequence[RatePoint], limit: float | None) -> list[LegendEntry]:
    measured = [(point.rate, point.value, point.verdict) for point in points if point.value is not None]
    legend = []
    if measured:
        medians = _medians([(rate, value) for rate, value, _ in measured])
        axes.plot(*medians, color=INKS["first"], linewidth=1.3)
        legend.append(LegendEntry("first", "solid", "latency; a dot is a run that passed"))
    for verdict, (ink, marker) in _MARKERS.items():
        marked = [(rate, value) for rate, value, of_point in measured if of_point == verdict]
        if not marked:
            continue
        axes.plot(
            [rate for rate, _ in marked], [value for _, value in marked], color=INKS[ink], linestyle="",
            marker=marker, markersize=7, markeredgewidth=2,
        )  # fmt: skip
        if verdict != "passed":
            legend.append(LegendEntry(ink, _MARKER_SHAPES[marker], f"{verdict} run"))
    if limit is not None:
        axes.axhline(limit, color=INKS["limit"], linewidth=1.2, linestyle=DASHES["dotted"])
        legend.append(LegendEntry("limit", "dotted", f"limit = {duration(limit)}"))
    log_scale(axes, [*(value for _, value, _ in measured), *([] if limit is None else [limit])])
    return legend


def _plot_goodput(axes: Axes, points: Sequence[RatePoint]) -> LegendEntry:
    measured = [(point.rate, 100 * point.goodput) for point in points if point.goodput is not None]
    if measured:
        axes.plot(
            *_medians(measured),
            color=INKS["third"],
            linewidth=2,
            linestyle=DASHES["dashed"],
            marker="o",
            markersize=3,
        )
    axes.set_ylabel("goodput", fontsize=LABEL_PT)
    axes.set_ylim(0, 104)
    axes.set_yticks(range(0, 101, 20), [f"{tick}%" for tick in range(0, 101, 20)])
    remove_frame(axes)
    return LegendEntry("third", "dashed", "goodput")


def _medians(values: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """The rates, ascending, and the median of the values at each."""
    by_rate: dict[float, list[float]] = {}
    for rate, value in values:
        by_rate.setdefault(rate, []).append(value)
    rates = sorted(by_rate)
    return rates, [float(np.median(by_rate[rate])) for rate in rates]


def _rate_axis(axes: Axes, rates: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = min(rates) / 1.1, max(rates) * 1.1
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    decades = math.log10(high / low)
    ticks = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0) if decades < 1.3 else tick_steps(decades)
    axes.xaxis.set_major_locator(LogLocator(subs=ticks, numticks=20))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("arrivals per second", fontsize=LABEL_PT)
