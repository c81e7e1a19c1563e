"""The knee of a search for the capacity: latency and goodput against the arrival rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from harness.reports.chart_style import DASHES, LABEL_PT, Chart, Key, bare, log_scale, new_figure, tick_steps

from .svg import INKS, inline_svg
from .text import duration, percent


@dataclass(frozen=True, slots=True)
class RatePoint:
    """One run of a search for the limit: its rate, what was measured there, and what came of it.

    value: a latency in ms; None where it was not measured. goodput: a share. mark: "passed", "failed" or "open".
    """

    rate: float
    value: float | None
    goodput: float | None
    mark: str


_MARKS = {"passed": ("first", "o"), "failed": ("bad", "x"), "open": ("soft", "_")}


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
    figure, axes = new_figure(right=0.93, labelled=True)
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
        Key(ink, {"x": "cross", "_": "tick"}[shape], {"failed": "a run that missed"}.get(mark, "undecided"))
        for mark, (ink, shape) in _MARKS.items()
        if mark != "passed" and any(found == mark for _, _, found in known)
    ]
    if limit is not None:
        axes.axhline(limit, color=INKS["limit"], linewidth=1.2, linestyle=DASHES["dotted"])
        keys.append(Key("limit", "dotted", f"limit = {duration(limit)}"))
    log_scale(axes, [*(value for _, value, _ in known), *([] if limit is None else [limit])])
    return keys


def _goodput_against_rate(axes: Axes, points: Sequence[RatePoint]) -> Key:
    known = [(point.rate, 100 * point.goodput) for point in points if point.goodput is not None]
    if known:
        axes.plot(
            *_medians(known),
            color=INKS["third"],
            linewidth=2,
            linestyle=DASHES["dashed"],
            marker="o",
            markersize=3,
        )
    axes.set_ylabel("goodput", fontsize=LABEL_PT)
    axes.set_ylim(0, 104)
    axes.set_yticks(range(0, 101, 20), [f"{tick}%" for tick in range(0, 101, 20)])
    bare(axes)
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
    ticks = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0) if decades < 1.3 else tick_steps(decades)
    axes.xaxis.set_major_locator(LogLocator(subs=ticks, numticks=20))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("arrivals per second", fontsize=LABEL_PT)
