"""How often which latency came when: a heat map, whose dense part is a picture of one pixel a cell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from harness.reports.chart_style import (
    DASHES,
    Chart,
    Key,
    Limit,
    bin_width_s,
    binned,
    new_figure,
    per,
    shade_warmup,
    tick_steps,
    time_axis,
    warmup_keys,
)
from harness.results.histogram import BUCKETS, BUCKETS_PER_DECADE, EDGES_MS, LOWEST_MS, Histogram

from .svg import INKS, inline_svg
from .text import count, counted, duration

LEAST_ROWS, MOST_ROWS = 18, 72
"""Cells above each other: the more, the more values there are to fill them."""

LEAST_BUCKETS = 24
"""So many of the histogram's buckets are shown at least, about a quarter more than the lowest of them."""

NEAR = 4.0
"""A limit is drawn up to so many times the largest value; a farther one would leave no room for the values."""

RAMPS = {
    "day": ("#dbe7f5", "#a3c2e6", "#5f94cf", "#2a63a8", "#0c2f63"),
    "night": ("#1c2f4a", "#28518a", "#3f82c8", "#86bdf5", "#e6f3ff"),
}
"""Colours from one value in a cell to the most, on light ground and on dark; the style sheet has them for the key."""

_Counts = npt.NDArray[np.int64]


def heat_map(
    label: str,
    name: str,
    by_second: Mapping[int, Histogram],
    span: tuple[int, int],
    limits: Sequence[Limit] = (),
    *,
    warmup_s: int = 0,
    when: str,
) -> Chart:
    """How many of a metric's values lie in each range of the logarithm, second by second (or wider bins).

    name: makes its ids unique in the page. by_second: histograms by epoch second, not empty. span, limits,
    warmup_s: as for `over_time`. when: which second a value stands at, for the caption.
    """
    width = bin_width_s(*span)
    bins = binned(by_second, span[0], width)
    columns = (span[1] - span[0]) // width + 1
    buckets = np.zeros((BUCKETS, columns), np.int64)
    for place, histogram in bins.items():
        buckets[:, place // width] = histogram.buckets()[1]
    near, far = _near(buckets, limits)
    first, step, cells = _cells(buckets, [limit.limit_ms for limit in near])
    edges = [float(10 ** _decades(first - 1 + step * row)) for row in range(len(cells) + 1)]
    figure, axes = new_figure()
    _paint(axes, cells, (0, columns * width, math.log10(edges[0]), math.log10(edges[-1])))
    shade_warmup(axes, warmup_s)
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
    busiest = f"{counted(most, 'value')} of {ranges[row]} {column * width} s after the start"
    return Chart(
        f"{label}, heat map",
        f"Each cell is coloured by how many values are in it, {per(width)}: a value stands at the second {when}. "
        "Colours are even in the logarithm of the count, so that a single outlier is seen.",
        inline_svg(figure, name, f"{label} as a heat map over time. The fullest cell has {busiest}."),
        (
            Key("first", "ramp", f"one value to {count(most)}"),
            *(limit.key for limit in near),
            *(Key("limit", "dotted", f"{limit.key.label}, outside the picture") for limit in far),
            *warmup_keys(warmup_s),
        ),
        ("latency", "values", "most in one cell", "that cell, from second"),
        tuple(_numbers(ranges, cells, width)),
    )


def _numbers(ranges: Sequence[str], cells: _Counts, width: int) -> Iterator[tuple[str, ...]]:
    """The rows of the picture that have values, the highest latency first."""
    for row in range(len(cells) - 1, -1, -1):
        if cells[row].any():
            fullest = int(cells[row].argmax())
            values, most = int(cells[row].sum()), int(cells[row, fullest])
            yield ranges[row], count(values), count(most), str(fullest * width)


def _near(buckets: _Counts, limits: Sequence[Limit]) -> tuple[list[Limit], list[Limit]]:
    """The limits that lie near enough to the values to be in the picture, and the others."""
    filled = EDGES_MS[np.flatnonzero(buckets.any(axis=1))]
    near = [one for one in limits if filled[0] / NEAR <= one.limit_ms <= filled[-1] * NEAR]
    return near, [one for one in limits if one not in near]


def _cells(buckets: _Counts, limits_ms: Sequence[float]) -> tuple[int, int, _Counts]:
    """The first bucket shown, buckets to a cell, and counts by row, the lowest latency first, and column."""
    filled = np.flatnonzero(buckets.any(axis=1))
    places = [int(filled[0]), int(filled[-1]), *(int(np.searchsorted(EDGES_MS, one)) for one in limits_ms)]
    first, last = max(min(places) - 2, 0), min(max(places) + 2, BUCKETS - 1)
    lacking = max(LEAST_BUCKETS - (last - first + 1), 0)
    first = max(first - lacking // 2, 0)
    last = min(max(last, first + LEAST_BUCKETS - 1), BUCKETS - 1)
    values = buckets.sum() / max(int(buckets.any(axis=0).sum()), 1)
    wanted = min(max(round(4 * math.sqrt(values)), LEAST_ROWS), MOST_ROWS)
    step = -(-(last - first + 1) // wanted)
    rows = -(-(last - first + 1) // step)
    shown = np.zeros((rows * step, buckets.shape[1]), np.int64)
    inside = buckets[first : first + rows * step]
    shown[: len(inside)] = inside
    return first, step, shown.reshape(rows, step, -1).sum(axis=1)


def _decades(bucket: int) -> float:
    """The logarithm of a bucket's upper edge in ms; the lower edge of the bucket after it."""
    return math.log10(LOWEST_MS) + bucket / BUCKETS_PER_DECADE


def _paint(axes: Axes, cells: _Counts, extent: tuple[float, float, float, float]) -> None:
    """Two pictures over each other, of which the style sheet shows one: see svg.PICTURES."""
    share = np.log(np.maximum(cells, 1)) / max(math.log(int(cells.max())), 1e-9)
    for theme, ramp in RAMPS.items():
        pixels = np.zeros((*cells.shape, 4), np.uint8)
        steps = np.linspace(0, 1, len(ramp))
        colours = np.array([[int(one[at : at + 2], 16) for at in (1, 3, 5)] for one in ramp])
        for channel in range(3):
            pixels[..., channel] = np.interp(share, steps, colours[:, channel]).round()
        pixels[..., 3] = np.where(cells > 0, 255, 0)
        picture = axes.imshow(pixels, extent=extent, aspect="auto", interpolation="none", origin="lower")
        picture.set_gid(theme)


def _duration_axis(axes: Axes) -> None:
    """Labels durations on an axis of logarithms."""
    low, high = axes.get_ylim()
    values = [
        base * 10.0**decade
        for decade in range(math.floor(low), math.ceil(high) + 1)
        for base in tick_steps(high - low)
        if low <= math.log10(base) + decade <= high
    ]
    axes.set_yticks([math.log10(value) for value in values], [duration(value) for value in values])
