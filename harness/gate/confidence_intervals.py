"""Confidence intervals of percentiles and shares, from the variation within one test.

The runs of a test are not independent: runs close in time share the server's caches, queues and state. So blocks of
successive seconds are resampled with everything measured in them (circular block bootstrap: Politis and Romano,
1992). Blocks are long enough to be nearly independent (`block_length_s`). The percentile of a resample is computed
as in the histogram: nearest rank, middle of the bucket, exact at both ends.

A few blocks underestimate the variation between blocks. So intervals are widened by the ratio of Student's t to the
normal distribution, and by the narrowness bias of the bootstrap, sqrt(k / (k - 1)) for k blocks (Hesterberg, What
Teachers Should Know About the Bootstrap, The American Statistician 69(4), 2015).

An interval of a percentile is never narrower than the resolution of the histogram. The variation between tests is
not included; see harness.gate.comparison.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from harness.booleans import is_number
from harness.results.histogram import LOWEST_MS, MIDDLES_MS, Histogram, nearest_rank
from harness.results.metrics import SHARE_COUNTS, ShareName
from harness.results.reader import Results

CONFIDENCE = 0.95
RESAMPLES = 400
LEAST_BLOCKS = 4
"""Fewer blocks tell next to nothing about their variation."""
LEAST_S = 16
"""In shorter tests, blocks would be shorter than 4 s and cut runs apart: a run takes seconds."""
UNUSED_S = 2
"""Seconds at the ends of a long enough test in which nothing of a metric may fall: chance decides about them."""
MOST_ROWS = 900
"""In longer tests, several seconds form one row of the resampling, to bound memory and time."""
LEAST_BEYOND = 10
"""Values that must lie beyond a percentile; with fewer, single slow runs decide."""

_USUAL_BLOCKS = 20
"""Blocks of a test that is long enough to decide about a rare failure."""
_LEAST_DISTANCE = 1e-6
_SEED = 20240607
_NORMAL = NormalDist()
STARTED_MS = 10.0
"""Added to a latency before the logarithm that makes the noise of all latencies alike; see harness.gate.noise. About
what the scheduler of a busy machine adds to a response."""
_Floats = npt.NDArray[np.float64]
_LAST_READ: WeakKeyDictionary[Results, tuple[Any, _SecondBlocks | None]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value from one file, with its uncertainty.

    value, low, high: in ms for a percentile, 0 to 1 for a share; low and high are the ends of the interval at
    CONFIDENCE. sd: standard error of the value (of its `started_log` for a percentile). blocks: number of time blocks.
    """

    value: float
    low: float
    high: float
    sd: float
    blocks: int


def percentile_interval(
    results: Results, metric: str, percent: float, journey: str | None = None
) -> tuple[float, float] | None:
    """The interval at CONFIDENCE of a percentile, in the unit of the metric; None if there is too little data.

    Needs LEAST_S seconds of data and LEAST_BEYOND values beyond the percentile, so a maximum has none. Deterministic:
    the resampling is seeded. Raises ResultsError.
    """
    estimate = percentile_estimate(results, metric, percent, journey)
    return None if isinstance(estimate, str) else (estimate.low, estimate.high)


def share_interval(
    results: Results, share: ShareName, journey: str | None = None
) -> tuple[float, float] | None:
    """The interval at CONFIDENCE of a share, 0 to 1; None if there is too little data."""
    estimate = share_estimate(results, share, journey)
    return None if isinstance(estimate, str) else (estimate.low, estimate.high)


def percentile_estimate(
    results: Results, metric: str, percent: float, journey: str | None = None
) -> Estimate | str:
    """A percentile with its interval, or why there is none."""
    if percent == 100:
        return "a maximum is a single value and has no confidence interval"
    seconds = _read(results, metric, journey)
    return "not measured" if seconds is None else _estimate(seconds, percent, _configured_s(results))


def estimate_of_seconds(histograms: Mapping[int, Histogram], percent: float) -> Estimate | str:
    """`percentile_estimate` for histograms by second in memory."""
    return _estimate(_SecondBlocks.of(histograms), percent) if histograms else "not measured"


def _estimate(seconds: _SecondBlocks, percent: float, configured_s: float | None = None) -> Estimate | str:
    problem = _too_little(seconds.duration_s, configured_s, seconds.total.count, percent)
    if problem:
        return problem
    value = max(seconds.total.percentile(percent) or 0.0, LOWEST_MS)
    length = max(1, round(block_length_s(seconds.duration_s) / seconds.row_s))
    chosen = _chosen(len(seconds.counts), length)
    resampled = np.maximum(seconds.percentiles(percent, chosen), LOWEST_MS)
    deviations = np.log(resampled) - math.log(value)
    blocks = len(seconds.counts) // length
    low, high = _interval(deviations, blocks)
    return Estimate(
        value=value,
        low=value * math.exp(low - seconds.total.relative_error),
        high=value * math.exp(high + seconds.total.relative_error),
        sd=math.hypot(
            _standard_error(np.log(resampled + STARTED_MS) - started_log(value), blocks),
            bucket_sd(seconds.total),
        ),
        blocks=blocks,
    )


def bucket_sd(histogram: Histogram) -> float:
    """Standard deviation of a logarithm, due to the width of a bucket."""
    return math.log(histogram.growth) / math.sqrt(12)


BUCKET_SD = bucket_sd(Histogram())
"""The same for what this version measures."""


def started_log(value_ms: float) -> float:
    """A latency on the scale on which its noise does not depend on it: see harness.gate.noise."""
    return math.log(max(value_ms, 0.0) + STARTED_MS)


def _read(results: Results, metric: str, journey: str | None) -> _SecondBlocks | None:
    """A metric by second. The last one read of each file is cached, for several percentiles of one metric."""
    files = (results.path, results.path.with_name(f"{results.path.name}-wal"))
    stamps = [(stat.st_mtime_ns, stat.st_size) for stat in (file.stat() for file in files if file.exists())]
    key = (metric, journey, tuple(stamps))
    cached = _LAST_READ.get(results)
    if cached is None or cached[0] != key:
        span = results.seconds_of(metric, journey, "measured")
        width_s, first = (1, 0) if span is None else (_row_s(*span), span[0])
        rows = results.histograms_by_second(metric, journey, width_s=width_s, first=first)
        cached = key, _SecondBlocks.of(rows, span) if rows else None
        _LAST_READ[results] = cached
    return cached[1]


def share_estimate(results: Results, share: ShareName, journey: str | None = None) -> Estimate | str:
    """A share with its interval, or why there is none.

    If nothing (or everything) failed, resampling shows no variation; so the standard error is at least that of
    independent streams with two more of each kind (Agresti and Coull, 1998).
    """
    counts = _share_counts(results, share, journey)
    if not counts or not (total := sum(of for _, of in counts.values())):
        return "not measured"
    value = sum(hits for hits, _ in counts.values()) / total
    first, duration_s = min(counts), max(counts) - min(counts) + 1
    problem = _too_little(duration_s, _configured_s(results), total, 50.0)
    if problem:
        return problem
    row_s = -(-duration_s // MOST_ROWS)
    series = np.zeros((-(-duration_s // row_s), 2))
    for second, pair in counts.items():
        series[(second - first) // row_s] += pair
    length = max(1, round(block_length_s(duration_s) / row_s))
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
    """Standard error of a share of independent cases, with two more of each kind (see `share_estimate`)."""
    smoothed = (value * cases + 2) / (cases + 4)
    return math.sqrt(smoothed * (1 - smoothed) / (cases + 4))


def cases_to_decide(value: float, limit: float) -> int | None:
    """How many independent cases it takes until the interval of a share excludes a limit, if the share stays as it is.

    Rounded up to two digits. None if no number of cases does.
    """
    distance = abs(value - limit)
    if distance < _LEAST_DISTANCE:
        return None
    quantile = t_quantile((1 + CONFIDENCE) / 2, _USUAL_BLOCKS - 1)
    low, high = 0, 1
    while quantile * least_sd_of_share(value, high) >= distance:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (middle, high) if quantile * least_sd_of_share(value, middle) >= distance else (low, middle)
        )
    return rounded_up(high)


def rounded_up(number: float) -> int:
    """To two digits: 2,941 is 3,000."""
    unit: int = 10 ** max(0, len(str(math.ceil(number))) - 2)
    return math.ceil(number / unit) * unit


def block_length_s(seconds: int) -> int:
    """Length of a block for a test of that many seconds.

    Twice the square root: both the length and the number of blocks grow with the test, so blocks become independent
    (Flegal and Jones, Annals of Statistics 38(2), 2010, use the square root; tests/gate/test_confidence_intervals.py
    shows why twice that). Never so long that fewer than LEAST_BLOCKS remain, which limits it below a minute.
    """
    return max(1, min(math.ceil(2 * math.sqrt(seconds)), seconds // LEAST_BLOCKS))


@dataclass(frozen=True, slots=True)
class _SecondBlocks:
    """A metric by second, for resampling.

    counts: one row per row_s seconds (1 in all but long tests), including empty ones, because gaps are part of the
    data; one column per bucket that is filled in any row. middles: the representative value of each column. smallest,
    largest: extremes of each row. All in ms. total: of all seconds. duration_s: from the first second to the last.
    """

    counts: _Floats
    middles: _Floats
    smallest: _Floats
    largest: _Floats
    total: Histogram
    row_s: int
    duration_s: int

    @classmethod
    def of(cls, seconds: Mapping[int, Histogram], span: tuple[int, int] | None = None) -> _SecondBlocks:
        """span: the first and the last second, if `seconds` are already added up by rows."""
        total = _merged(seconds.values())
        filled = np.flatnonzero(total.buckets()[1])
        first, last = span or (min(seconds), max(seconds))
        duration_s = last - first + 1
        row_s = _row_s(first, last)
        rows = -(-duration_s // row_s)
        # Floats are exact up to 2^53 and multiply ten times as fast as integers.
        counts = np.zeros((rows, len(filled)))
        smallest, largest = np.full(rows, np.inf), np.full(rows, -np.inf)
        for second, histogram in seconds.items():
            row = (second - first) // row_s
            counts[row] += histogram.buckets()[1][filled]
            smallest[row] = min(smallest[row], np.inf if histogram.min is None else histogram.min)
            largest[row] = max(largest[row], -np.inf if histogram.max is None else histogram.max)
        return cls(counts, MIDDLES_MS[filled], smallest, largest, total, row_s, duration_s)

    def percentiles(self, percent: float, chosen: npt.NDArray[np.int64]) -> _Floats:
        """The percentile of each resample, as in harness.results.histogram. chosen: row indexes per resample."""
        seconds = len(self.counts)
        weights = np.stack([np.bincount(row, minlength=seconds) for row in chosen]).astype(np.float64)
        cumulative = np.cumsum(weights @ self.counts, axis=1)
        totals = cumulative[:, -1].astype(np.int64)
        ranks = np.array([nearest_rank(percent, int(total)) for total in totals])
        buckets = np.minimum((cumulative < ranks[:, None]).sum(axis=1), len(self.middles) - 1)
        smallest, largest = self.smallest[chosen].min(axis=1), self.largest[chosen].max(axis=1)
        values = np.clip(self.middles[buckets], smallest, largest)
        values = np.where(ranks == totals, largest, values)
        values = np.where(ranks == 1, smallest, values)
        measured: _Floats = values[totals > 0]  # a resample without values has no percentile
        return measured


def _row_s(first: int, last: int) -> int:
    """Seconds in a row of the resampling of a test from `first` to `last`."""
    return -(-(last - first + 1) // MOST_ROWS)


def _merged(histograms: Iterable[Histogram]) -> Histogram:
    total = Histogram()
    for histogram in histograms:
        total.merge(histogram)
    return total


def _configured_s(results: Results) -> float | None:
    """How long the test was to measure; None if that is not recorded."""
    settings = results.manifest.get("settings")
    load = settings.get("load") if isinstance(settings, dict) else None
    duration_s, warmup_s = (
        (load.get(name) for name in ("duration", "warmup")) if isinstance(load, dict) else (0, 0)
    )
    return duration_s - (warmup_s or 0.0) if is_number(duration_s) and duration_s else None


def _too_little(seconds: int, configured_s: float | None, values: int, percent: float) -> str:
    """seconds: from the first to the last with data. One more or less of them is chance, so the duration decides."""
    if configured_s is not None and configured_s < LEAST_S:
        return f"too short a test ({configured_s:g} s): at least {LEAST_S} s are needed"
    if seconds < LEAST_S - (UNUSED_S if configured_s is not None else 0):
        return f"too few seconds of data ({seconds}): at least {LEAST_S} are needed"
    if values * min(percent, 100 - percent) / 100 < LEAST_BEYOND:
        return f"too few values ({values}): at least {LEAST_BEYOND} must lie beyond the percentile"
    return ""


@lru_cache(maxsize=8)  # the metrics of one file mostly have equal numbers of seconds and blocks
def _chosen(seconds: int, length: int) -> npt.NDArray[np.int64]:
    """RESAMPLES rows of that many indexes, in blocks that start anywhere and wrap around the end."""
    rng = np.random.default_rng(_SEED)
    starts = rng.integers(0, seconds, (RESAMPLES, -(-seconds // length), 1))
    rows = ((starts + np.arange(length)) % seconds).reshape(RESAMPLES, -1)[:, :seconds]
    rows.flags.writeable = False
    return rows


def _share_counts(results: Results, share: ShareName, journey: str | None) -> dict[int, tuple[int, int]]:
    """Numerator and denominator by epoch second, without warm-up."""
    hit, case = SHARE_COUNTS[share]
    return {
        second: (getattr(counts, hit), getattr(counts, case))
        for second, counts in results.rate_counts_by_second(journey).items()
        if second >= (results.measured_from or second)
    }


def _interval(deviations: _Floats, blocks: int) -> tuple[float, float]:
    """Both ends relative to the value: quantiles of the resamples, widened for few blocks; they enclose 0."""
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(end) for end in np.quantile(deviations, (tail, 1 - tail)))
    few = math.sqrt(blocks / (blocks - 1)) * t_quantile(1 - tail, blocks - 1) / _NORMAL.inv_cdf(1 - tail)
    return min(low * few, 0.0), max(high * few, 0.0)


def _standard_error(deviations: _Floats, blocks: int) -> float:
    return float(deviations.std()) * math.sqrt(blocks / (blocks - 1))


@lru_cache(maxsize=256)
def t_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t with `freedom` degrees of freedom, for a probability above one half.

    Bisects the distribution function, a finite series for integer degrees of freedom (Abramowitz and Stegun, 26.7.3
    and 26.7.4). Raises ValueError outside 0.5 to 1, or below 1 degree of freedom.
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
    if freedom > 300:  # the series is long, and the normal distribution is close enough
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
