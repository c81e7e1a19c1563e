"""Slower than last time? A difference with its confidence interval, so that noise is not taken for news.

The runs of one test are not independent: neighbours in time share the server's state. So what is resampled
is blocks of several successive seconds, with all that was measured in them (circular block bootstrap:
Politis and Romano, 1992). It sees the variation within the two tests only; whatever differed between
them, another machine say, counts as a difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.results.histogram import MIDDLES_MS, nearest_rank
from harness.results.metrics import PERCENTILES
from harness.results.store import Results

Verdict = Literal["better", "same", "worse", "inconclusive"]
_Counts = npt.NDArray[np.int64]

RESAMPLES = 400
BLOCK_S = 5
SMALLEST_EFFECT = 0.05
"""Relative differences below this are not worth failing for."""
CONFIDENCE = 0.95
LEAST_S = 4 * BLOCK_S
"""Fewer blocks than four say next to nothing about how blocks vary."""
LEAST_BEYOND = 10
"""So many values must lie above a percentile; with fewer it is one slow run's luck."""

_SEED = 20240607


@dataclass(frozen=True, slots=True)
class Comparison:
    """One objective's metric, now and in the baseline.

    value, baseline: in ms. difference: value / baseline - 1; low, high: its confidence interval at
    CONFIDENCE. None where there is nothing to compute; detail says why.
    """

    key: str
    value: float | None
    baseline: float | None
    difference: float | None
    low: float | None
    high: float | None
    verdict: Verdict
    detail: str = ""


def compare(results: Results, baseline: Results, key: str, metric: str, word: str) -> Comparison:
    """Compare one percentile (a word of PERCENTILES) of a metric with the baseline's.

    worse: slower by SMALLEST_EFFECT or more, and the interval is above 0. better: likewise below. same: the
    whole interval is nearer to 0 than SMALLEST_EFFECT. Otherwise inconclusive, as also where there is too
    little data for an interval. The histograms' buckets resolve a difference to about 2%. The same files
    give the same answer: the resampling is seeded.
    """
    percent = PERCENTILES[word]
    value = results.histogram(metric).percentile(percent)
    base = baseline.histogram(metric).percentile(percent)
    if value is None or base is None:
        where = "here" if value is None else "in the baseline"
        return Comparison(key, value, base, None, None, None, "inconclusive", f"not measured {where}")
    if base <= 0:
        return Comparison(key, value, base, None, None, None, "inconclusive", "the baseline is not above 0")
    difference = value / base - 1
    now, then = _counts_by_second(results, metric), _counts_by_second(baseline, metric)
    problem = _too_little(now, percent) or _too_little(then, percent)
    if problem:
        return Comparison(key, value, base, difference, None, None, "inconclusive", problem)
    rng = np.random.default_rng(_SEED)
    differences = _resampled(now, percent, rng) / _resampled(then, percent, rng) - 1
    tail = (1 - CONFIDENCE) / 2
    low, high = (float(bound) for bound in np.quantile(differences, (tail, 1 - tail)))
    return Comparison(key, value, base, difference, low, high, _verdict(difference, low, high))


def _verdict(difference: float, low: float, high: float) -> Verdict:
    if difference >= SMALLEST_EFFECT and low > 0:
        return "worse"
    if difference <= -SMALLEST_EFFECT and high < 0:
        return "better"
    return "same" if low > -SMALLEST_EFFECT and high < SMALLEST_EFFECT else "inconclusive"


def _counts_by_second(results: Results, metric: str) -> _Counts:
    """Bucket counts, a row for each second from the first to the last, empty ones too: a gap is a fact."""
    seconds = results.histograms_by_second(metric)
    first, last = min(seconds), max(seconds)
    counts = np.zeros((last - first + 1, len(MIDDLES_MS)), np.int64)
    for second, histogram in seconds.items():
        counts[second - first] = histogram.buckets()[1]
    return counts


def _too_little(counts: _Counts, percent: float) -> str:
    beyond = counts.sum() * (100 - percent) / 100
    if percent == 100:
        return "a maximum is a single value and has no confidence interval"
    if len(counts) < LEAST_S:
        return f"{len(counts)} s of data are too few: it takes {LEAST_S} s"
    if beyond < LEAST_BEYOND:
        return f"{counts.sum()} values are too few: {LEAST_BEYOND} must lie beyond the percentile"
    return ""


def _resampled(counts: _Counts, percent: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """The percentile in ms of each of RESAMPLES resamples."""
    seconds = len(counts)
    starts = rng.integers(0, seconds, (RESAMPLES, -(-seconds // BLOCK_S), 1))
    chosen = ((starts + np.arange(BLOCK_S)) % seconds).reshape(RESAMPLES, -1)[:, :seconds]
    weights = np.stack([np.bincount(row, minlength=seconds) for row in chosen])
    # Floats are exact to 2^53 and multiply ten times as fast as integers do.
    cumulative = np.cumsum(weights.astype(np.float64) @ counts.astype(np.float64), axis=1)
    ranks = np.array([nearest_rank(percent, int(total)) for total in cumulative[:, -1]])
    percentiles: npt.NDArray[np.float64] = MIDDLES_MS[(cumulative < ranks[:, None]).sum(axis=1)]
    return percentiles
