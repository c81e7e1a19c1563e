"""Compares results with a baseline: the difference, its confidence interval and a verdict.

What changes from one test to the next (noisy neighbours, a cold cache, process placement) shifts all values of a
test together. Its size cannot be estimated from the runs or seconds of one test, only from repeats. So each results
file is one observation, and the spread between files, now and in the baseline, is the noise. Resampling whole tests
would give the same standard error, for which there is a closed form (`_standard_error`); the ends of the interval
come from Student's t, because so few values cannot show them by resampling. The noise is never taken to be smaller
than what the time blocks within the tests show (harness.gate.confidence_intervals).

With too few files to estimate the spread, only the blocks are known, and the spread between tests is assumed
(ASSUMED_RUN_SD).

In addition to noise, the harness's own delays are in every value (harness.gate.error_bars). They do not average out, so
they widen the interval of the difference by their worst case. What is known of them for each stream, above all how
late it was sent, is left out of the difference.
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
    LEAST_BEYOND,
    Estimate,
    ShareName,
    least_sd_of_share,
    percentile_estimate,
    share_estimate,
    t_quantile,
)
from harness.gate.error_bars import share_bounds
from harness.results import metrics
from harness.results.histogram import LOWEST_MS
from harness.results.measurement_error import net_bounds
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
ROUGHLY = 1.5
"""Few tests cannot show that a latency did not change by as little as the smallest effect. If it did not change
significantly, and certainly not by this factor, it is the same, too, and the detail says how closely."""
UNKNOWN_FROM = 10.0
"""An interval that excludes neither a latency this many times shorter nor longer has no information: there is none."""
ROUGHLY_SHARE = 0.25
"""If nothing failed (or everything) in both tests, shares are the same unless so many failures could go unseen."""
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
    empty if not needed. least_sd: lower bound of the standard error of a value. net: the mean of the values without the
    delays that are known for each stream. lowest, highest: that mean if the others are as large as they can be.
    """

    values: list[float]
    estimates: list[Estimate | str]
    least_sd: float
    net: float
    lowest: float
    highest: float

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

    Verdicts: "worse" if the value is higher by at least the smallest effect, however the harness's own delays are
    spread, and the interval is above 0, "better" the other way round, "same" if the whole interval is within the
    smallest effect, or within ROUGHLY around 0, otherwise "inconclusive", also if there is too little data for an
    interval. Deterministic. Raises ResultsError.
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
    sides = []
    for side, files in zip(values, (now, then), strict=True):
        bars = [net_bounds(file, metric, percent, journey) for file in files]
        measured = [value for value in side if value is not None]
        known = [bar for bar in bars if bar is not None]
        sides.append(
            _Side(
                [_log(value) for value in measured],
                [percentile_estimate(file, metric, percent, journey) for file in files] if blocks else [],
                BUCKET_SD,
                fmean(_log(min(value, bar.high)) for value, bar in zip(measured, known, strict=True)),
                fmean(_log(bar.low) for bar in known),
                fmean(_log(bar.high) for bar in known),
            )
        )
    return _decided(comparison, sides, ASSUMED_RUN_SD, confidence)


def _log(value_ms: float) -> float:
    return math.log(max(value_ms, LOWEST_MS))


def _no_interval(
    files: Sequence[Results], runs: tuple[int, int], metric: str, percent: float, journey: str | None
) -> str:
    """Why the difference of a percentile can have no confidence interval; empty if it can."""
    if percent == 100:
        return "a maximum is a single value and has no confidence interval"
    if _freedom_of(runs) >= LEAST_FREEDOM:
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
    cases = [sum(_cases(file, share, journey) for file in files) for files in (now, then)]
    if means[0] == means[1] and means[0] in (0.0, 1.0):
        return _both_extreme(comparison, cases, confidence)
    blocks = _needs_blocks(runs)
    sides = []
    for side, files in zip(measured, (now, then), strict=True):
        bars = [share_bounds(file, share, journey) for file in files]
        sides.append(
            _Side(
                side,
                [share_estimate(file, share, journey) for file in files] if blocks else [],
                min(
                    least_sd_of_share(value, _cases(file, share, journey))
                    for value, file in zip(side, files, strict=True)
                ),
                fmean(side),
                fmean(bar.low for bar in bars if bar is not None),
                fmean(bar.high for bar in bars if bar is not None),
            )
        )
    return _decided(comparison, sides, ASSUMED_RUN_SD_SHARE, confidence, more_is_worse=share == "error_rate")


def _both_extreme(comparison: Comparison, cases: Sequence[int], confidence: float) -> Comparison:
    """Shares that are 0 (or 1) in every file of both sides.

    Each side's true share is at most 1 - alpha^(1/n) from there (Clopper and Pearson, Biometrika 26, 1934, for none of
    n). cases: n, now and in the baseline.
    """
    unseen = [1 - ((1 - confidence) / 2) ** (1 / max(1, count)) for count in cases]
    low, high = (-unseen[1], unseen[0]) if comparison.value == 0 else (-unseen[0], unseen[1])
    same = max(unseen) <= ROUGHLY_SHARE
    detail = (
        f"the same in all {cases[0]:,} cases now and {cases[1]:,} in the baseline; up to {max(unseen):.1%} could go "
        "unseen"
    )
    return replace(
        comparison,
        low=low,
        high=high,
        verdict="same" if same else "inconclusive",
        detail="" if max(unseen) < (comparison.smallest_effect or 0.0) else detail,
        repeats_may_tell=not same,
    )


def _cases(results: Results, share: ShareName, journey: str | None) -> int:
    counts = results.rate_counts(journey)
    return counts.judged if share == "error_rate" else counts.runs


def _needs_blocks(runs: tuple[int, int]) -> bool:
    """Whether there are so few files that the variation within them matters."""
    return _freedom_of(runs) < ENOUGH_FREEDOM


def _freedom_of(runs: tuple[int, int]) -> int:
    return sum(runs) - 2


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


def too_few_values(now: Sequence[Results], then: Sequence[Results], metric: str, percent: float) -> str:
    """Why a percentile that was measured can have no interval in such short tests; empty if it can, or is missing."""
    files = [file for file in (*now, *then) if file.histogram(metric).count]
    least = LEAST_BEYOND if _freedom_of((len(now), len(then))) < LEAST_FREEDOM else LEAST_VALUES_BEYOND
    return _too_few_values(files, metric, percent, None, least) if files else ""


def _too_few_values(
    files: Sequence[Results],
    metric: str,
    percent: float,
    journey: str | None,
    least: int = LEAST_VALUES_BEYOND,
) -> str:
    fewest = min(file.histogram(metric, journey).count for file in files)
    if fewest * min(percent, 100 - percent) / 100 < least:
        return f"too few values in a file ({fewest}): at least {least} must lie beyond the percentile"
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
    ends = [sides[0].lowest - sides[1].highest, sides[0].highest - sides[1].lowest]
    net = sides[0].net - sides[1].net
    low, high = ends[0] - margin, ends[1] + margin
    noise = [net - margin, net + margin]
    if comparison.relative:
        low, high, net, *ends = (math.expm1(end) for end in (low, high, net, *ends))
        noise = [math.expm1(end) for end in noise]
    sign = 1 if more_is_worse else -1
    verdict = _verdict(_signed(ends, sign), _signed((low, high), sign), comparison.smallest_effect)
    details = []
    if verdict == "inconclusive":
        significant = _verdict(_signed((net, net), sign), _signed(noise, sign), comparison.smallest_effect)
        if significant not in ("worse", "better") and _roughly_same(comparison, net, low, high):
            verdict = "same"
            change = max(high, -low)
            details.append(f"a change of {change:.0%} or more is excluded; a smaller one may be noise")
        elif significant != "inconclusive" or ends[1] - ends[0] > 2 * comparison.smallest_effect:
            details.append("the harness's own delays may be the reason for the change")
        if comparison.relative and low < 1 / UNKNOWN_FROM - 1 and high > UNKNOWN_FROM - 1:
            details.append(f"not even a change by a factor of {UNKNOWN_FROM:.0f} is excluded")
            return replace(comparison, detail="; ".join(details), repeats_may_tell=True)
    if _freedom(sides) < LEAST_FREEDOM:
        spread = f"{assumed_sd:.1%}" if comparison.relative else f"{assumed_sd * 100:g} percentage points"
        details.append(
            f"too few tests to estimate how much they vary: a standard deviation of {spread} is assumed"
        )
    return replace(
        comparison,
        low=low,
        high=high,
        verdict=verdict,
        detail="; ".join(details),
        repeats_may_tell=verdict == "inconclusive"
        or (verdict == "same" and not _is_within(comparison, low, high)),
    )


def _signed(ends: Sequence[float], sign: int) -> tuple[float, float]:
    """Both ends of an interval for which higher is worse."""
    low, high = sorted(sign * end for end in ends)
    return low, high


def _verdict(
    difference: tuple[float, float], interval: tuple[float, float], smallest: float
) -> ComparisonVerdict:
    """The verdict on a difference for which higher is worse.

    difference: its ends without noise. interval: with noise.
    """
    if difference[0] >= smallest and interval[0] > 0:
        return "worse"
    if difference[1] <= -smallest and interval[1] < 0:
        return "better"
    return "same" if interval[0] > -smallest and interval[1] < smallest else "inconclusive"


def _is_within(comparison: Comparison, low: float, high: float) -> bool:
    smallest = comparison.smallest_effect or 0.0
    return low > -smallest and high < smallest


def _roughly_same(comparison: Comparison, difference: float, low: float, high: float) -> bool:
    """Whether a latency neither changed significantly nor can have changed by more than ROUGHLY."""
    if not comparison.relative:
        return False
    smallest = comparison.smallest_effect or 0.0
    most = max(ROUGHLY - 1, 2 * smallest)
    return low < 0 < high and abs(difference) < 2 * smallest and high < most and low > 1 / (1 + most) - 1


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
