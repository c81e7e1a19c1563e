"""The common style of all charts: size, inks, dashes, axes and legend.

Who draws imports matplotlib, as late as possible: that takes half a second, and `harness gate` draws nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from markupsafe import Markup

from harness.formatting import visible
from harness.results.histogram import Histogram
from harness.results.restart_cost import RestartCost

from .svg import INKS
from .text import duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN, HEIGHT_IN = 12.0, 4.2
POINTS = 160
"""Samples of a percentile curve, and the maximum number of bins over time."""

LABEL_PT = 11
SERIES = ("first", "second", "third", "fourth")
SHAPES = ("solid", "dashed", "dotted", "dashdot")
DASHES: dict[str, str | tuple[int, tuple[float, ...]]] = {
    "solid": "-",
    "dashed": (0, (6.0, 2.0)),
    "dotted": (0, (1.5, 1.5)),
    "dashdot": (0, (6.0, 1.5, 1.5, 1.5)),
}
BIN_WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """One entry of a chart's legend. shape: a line of SHAPES, or bar, band, wash, block, tick, cross, ramp, upright."""

    ink: str
    shape: str
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture with its legend. columns, rows: its data as a table."""

    title: str
    caption: str
    svg: Markup
    legend: tuple[LegendEntry, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class LimitLine:
    """An objective as a line in a chart. percent: the percentile that it limits."""

    name: str
    percent: float
    limit_ms: float

    @property
    def legend_entry(self) -> LegendEntry:
        """Its entry in the chart's legend."""
        return LegendEntry("limit", "dotted", f"limit {self.name} = {duration(self.limit_ms)}")


@dataclass(frozen=True, slots=True)
class TimeMarks:
    """What a chart over time marks in addition to its values, in seconds after its start.

    warmup_s: length of the warm-up. restart_s: when the server was restarted, None if it was not. restart_failed:
    whether the command that should restart it failed.
    """

    warmup_s: int = 0
    restart_s: float | None = None
    restart_failed: bool = False

    @classmethod
    def of(cls, span: tuple[int, int], measured_from: int | None, restart: RestartCost | None) -> Self:
        """The marks of a chart from the first to the last epoch second of `span`."""
        warmup_s = max(0, (measured_from or span[0]) - span[0])
        if restart is None or not span[0] <= restart.at_ns // 1_000_000_000 <= span[1]:
            return cls(warmup_s)
        restart_s = (restart.at_ns - span[0] * 1_000_000_000) / 1e9
        return cls(warmup_s, restart_s, restart.problem is not None)

    def draw(self, axes: Axes) -> None:
        """Shade the warm-up, and draw the restart as a vertical line."""
        if self.warmup_s:
            axes.axvspan(0, self.warmup_s, color=INKS["soft"], alpha=0.14, linewidth=0)
        if self.restart_s is not None:
            axes.axvline(
                self.restart_s, color=INKS["ink"], linewidth=1.6, linestyle=DASHES["dashdot"], zorder=3
            )

    @property
    def restart_text(self) -> str:
        """The restart as a label; empty without one."""
        if self.restart_s is None:
            return ""
        what = "failed restart" if self.restart_failed else "restart"
        return f"{what} of the server, at {duration(self.restart_s * 1000)}"

    @property
    def alternative(self) -> str:
        """What the text alternative of the picture adds about them."""
        return f" A vertical line marks a {self.restart_text}." if self.restart_text else ""

    @property
    def legend(self) -> list[LegendEntry]:
        """Their entries in the chart's legend."""
        entries = []
        if self.warmup_s:
            entries.append(LegendEntry("soft", "bar", "warm-up, excluded from the metrics"))
        if self.restart_text:
            entries.append(LegendEntry("ink", "upright", self.restart_text))
        return entries


NO_MARKS = TimeMarks()


def new_figure(
    *, left: float = 0.075, right: float = 0.985, height_in: float = HEIGHT_IN, labelled: bool = False
) -> tuple[Figure, Axes]:
    """A figure as wide as the page, with frameless axes.

    left, right: edges of the axes, as shares of the width. labelled: whether the x axis has a label.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_IN, height_in))
    axes = figure.add_subplot()
    bottom_in = 0.63 if labelled else 0.38
    figure.subplots_adjust(left=left, right=right, top=1 - 0.126 / height_in, bottom=bottom_in / height_in)
    axes.grid(visible=True, axis="y", color=INKS["rule"], linewidth=0.8)
    axes.set_axisbelow(True)
    remove_frame(axes)
    return figure, axes


def remove_frame(axes: Axes) -> None:
    """Remove all of the frame but the x axis, and draw the labels in the page's soft ink."""
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(INKS["soft"])
    axes.tick_params(colors=INKS["soft"], labelsize=LABEL_PT, length=0, pad=6)
    axes.xaxis.label.set_color(INKS["soft"])
    axes.yaxis.label.set_color(INKS["soft"])


def log_scale(axes: Axes, values_ms: Iterable[float]) -> None:
    """A logarithmic y axis of durations that includes the values, with four to eight labelled ticks."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    positive = [value for value in values_ms if value > 0] or [1.0]
    low, high = min(positive) / 1.25, max(positive) * 1.25
    axes.set_ylim(low, high)  # first: without limits, data of zeros alone cannot have such an axis
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=tick_steps(math.log10(high / low)), numticks=20))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))


def tick_steps(decades: float) -> tuple[float, ...]:
    """Positions of ticks within each decade, for about four to eight ticks in total."""
    if decades < 0.6:
        return (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    return (1.0, 2.0, 5.0) if decades < 2.5 else (1.0, 3.0) if decades < 4 else (1.0,)


def bin_width_s(first: int, last: int) -> int:
    """Width of a bin in seconds, so that `first` to `last` takes at most POINTS bins."""
    span = last - first + 1
    return next((width for width in BIN_WIDTHS_S if span <= width * POINTS), math.ceil(span / POINTS))


def binned(by_second: Mapping[int, Histogram], first: int, width: int) -> dict[int, Histogram]:
    """Histograms by second merged into bins, keyed by seconds after `first`, ascending."""
    bins: dict[int, Histogram] = {}
    for second, histogram in sorted(by_second.items()):
        bins.setdefault((second - first) // width * width, Histogram()).merge(histogram)
    return bins


def time_axis(axes: Axes, span: tuple[int, int], width: int) -> None:
    """An x axis of seconds since the start of the span, up to the end of the last bin."""
    length = (span[1] - span[0]) // width * width + width
    axes.set_xlim(0, length)
    step = next((step for step in BIN_WIDTHS_S if length <= step * 9), length)
    axes.set_xticks(
        ticks := range(0, length + 1, step), [duration(tick * 1000) if tick else "0" for tick in ticks]
    )


def interval_name(width: int) -> str:
    """The width of a bin, for a caption: "second" or "2 s interval"."""
    return "second" if width == 1 else f"{duration(width * 1000)} interval"


def drawn_text(text: str) -> str:
    """A name for a chart, in printable ASCII: its font lacks many letters, and SVG cannot contain a NUL."""
    return visible(text).encode("ascii", "backslashreplace").decode()


def limit_lines(axes: Axes, limits: Sequence[LimitLine]) -> None:
    """Draw each objective as a line across the chart."""
    for limit in limits:
        axes.axhline(limit.limit_ms, color=INKS["limit"], linewidth=1.2, linestyle=DASHES["dotted"])
