"""A metric over all tests of a baseline's history, with its level and where it changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.gate.history import HistoryEntry
from harness.gate.trend import MetricTrend
from harness.reports.chart_style import DASHES, LABEL_PT, Chart, LegendEntry, drawn_text, new_figure

from .objectives_section import value_text
from .svg import INKS, inline_svg
from .text import NOTHING, counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_LABELS = 10
_SHORT = 8  # characters of a commit, as git shows it


def trend_chart(label: str, trend: MetricTrend, entries: Sequence[HistoryEntry]) -> Chart:
    """The chart of one metric. label: of the metric, for people."""
    recorded = [entries[place].values[trend.name] for place in trend.places]
    figure, axes = new_figure(labelled=True, height_in=3.6)
    for place, value in zip(trend.places, recorded, strict=True):
        if value.low is not None and value.high is not None:
            axes.plot([place] * 2, [value.low, value.high], color=INKS["first"], linewidth=1.2, alpha=0.5)
    axes.plot(
        trend.places, [value.value for value in recorded], color=INKS["first"], linestyle="", marker="o",
        markersize=4,
    )  # fmt: skip
    axes.step(
        trend.places, trend.levels, where="post", color=INKS["ink"], linewidth=1.6, linestyle=DASHES["solid"]
    )
    legend = [
        LegendEntry("first", "tick", "a test, with its 95% interval"),
        LegendEntry("ink", "solid", "level"),
    ]
    counted_drifts = [drift for drift in trend.drifts if drift.verdict != "small"]
    for drift in counted_drifts:
        ink = "bad" if drift.verdict == "worse" else "third"
        axes.axvline(drift.began - 0.5, color=INKS[ink], linewidth=1.4, linestyle=DASHES["dashed"])
        legend.append(
            LegendEntry(ink, "dashed", f"{drift.verdict} from {short_commit(entries[drift.began])} on")
        )
    _axes(axes, trend, entries)
    described = "; ".join(
        f"{drift.verdict} from {short_commit(entries[drift.began])} on, {value_text(trend.name, drift.before)} to "
        f"{value_text(trend.name, drift.after)}"
        for drift in counted_drifts
    )
    return Chart(
        label,
        "Each dot is a test of the history, oldest first. A dashed line is where a change began.",
        inline_svg(
            figure,
            f"trend-{trend.name.replace('_', '-').replace('.', '-')}",
            f"{label} over {counted(len(recorded), 'test')}: {described or 'no change of the level'}.",
        ),
        tuple(legend),
        ("test", "commit", "value", "interval", "level"),
        tuple(
            (
                entries[place].started_at or NOTHING,
                short_commit(entries[place]),
                value_text(trend.name, value.value),
                NOTHING
                if value.low is None
                else f"{value_text(trend.name, value.low)} to {value_text(trend.name, value.high)}",
                value_text(trend.name, level),
            )
            for place, value, level in zip(trend.places, recorded, trend.levels, strict=True)
        ),
    )


def short_commit(entry: HistoryEntry) -> str:
    """The commit of a test as git shortens it; its time if the commit is unknown."""
    return drawn_text(entry.commit[:_SHORT] or entry.started_at[:19] or "an unknown commit")


def _axes(axes: Axes, trend: MetricTrend, entries: Sequence[HistoryEntry]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlim(-0.7, len(entries) - 0.3)
    step = max(1, -(-len(entries) // _MOST_LABELS))
    ticks = range(0, len(entries), step)
    axes.set_xticks(list(ticks), [short_commit(entries[tick]) for tick in ticks])
    for text in axes.get_xticklabels():
        text.set_parse_math(False)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: value_text(trend.name, value)))
    axes.set_xlabel("tests of the baseline, by commit", fontsize=LABEL_PT)
