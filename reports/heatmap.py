"""Latency over time as a heat map; its cells are a bitmap with one pixel per cell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from harness.reports.chart_style import (
    DASHES,
    NO_MARKS,
    Chart,
    LegendEntry,
    LimitLine,
    TimeMarks,
    bin_width_s,
    binned,
    interval_name,
    new_figure,
    tick_steps,
    time_axis,
)
from harness.results.histogram import (
    BUCKETS,
    BUCKETS_PER_DECADE,
    EDGES_MS,
    LOWEST_MS,
    PER_WIDE,
    RELATIVE_ERROR,
    Histogram,
)

from .svg import INKS, inline_svg
from .text import count, counted, duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEAST_ROWS, MOST_ROWS = 18, 72
"""Rows of cells; more values get more rows."""

LEAST_BUCKETS = 72
"""Fewest buckets of the histogram on the axis; their range is about a quarter of the lowest."""

NEAR = 4.0
"""A limit is drawn if it is within this factor of the values; a farther one would squeeze the values."""

RAMPS = {
    "light": ("#dbe7f5", "#a3c2e6", "#5f94cf", "#2a63a8", "#0c2f63"),
    "dark": ("#1c2f4a", "#28518a", "#3f82c8", "#86bdf5", "#e6f3ff"),
}
"""Colours from one value in a cell to the largest count, by theme. The style sheet repeats them for the legend."""

_Counts = npt.NDArray[np.int64]


def heat_map(
    label: str,
    name: str,
    by_second: Mapping[int, Histogram],
    span: tuple[int, int],
    limits: Sequence[LimitLine] = (),
    marks: TimeMarks = NO_MARKS,
    *,
    counted_in: str,
) -> Chart:
    """Counts of a metric's values by time and latency; latency rows are equal in the logarithm.

    name: prefix that makes its ids unique in the page. by_second: histograms by epoch second, not empty. span,
    limits, marks: as for `over_time`. counted_in: the second in which a value counts, for the caption.
    """
    width = bin_width_s(*span)
    bins = binned(by_second, span[0], width)
    columns = (span[1] - span[0]) // width + 1
    buckets = np.zeros((BUCKETS, columns), np.int64)
    for place, histogram in bins.items():
        buckets[:, place // width] = histogram.buckets()[1]
    near, far = _near(buckets, limits)
    are_wide = any(histogram.relative_error > RELATIVE_ERROR for histogram in bins.values())
    first, step, cells = _cells(buckets, [limit.limit_ms for limit in near], PER_WIDE if are_wide else 1)
    edges = [float(10 ** _decades(first - 1 + step * row)) for row in range(len(cells) + 1)]
    figure, axes = new_figure()
    _paint(axes, cells, (0, columns * width, math.log10(edges[0]), math.log10(edges[-1])))
    marks.draw(axes)
    for limit in near:
        axes.axhline(
            math.log10(limit.limit_ms), color=INKS["limit"], linewidth=1.6, linestyle=DASHES["dotted"]
        )
    _duration_axis(axes)
    time_axis(axes, span, width)
    axes.grid(visible=False)
    ranges = [f"{duration(low)} to {duration(high)}" for low, high in pairwise(edges)]
    most = int(cells.max())
    row, column = (int(place) for place in np.unravel_index(int(cells.argmax()), cells.shape))
    fullest = f"{counted(most, 'value')} of {ranges[row]}, {column * width} s after the start"
    return Chart(
        f"{label}, heat map",
        f"The colour of a cell is the number of values in it, per {interval_name(width)} and latency range. A value "
        f"counts in the second {counted_in}. The colour scale is logarithmic, so that single outliers stay visible.",
        inline_svg(
            figure,
            name,
            f"{label} as a heat map over time. The fullest cell has {fullest}.{marks.alternative}",
        ),
        (
            LegendEntry("first", "ramp", f"1 to {counted(most, 'value')} per cell"),
            *(limit.legend_entry for limit in near),
            *(
                LegendEntry("limit", "dotted", f"{limit.legend_entry.label}, outside the chart")
                for limit in far
            ),
            *marks.legend,
        ),
        ("latency", "values", "most in one cell", "from second"),
        tuple(_table_rows(ranges, cells, width)),
    )


def _table_rows(ranges: Sequence[str], cells: _Counts, width: int) -> Iterator[tuple[str, ...]]:
    """The rows of cells with values, the highest latency first."""
    for row in range(len(cells) - 1, -1, -1):
        if cells[row].any():
            fullest = int(cells[row].argmax())
            values, most = int(cells[row].sum()), int(cells[row, fullest])
            yield ranges[row], count(values), count(most), str(fullest * width)


def _near(buckets: _Counts, limits: Sequence[LimitLine]) -> tuple[list[LimitLine], list[LimitLine]]:
    """The limits near enough to the values to be drawn, and the others."""
    filled = EDGES_MS[np.flatnonzero(buckets.any(axis=1))]
    near = [limit for limit in limits if filled[0] / NEAR <= limit.limit_ms <= filled[-1] * NEAR]
    return near, [limit for limit in limits if limit not in near]


def _cells(buckets: _Counts, limits_ms: Sequence[float], multiple: int) -> tuple[int, int, _Counts]:
    """The first bucket shown, buckets per cell, and counts by row (lowest latency first) and column.

    multiple: the number of buckets in a cell is divisible by it, and cells begin with the first bucket of a wide one.
    """
    filled = np.flatnonzero(buckets.any(axis=1))
    places = [
        int(filled[0]),
        int(filled[-1]),
        *(int(np.searchsorted(EDGES_MS, limit)) for limit in limits_ms),
    ]
    first, last = max(min(places) - 2, 0), min(max(places) + 2, BUCKETS - 1)
    lacking = max(LEAST_BUCKETS - (last - first + 1), 0)
    first = max(first - lacking // 2, 0)
    last = min(max(last, first + LEAST_BUCKETS - 1), BUCKETS - 1)
    values = buckets.sum() / max(int(buckets.any(axis=0).sum()), 1)
    most_rows = min(max(round(4 * math.sqrt(values)), LEAST_ROWS), MOST_ROWS)
    first = max(first - (first - 1) % multiple, 0)
    step = -(-(last - first + 1) // most_rows // multiple) * multiple
    rows = -(-(last - first + 1) // step)
    shown = np.zeros((rows * step, buckets.shape[1]), np.int64)
    inside = buckets[first : first + rows * step]
    shown[: len(inside)] = inside
    return first, step, shown.reshape(rows, step, -1).sum(axis=1)


def _decades(bucket: int) -> float:
    """Decimal logarithm of a bucket's upper edge in ms."""
    return math.log10(LOWEST_MS) + bucket / BUCKETS_PER_DECADE


def _paint(axes: Axes, cells: _Counts, extent: tuple[float, float, float, float]) -> None:
    """Draw one bitmap per theme over each other; the style sheet shows one of them (see svg.THEMES)."""
    share = np.log(np.maximum(cells, 1)) / max(math.log(int(cells.max())), 1e-9)
    for theme, ramp in RAMPS.items():
        pixels = np.zeros((*cells.shape, 4), np.uint8)
        steps = np.linspace(0, 1, len(ramp))
        colours = np.array([[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in ramp])
        for channel in range(3):
            pixels[..., channel] = np.interp(share, steps, colours[:, channel]).round()
        pixels[..., 3] = np.where(cells > 0, 255, 0)
        picture = axes.imshow(pixels, extent=extent, aspect="auto", interpolation="none", origin="lower")
        picture.set_gid(theme)


def _duration_axis(axes: Axes) -> None:
    """Label an axis of logarithms with durations."""
    low, high = axes.get_ylim()
    values = [
        base * 10.0**decade
        for decade in range(math.floor(low), math.ceil(high) + 1)
        for base in tick_steps(high - low)
        if low <= math.log10(base) + decade <= high
    ]
    axes.set_yticks([math.log10(value) for value in values], [duration(value) for value in values])
