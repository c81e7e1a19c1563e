"""How far a percentile, or a share, may be off, from how it varies within its own test.

The runs of one test are not independent: neighbours in time share the server's caches, queues and state. So
what is resampled is blocks of successive seconds, each with all that was measured in it (circular block
bootstrap: Politis and Romano, 1992), so long that one remembers little of the last (`block_length_s`). A
resample's percentile is the histogram's own: nearest rank, the middle of its bucket, exact at both ends.

Few blocks show too little of how blocks vary, so an interval is stretched as Student's t is wider than the
normal distribution, and by the bootstrap's own narrowness, sqrt(k / (k - 1)) for k blocks (Hesterberg, What
Teachers Should Know About the Bootstrap, The American Statistician 69(4), 2015).

No interval of a percentile is narrower than the histogram resolves. And each is within one test: what makes
one test differ from the next does not show in it. harness.gate.comparison has that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from harness.results.histogram import GROWTH, LOWEST_MS, MIDDLES_MS, RELATIVE_ERROR, Histogram, nearest_rank
from harness.results.reader import Results

CONFIDENCE = 0.95
RESAMPLES = 400
LEAST_BLOCKS = 4
"""Fewer say next to nothing about how blocks vary."""
LEAST_S = 16
"""In less, blocks would be shorter than 4 s, and part what belongs together: a run takes seconds."""
MOST_ROWS = 900
"""In a longer test several seconds make a row of what is resampled: memory and time stay bounded."""
LEAST_BEYOND = 10
"""So many values must lie beyond a percentile; with fewer it is one slow run's luck."""

_SEED = 20240607
_NORMAL = NormalDist()
BUCKET_SD = math.log(GROWTH) / math.sqrt(12)
"""The standard deviation of a logarithm that is known but for its place in a bucket."""
_Floats = npt.NDArray[np.float64]
_LAST_READ: WeakKeyDictionary[Results, tuple[Any, _SecondBlocks | None]] = WeakKeyDictionary()
Interval = Literal["error_rate", "goodput"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one file says of a quantity, and how sure.

    value, low, high: in ms for a percentile, 0 to 1 for a share; low and high are the ends of the interval at
    CONFIDENCE. sd: the standard error of the value, of its logarithm for a percentile. blocks: how many
    blocks of time that rests on.
    """

    value: float
    low: float
    high: float
    sd: float
    blocks: int


def percentile_interval(
    results: Results, metric: str, percent: float, journey: str | None = None
) -> tuple[float, float] | None:
    """The interval at CONFIDENCE of a metric's percentile, in the metric's unit; None where there is too little.

    It takes LEAST_S seconds of data and LEAST_BEYOND values beyond the percentile, so a maximum has none.
    The same file gives the same answer: the resampling is seeded. Raises ResultsError.
    """
    found = percentile_estimate(results, metric, percent, journey)
    return None if isinstance(found, str) else (found.low, found.high)


def share_interval(
    results: Results, share: Interval, journey: str | None = None
) -> tuple[float, float] | None:
    """The interval at CONFIDENCE of error_rate or goodput, 0 to 1; None where there is too little for one."""
    found = share_estimate(results, share, journey)
    return None if isinstance(found, str) else (found.low, found.high)


def percentile_estimate(
    results: Results, metric: str, percent: float, journey: str | None = None
) -> Estimate | str:
    """A metric's percentile with its interval, or why there is none."""
    if percent == 100:
        return "a maximum is a single value and has no confidence interval"
    seconds = _read(results, metric, journey)
    return "not measured" if seconds is None else _estimate(seconds, percent)


def estimate_of_seconds(histograms: Mapping[int, Histogram], percent: float) -> Estimate | str:
    """The same of histograms by second that are read already."""
    return _estimate(_SecondBlocks.of(histograms), percent) if histograms else "not measured"


def _estimate(seconds: _SecondBlocks, percent: float) -> Estimate | str:
    problem = _too_little(seconds.duration_s, seconds.total.count, percent)
    if problem:
        return problem
    value = max(seconds.total.percentile(percent) or 0.0, LOWEST_MS)
    length = max(1, round(block_length_s(seconds.duration_s) / seconds.row_s))
    chosen = _chosen(len(seconds.counts), length)
    deviations = np.log(np.maximum(seconds.percentiles(percent, chosen), LOWEST_MS)) - math.log(value)
    blocks = len(seconds.counts) // length
    low, high = _interval(deviations, blocks)
    return Estimate(
        value=value,
        low=value * math.exp(low - RELATIVE_ERROR),
        high=value * math.exp(high + RELATIVE_ERROR),
        sd=math.hypot(_standard_error(deviations, blocks), BUCKET_SD),
        blocks=blocks,
    )


def _read(results: Results, metric: str, journey: str | None) -> _SecondBlocks | None:
    """A metric second by second. What was read last of a file is kept, as several percentiles of it are wanted."""
    files = (results.path, results.path.with_name(f"{results.path.name}-wal"))
    stamps = [(stat.st_mtime_ns, stat.st_size) for stat in (file.stat() for file in files if file.exists())]
    key = (metric, journey, tuple(stamps))
    kept = _LAST_READ.get(results)
    if kept is None or kept[0] != key:
        histograms = results.histograms_by_second(metric, journey)
        kept = key, _SecondBlocks.of(histograms) if histograms else None
        _LAST_READ[results] = kept
    return kept[1]


def share_estimate(results: Results, share: Interval, journey: str | None = None) -> Estimate | str:
    """error_rate or goodput with its interval, or why there is none.

    Where nothing (or everything) failed, resampling would show no variation at all; so the standard error is
    at least that of independent streams after two more of either kind (Agresti and Coull, 1998).
    """
    counts = _share_counts(results, share, journey)
    if not counts or not (total := sum(of for _, of in counts.values())):
        return "not measured, or not second by second"
    value = sum(hits for hits, _ in counts.values()) / total
    problem = _too_little(max(counts) - min(counts) + 1, total, 50.0)
    if problem:
        return problem
    series = np.zeros((max(counts) - min(counts) + 1, 2))
    for second, pair in counts.items():
        series[second - min(counts)] = pair
    length = block_length_s(len(series))
    sums = series[_chosen(len(series), length)].sum(axis=1)
    deviations = sums[:, 0] / np.maximum(sums[:, 1], 1) - value
    blocks = len(series) // length
    least = least_sd_of_share(value, total)
    sd = max(_standard_error(deviations, blocks), least)
    low, high = _interval(deviations, blocks)
    margin = t_quantile((1 + CONFIDENCE) / 2, blocks - 1) * least
    return Estimate(
        value, max(0.0, value + min(low, -margin)), min(1.0, value + max(high, margin)), sd, blocks
    )


def least_sd_of_share(value: float, cases: int) -> float:
    """The standard error of a share of so many independent cases, after two more of either kind (see above)."""
    smoothed = (value * cases + 2) / (cases + 4)
    return math.sqrt(smoothed * (1 - smoothed) / (cases + 4))


def block_length_s(seconds: int) -> int:
    """How many successive seconds are resampled together, of a test that has that many.

    Twice the square root: blocks that grow so, in length and in number, forget what was before them (Flegal and
    Jones, Annals of Statistics 38(2), 2010, who take the square root; tests/gate/test_intervals.py has what twice
    of it is good for). At most what leaves LEAST_BLOCKS of them, as it is of all tests under a minute.
    """
    return max(1, min(math.ceil(2 * math.sqrt(seconds)), seconds // LEAST_BLOCKS))


@dataclass(frozen=True, slots=True)
class _SecondBlocks:
    """A metric second by second, for the resampling of them.

    counts: a row a second, or, of a long test, a row for every row_s of them, empty ones too: a gap is a fact; and
    a column for each bucket that is filled at all, of which middles has what it stands for. smallest, largest:
    each row's extremes. All in ms. total: of all seconds. duration_s: from the first second to the last.
    """

    counts: _Floats
    middles: _Floats
    smallest: _Floats
    largest: _Floats
    total: Histogram
    row_s: int
    duration_s: int

    @classmethod
    def of(cls, seconds: Mapping[int, Histogram]) -> _SecondBlocks:
        total = _merged(seconds.values())
        filled = np.flatnonzero(total.buckets()[1])
        first, last = min(seconds), max(seconds)
        duration_s = last - first + 1
        row_s = -(-duration_s // MOST_ROWS)
        rows = -(-duration_s // row_s)
        # Floats are exact to 2^53 and multiply ten times as fast as integers do.
        counts = np.zeros((rows, len(filled)))
        smallest, largest = np.full(rows, np.inf), np.full(rows, -np.inf)
        for second, histogram in seconds.items():
            row = (second - first) // row_s
            counts[row] += histogram.buckets()[1][filled]
            smallest[row] = min(smallest[row], np.inf if histogram.min is None else histogram.min)
            largest[row] = max(largest[row], -np.inf if histogram.max is None else histogram.max)
        return cls(counts, MIDDLES_MS[filled], smallest, largest, total, row_s, duration_s)

    def percentiles(self, percent: float, chosen: npt.NDArray[np.int64]) -> _Floats:
        """The percentile of each row of chosen seconds, as harness.results.histogram defines it."""
        seconds = len(self.counts)
        weights = np.stack([np.bincount(row, minlength=seconds) for row in chosen]).astype(np.float64)
        cumulative = np.cumsum(weights @ self.counts, axis=1)
        totals = cumulative[:, -1].astype(np.int64)
        ranks = np.array([nearest_rank(percent, int(total)) for total in totals])
        buckets = np.minimum((cumulative < ranks[:, None]).sum(axis=1), len(self.middles) - 1)
        smallest, largest = self.smallest[chosen].min(axis=1), self.largest[chosen].max(axis=1)
        found = np.clip(self.middles[buckets], smallest, largest)
        found = np.where(ranks == totals, largest, found)
        found = np.where(ranks == 1, smallest, found)
        measured: _Floats = found[totals > 0]  # of blocks without a value there is no percentile
        return measured


def _merged(histograms: Iterable[Histogram]) -> Histogram:
    total = Histogram()
    for histogram in histograms:
        total.merge(histogram)
    return total


def _too_little(seconds: int, values: int, percent: float) -> str:
    if seconds < LEAST_S:
        return f"{seconds} s of data are too few: it takes {LEAST_S} s"
    if values * min(percent, 100 - percent) / 100 < LEAST_BEYOND:
        return f"{values} values are too few: {LEAST_BEYOND} must lie beyond the percentile"
    return ""


@lru_cache(maxsize=8)  # the metrics of one file mostly have the same seconds and blocks
def _chosen(seconds: int, length: int) -> npt.NDArray[np.int64]:
    """RESAMPLES rows of as many seconds, in blocks that begin anywhere and go around the end."""
    rng = np.random.default_rng(_SEED)
    starts = rng.integers(0, seconds, (RESAMPLES, -(-seconds // length), 1))
    rows = ((starts + np.arange(length)) % seconds).reshape(RESAMPLES, -1)[:, :seconds]
    rows.flags.writeable = False
    return rows


def _share_counts(results: Results, share: Interval, journey: str | None) -> dict[int, tuple[int, int]]:
    """Hits and cases by epoch second, of those that count."""
    hit, case = ("failed", "judged") if share == "error_rate" else ("good", "runs")
    return {
        second: (getattr(tally, hit) or 0, getattr(tally, case) or 0)
        for second, tally in results.rate_counts_by_second(journey).items()
        if second >= (results.measured_from or second)
    }


def _interval(deviations: _Floats, blocks: int) -> tuple[float, float]:
    """Both ends relative to the value, which they enclose: the resamples' quantiles, stretched for few blocks."""
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(end) for end in np.quantile(deviations, (tail, 1 - tail)))
    few = math.sqrt(blocks / (blocks - 1)) * t_quantile(1 - tail, blocks - 1) / _NORMAL.inv_cdf(1 - tail)
    return min(low * few, 0.0), max(high * few, 0.0)


def _standard_error(deviations: _Floats, blocks: int) -> float:
    return float(deviations.std()) * math.sqrt(blocks / (blocks - 1))


@lru_cache(maxsize=256)
def t_quantile(probability: float, freedom: int) -> float:
    """The quantile of Student's t with that many degrees of freedom, for a probability above one half.

    By bisection of its distribution function, a finite series for a whole number of degrees (Abramowitz and
    Stegun, 26.7.3 and 26.7.4). Raises ValueError outside 0.5 to 1, or below 1 degree.
    """
    if not 0.5 < probability < 1 or freedom < 1:
        raise ValueError(f"no quantile of t at {probability} with {freedom} degrees of freedom")
    low, high = 0.0, 1.0
    while _t_probability(high, freedom) < probability:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_probability(middle, freedom) < probability else (low, middle)
    return high


def _t_probability(t: float, freedom: int) -> float:
    if freedom > 300:  # of which a series is long, and the normal distribution's quantile near enough
        return _NORMAL.cdf(t)
    angle = math.atan(t / math.sqrt(freedom))
    cosine = math.cos(angle)
    odd = freedom % 2
    term = total = cosine if odd else 1.0
    for step in range(2 + odd, freedom - 1, 2):
        term *= (step - 1) / step * cosine * cosine
        total += term
    within = 2 / math.pi * (angle + math.sin(angle) * (total if freedom > 1 else 0.0))
    return 0.5 + (within if odd else math.sin(angle) * total) / 2
