"""The changes of the pairs of a paired comparison, and how its confidence interval narrowed."""

from __future__ import annotations

from dataclasses import dataclass

from harness.gate.comparison import Comparison
from harness.gate.console import format_change
from harness.reports.chart_style import DASHES, LABEL_PT, Chart, LegendEntry, new_figure

from .svg import INKS, inline_svg
from .text import NOTHING, counted

_VIEW = 3.0  # the widest part of an interval that is drawn, in the range of the pairs


@dataclass(frozen=True, slots=True)
class PairedCourse:
    """A paired comparison in its course.

    label: of the metric. changes: of each usable pair. intervals: after each number of pairs, None for too few.
    All in the unit of comparison.difference.
    """

    label: str
    comparison: Comparison
    changes: tuple[float, ...]
    intervals: tuple[tuple[float, float] | None, ...]


def pair_chart(course: PairedCourse, name: str) -> Chart:
    """The chart of one metric. name: prefix that makes its ids unique in the page."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    comparison, effect = course.comparison, course.comparison.smallest_effect or 0.0
    figure, axes = new_figure(labelled=True, height_in=3.2)
    places = list(range(1, len(course.changes) + 1))
    reach = _VIEW * max(*(abs(change) for change in course.changes), effect, 1e-9)
    known = [(place, ends) for place, ends in zip(places, course.intervals, strict=True) if ends is not None]
    axes.axhspan(-effect, effect, color=INKS["soft"], alpha=0.14, linewidth=0)
    axes.axhline(0, color=INKS["soft"], linewidth=1)
    if known:
        lows, highs = ([max(-reach, min(reach, ends[side])) for _, ends in known] for side in (0, 1))
        numbers = [place for place, _ in known]
        axes.fill_between(numbers, lows, highs, color=INKS["first"], alpha=0.2, linewidth=0)
        for line in (lows, highs):
            axes.plot(numbers, line, color=INKS["first"], linewidth=1.3, linestyle=DASHES["dashed"])
    axes.plot(places, course.changes, color=INKS["second"], linestyle="", marker="o", markersize=5)
    axes.set_xlim(0.5, len(places) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format_change(comparison, value)))
    axes.set_xlabel("pair of blocks", fontsize=LABEL_PT)
    change = format_change(comparison, comparison.difference)
    return Chart(
        f"{course.label}: change by pair",
        "A dot is the difference of the two blocks of a pair. The interval is that of the mean of all pairs so far; it "
        "may be looked at after each pair.",
        inline_svg(
            figure,
            name,
            f"{course.label} in {counted(len(places), 'pair')}: changed by {change} in the mean, {comparison.verdict}.",
        ),
        (
            LegendEntry("second", "tick", "one pair"),
            LegendEntry("first", "band", "confidence interval so far"),
            LegendEntry("soft", "bar", "below the smallest effect"),
        ),
        ("pair", "change", "interval so far"),
        tuple(
            (
                f"{place}",
                format_change(comparison, changed),
                NOTHING
                if ends is None
                else f"{format_change(comparison, ends[0])} to {format_change(comparison, ends[1])}",
            )
            for place, changed, ends in zip(places, course.changes, course.intervals, strict=True)
        ),
    )
