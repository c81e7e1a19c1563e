"""Compares results with a baseline: the difference, its confidence interval and a verdict.

What changes from one test to the next (noisy neighbours, a cold cache, process placement) shifts all values of a
test together. Its size cannot be estimated from the runs or seconds of one test, only from repeats. So each results
file is one observation, and the spread between files, now and in the baseline, is the noise. Resampling whole tests
would give the same standard error, for which there is a closed form (`_standard_error`); the ends of the interval
come from Student's t, because so few values cannot show them by resampling. The noise is never taken to be smaller
than what the time blocks within the tests show (harness.gate.confidence_intervals).

With too few files to estimate the spread, only the blocks are known, and the spread between tests is assumed
(ASSUMED_RUN_SD).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

from harness.gate.confidence_intervals import (
    BUCKET_SD,
    CONFIDENCE,
    Estimate,
    ShareName,
    least_sd_of_share,
    percentile_estimate,
    share_estimate,
    t_quantile,
)
from harness.results import metrics
from harness.results.histogram import LOWEST_MS
from harness.results.reader import Results

ComparisonVerdict = Literal["better", "same", "worse", "inconclusive"]
Files = Results | Sequence[Results]

LEAST_FREEDOM = 2
"""Degrees of freedom (files - 2) from which on the spread between files is used."""
ENOUGH_FREEDOM = 8
"""Degrees of freedom from which on that spread is known so well that the time blocks are not needed."""
ASSUMED_RUN_SD = 0.02
"""Assumed standard deviation of log latency between tests of one server, used if there are too few tests to estimate
it. A guess, and too low for a busy machine; docs/gate.md has measurements."""
ASSUMED_RUN_SD_SHARE = 0.002
"""The same for a share of streams or runs, 0 to 1."""
LEAST_VALUES_BEYOND = 3
"""Values that must lie beyond a percentile in each file; the spread between files covers the uncertainty."""
_MOST_FREEDOM = 301  # from here on Student's t is the normal distribution


@dataclass(frozen=True, slots=True)
class Effects:
    """The smallest differences worth failing for.

    relative, ms: of a latency, as a share of the baseline value and in ms; the larger one applies. share: of
    error_rate and goodput; 0.005 is half a percentage point.
    """

    relative: float = 0.05
    ms: float = 1.0
    share: float = 0.005

    def of_latency(self, baseline_ms: float) -> float:
        """The smallest effect as a share of that baseline value."""
        return max(self.relative, self.ms / baseline_ms)


USUAL_EFFECTS = Effects()


@dataclass(frozen=True, slots=True)
class Comparison:
    """The metric of one objective, now and in the baseline.

    value, baseline: in ms, or a share 0 to 1; the mean over files (geometric for latencies). difference: value /
    baseline - 1, or value - baseline for a share (`relative` is False). low, high: ends of its confidence interval.
    smallest_effect: in the unit of difference. None where it cannot be computed; detail says why. runs: number of
    files now and in the baseline. repeats_may_tell: whether more repeats may settle an inconclusive comparison.
    """

    key: str
    value: float | None
    baseline: float | None
    difference: float | None
    low: float | None
    high: float | None
    verdict: ComparisonVerdict
    detail: str = ""
    smallest_effect: float | None = None
    runs: tuple[int, int] = (1, 1)
    relative: bool = True
    repeats_may_tell: bool = False


@dataclass(frozen=True, slots=True)
class _Side:
    """The files of one side.

    values: one per file (the logarithm for latencies). estimates: from time blocks, one per file, or why there is none;
    empty if not needed. least_sd: lower bound of the standard error of a value.
    """

    values: list[float]
    estimates: list[Estimate | str]
    least_sd: float

    @property
    def blocks(self) -> list[Estimate]:
        return [estimate for estimate in self.estimates if isinstance(estimate, Estimate)]


def compare(
    results: Files,
    baseline: Files,
    key: str,
    metric: str,
    percentile: str,
    *,
    journey: str | None = None,
    effects: Effects = USUAL_EFFECTS,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Compare one percentile (a key of PERCENTILES) of a metric with the baseline.

    results, baseline: one file each, or several independent repeats.

    Verdicts: "worse" if the value is higher by at least the smallest effect and the interval is above 0, "better" the
    other way round, "same" if the whole interval is within the smallest effect, otherwise "inconclusive", also if
    there is too little data for an interval. Deterministic. Raises ResultsError.
    """
    percent = metrics.PERCENTILES[percentile]
    now, then = _files(results), _files(baseline)
    values = [[file.histogram(metric, journey).percentile(percent) for file in side] for side in (now, then)]
    means = [_geometric_mean([value for value in side if value is not None]) for side in values]
    runs = (len(now), len(then))
    inconclusive = Comparison(key, means[0], means[1], None, None, None, "inconclusive", runs=runs)
    if (missing := _missing(values)) or means[1] is None or means[0] is None:
        return replace(inconclusive, detail=missing)
    if means[1] <= 0 or means[0] <= 0:
        which = "baseline" if means[1] <= 0 else "value"
        return replace(inconclusive, detail=f"the {which} is not above 0")
    comparison = replace(
        inconclusive,
        difference=means[0] / means[1] - 1,
        detail=_no_interval([*now, *then], runs, metric, percent, journey),
        smallest_effect=effects.of_latency(means[1]),
    )
    blocks = _needs_blocks(runs)
    sides = [
        _Side(
            [math.log(max(value, LOWEST_MS)) for value in side if value is not None],
            [percentile_estimate(file, metric, percent, journey) for file in files] if blocks else [],
            BUCKET_SD,
        )
        for side, files in zip(values, (now, then), strict=True)
    ]
    return _decided(comparison, sides, ASSUMED_RUN_SD, confidence)


def _no_interval(
    files: Sequence[Results], runs: tuple[int, int], metric: str, percent: float, journey: str | None
) -> str:
    """Why the difference of a percentile can have no confidence interval; empty if it can."""
    if percent == 100:
        return "a maximum is a single value and has no confidence interval"
    if sum(runs) - 2 >= LEAST_FREEDOM:
        return _too_few_values(files, metric, percent, journey)
    return ""


def compare_shares(
    results: Files,
    baseline: Files,
    key: str,
    share: ShareName,
    *,
    journey: str | None = None,
    effects: Effects = USUAL_EFFECTS,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Compare error_rate or goodput with the baseline, as a difference of shares; see `compare`."""
    formula: Callable[[Results, str | None], float | None] = getattr(metrics, share)
    now, then = _files(results), _files(baseline)
    values = [[formula(file, journey) for file in side] for side in (now, then)]
    measured = [[value for value in side if value is not None] for side in values]
    means = [fmean(side) if side else None for side in measured]
    runs = (len(now), len(then))
    inconclusive = Comparison(
        key, means[0], means[1], None, None, None, "inconclusive", runs=runs, relative=False
    )
    if (missing := _missing(values)) or means[0] is None or means[1] is None:
        return replace(inconclusive, detail=missing)
    comparison = replace(inconclusive, difference=means[0] - means[1], smallest_effect=effects.share)
    blocks = _needs_blocks(runs)
    sides = [
        _Side(
            side,
            [share_estimate(file, share, journey) for file in files] if blocks else [],
            min(
                least_sd_of_share(value, _cases(file, share, journey))
                for value, file in zip(side, files, strict=True)
            ),
        )
        for side, files in zip(measured, (now, then), strict=True)
    ]
    return _decided(comparison, sides, ASSUMED_RUN_SD_SHARE, confidence, more_is_worse=share == "error_rate")


def _cases(results: Results, share: ShareName, journey: str | None) -> int:
    counts = results.rate_counts(journey)
    return counts.judged if share == "error_rate" else counts.runs


def _needs_blocks(runs: tuple[int, int]) -> bool:
    """Whether there are so few files that the variation within them matters."""
    return sum(runs) - 2 < ENOUGH_FREEDOM


def _files(files: Files) -> Sequence[Results]:
    return [files] if isinstance(files, Results) else files


def _missing(values: Sequence[Sequence[float | None]]) -> str:
    """Where the metric was not measured; empty if it was measured in all files."""
    now, then = ([value is None for value in side] for side in values)
    if not then:
        return "no baseline"
    for side, where in ((now, "here"), (then, "in the baseline")):
        if all(side):
            return f"not measured {where}"
        if any(side):
            return f"not measured {where} in {sum(side)} of {len(side)} files"
    return ""


def _geometric_mean(values: Sequence[float]) -> float | None:
    if len(values) < 2 or min(values) <= 0:
        return min(values, default=None)
    return math.exp(fmean(map(math.log, values)))


def _too_few_values(files: Sequence[Results], metric: str, percent: float, journey: str | None) -> str:
    fewest = min(file.histogram(metric, journey).count for file in files)
    if fewest * min(percent, 100 - percent) / 100 < LEAST_VALUES_BEYOND:
        return f"too few values in a file ({fewest}): at least {LEAST_VALUES_BEYOND} must lie beyond the percentile"
    return ""


def _decided(
    comparison: Comparison,
    sides: Sequence[_Side],
    assumed_sd: float,
    confidence: float,
    *,
    more_is_worse: bool = True,
) -> Comparison:
    """The comparison with its interval and verdict, if there is enough data."""
    if comparison.detail or comparison.difference is None or comparison.smallest_effect is None:
        return comparison
    detail = _no_standard_error(sides)
    if detail:
        return replace(comparison, detail=detail, repeats_may_tell=True)
    error, freedom = _standard_error(sides, assumed_sd)
    margin = t_quantile((1 + confidence) / 2, freedom) * error
    difference = fmean(sides[0].values) - fmean(sides[1].values)
    low, high = difference - margin, difference + margin
    if comparison.relative:
        low, high = math.expm1(low), math.expm1(high)
    if _freedom(sides) < LEAST_FREEDOM:
        spread = f"{assumed_sd:.1%}" if comparison.relative else f"{assumed_sd * 100:g} percentage points"
        detail = f"too few tests to estimate how much they vary: a standard deviation of {spread} is assumed"
    sign = 1 if more_is_worse else -1
    best, worst = sorted((sign * low, sign * high))
    verdict = _verdict(sign * comparison.difference, best, worst, comparison.smallest_effect)
    return replace(
        comparison,
        low=low,
        high=high,
        verdict=verdict,
        detail=detail,
        repeats_may_tell=verdict == "inconclusive",
    )


def _verdict(difference: float, low: float, high: float, smallest: float) -> ComparisonVerdict:
    """The verdict on a difference for which higher is worse."""
    if difference >= smallest and low > 0:
        return "worse"
    if difference <= -smallest and high < 0:
        return "better"
    return "same" if low > -smallest and high < smallest else "inconclusive"


def _freedom(sides: Sequence[_Side]) -> int:
    return sum(len(side.values) for side in sides) - 2


def _no_standard_error(sides: Sequence[_Side]) -> str:
    if _freedom(sides) >= LEAST_FREEDOM:
        return ""
    return next((reason for side in sides for reason in side.estimates if isinstance(reason, str)), "")


def _standard_error(sides: Sequence[_Side], assumed_sd: float) -> tuple[float, int]:
    """Standard error of the difference, and its degrees of freedom.

    With enough files: that of two means with equal variance (Student's two-sample t), where the variance is at least
    the one within files. With fewer: the variance within each file plus the assumed variance between files, with
    Welch's degrees of freedom for the measured part.
    """
    within = [[estimate.sd**2 for estimate in side.blocks] for side in sides]
    if _freedom(sides) >= LEAST_FREEDOM:
        squares = sum((value - fmean(side.values)) ** 2 for side in sides for value in side.values)
        measured = [variance for side in within for variance in side]
        least = [side.least_sd**2 for side in sides]
        variance = max(squares / _freedom(sides), fmean(measured or least))
        return math.sqrt(variance * sum(1 / len(side.values) for side in sides)), _freedom(sides)
    parts = [variance / len(side) ** 2 for side in within for variance in side]
    blocks = [estimate.blocks for side in sides for estimate in side.blocks]
    total = sum(parts) + sum(assumed_sd**2 / len(side.values) for side in sides)
    spread = sum(part**2 / (count - 1) for part, count in zip(parts, blocks, strict=True))
    freedom = int(min(_MOST_FREEDOM, total**2 / spread)) if spread else _MOST_FREEDOM
    return math.sqrt(total), max(1, freedom)
