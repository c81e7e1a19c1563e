"""Compares results with a baseline: the difference, its confidence interval and a verdict.

The noise is the subject of harness.gate.noise, and which verdict follows from an interval that of
harness.gate.equivalence.

In addition to noise, the harness's own delays are in every value (harness.gate.error_bars). They do not average out, so
they widen the interval of the difference by their worst case. What is known of them for each stream, above all how
late it was sent, is left out of the difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from harness.gate.confidence_intervals import (
    CONFIDENCE,
    LEAST_BEYOND,
    STARTED_MS,
    bucket_sd,
    least_sd_of_share,
    percentile_estimate,
    share_estimate,
    started_log,
    t_quantile,
)
from harness.gate.equivalence import (
    USUAL_EFFECTS,
    ComparisonVerdict,
    Difference,
    Effect,
    Effects,
    Interval,
    confidence_of_equivalence,
    is_found,
    is_within,
    largest_change,
    verdict_of,
)
from harness.gate.error_bars import share_bounds
from harness.gate.noise import (
    ASSUMED_RUN_SD,
    ASSUMED_RUN_SD_SHARE,
    LEAST_FREEDOM,
    Side,
    assumed_run_sd,
    freedom_of,
    needs_blocks,
    no_standard_error,
    standard_error,
)
from harness.results import metrics
from harness.results.histogram import LOWEST_MS
from harness.results.measurement_error import net_bounds
from harness.results.metrics import ShareName
from harness.results.reader import Results

Files = Results | Sequence[Results]

LEAST_VALUES_BEYOND = 3
"""Values that must lie beyond a percentile in each file; the spread between files covers the uncertainty."""
UNKNOWN_FROM = 10.0
"""An interval that excludes neither a latency this many times shorter nor longer has no information: there is none."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The metric of one objective, now and in the baseline.

    value, baseline: in ms, or a share 0 to 1; the mean over files (on the scale of noise for latencies). difference:
    value / baseline - 1, or value - baseline for a share (`relative` is False). low, high: ends of its confidence
    interval. smallest_effect: in the unit of difference; smallest_effect_ms: the same in ms if the absolute effect
    applies to a latency. None where it cannot be computed; detail says why. runs: number of files now and in the
    baseline. repeats_may_tell: whether more repeats may settle an inconclusive comparison, or one that is the same only
    within the margin.
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
    smallest_effect_ms: float | None = None

    def in_ms(self, change: float) -> float | None:
        """A change in the unit of difference, in ms if its smallest effect is; else None."""
        if self.smallest_effect_ms is None or not self.smallest_effect:
            return None
        return change / self.smallest_effect * self.smallest_effect_ms


@dataclass(frozen=True, slots=True)
class ChangeTerms:
    """What decides about a difference: see harness.gate.equivalence.

    baseline_ms: of a latency; None for a share. assumed_sd: between tests, on the scale of noise. confidence, narrow:
    of both intervals.
    """

    effect: Effect
    baseline_ms: float | None
    assumed_sd: float
    confidence: float
    narrow: float
    more_is_worse: bool = True

    def change(self, difference: float, then: float) -> float:
        """A difference from a value, both on the scale of noise, in ms for a latency, which is never below 0."""
        if self.baseline_ms is None:
            return difference
        return max(math.exp(then) * math.expm1(difference), STARTED_MS - math.exp(then))

    def on_scale(self, change: float, then: float) -> float:
        """The inverse of `change`: a change from a value as a difference on the scale of noise."""
        if self.baseline_ms is None:
            return change
        return math.log(max(STARTED_MS / 2, math.exp(then) + change)) - then

    def shown(self, change: float) -> float:
        """A change in the unit of Comparison.difference."""
        return change if self.baseline_ms is None else change / max(self.baseline_ms, LOWEST_MS)


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
    looks: int = 1,
) -> Comparison:
    """Compare one percentile (a key of PERCENTILES) of a metric with the baseline.

    results, baseline: one file each, or several independent repeats. confidence: of the interval. looks: how many times
    the comparison is evaluated while repeats come in.

    The verdict is that of harness.gate.equivalence; also "inconclusive" if there is too little data for an interval.
    Deterministic. Raises ResultsError.
    """
    percent = metrics.PERCENTILES[percentile]
    now, then = _files(results), _files(baseline)
    values = [[file.histogram(metric, journey).percentile(percent) for file in side] for side in (now, then)]
    means = [_started_mean([value for value in side if value is not None]) for side in values]
    runs = (len(now), len(then))
    inconclusive = Comparison(key, means[0], means[1], None, None, None, "inconclusive", runs=runs)
    if (missing := _missing(values)) or means[1] is None or means[0] is None:
        return replace(inconclusive, detail=missing)
    effect = effects.of_latency(metric, percent, means[1])
    terms = ChangeTerms(
        effect, means[1], assumed_run_sd(metric, means[1]), confidence, confidence_of_equivalence(looks)
    )
    comparison = replace(
        inconclusive,
        difference=terms.shown(means[0] - means[1]),
        detail=_no_interval([*now, *then], runs, metric, percent, journey),
        smallest_effect=terms.shown(effect.smallest),
        smallest_effect_ms=effect.smallest if effect.is_absolute else None,
    )
    sides = []
    for side, files in zip(values, (now, then), strict=True):
        bars = [net_bounds(file, metric, percent, journey) for file in files]
        measured = [value for value in side if value is not None]
        known = [bar for bar in bars if bar is not None]
        sides.append(
            Side(
                [started_log(value) for value in measured],
                [percentile_estimate(file, metric, percent, journey) for file in files]
                if needs_blocks(runs)
                else [],
                max(bucket_sd(file.histogram(metric, journey)) for file in files),
                fmean(started_log(min(value, bar.high)) for value, bar in zip(measured, known, strict=True)),
                fmean(started_log(bar.low) for bar in known),
                fmean(started_log(bar.high) for bar in known),
            )
        )
    return _decided(comparison, sides, terms)


def _no_interval(
    files: Sequence[Results], runs: tuple[int, int], metric: str, percent: float, journey: str | None
) -> str:
    """Why the difference of a percentile can have no confidence interval; empty if it can."""
    if percent == 100:
        return "a maximum is a single value and has no confidence interval"
    if freedom_of(runs) >= LEAST_FREEDOM:
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
    looks: int = 1,
) -> Comparison:
    """Compare a share with the baseline, as a difference of shares; see `compare`."""
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
    effect = effects.of_share()
    terms = ChangeTerms(
        effect,
        None,
        ASSUMED_RUN_SD_SHARE,
        confidence,
        confidence_of_equivalence(looks),
        more_is_worse=share == "error_rate",
    )
    comparison = replace(inconclusive, difference=means[0] - means[1], smallest_effect=effect.smallest)
    cases = [sum(_cases(file, share, journey) for file in files) for files in (now, then)]
    if means[0] == means[1] and means[0] in (0.0, 1.0):
        return _both_extreme(comparison, cases, terms)
    sides = []
    for side, files in zip(measured, (now, then), strict=True):
        bars = [share_bounds(file, share, journey) for file in files]
        sides.append(
            Side(
                side,
                [share_estimate(file, share, journey) for file in files] if needs_blocks(runs) else [],
                min(
                    least_sd_of_share(value, _cases(file, share, journey))
                    for value, file in zip(side, files, strict=True)
                ),
                fmean(side),
                fmean(bar.low for bar in bars if bar is not None),
                fmean(bar.high for bar in bars if bar is not None),
            )
        )
    return _decided(comparison, sides, terms)


def _both_extreme(comparison: Comparison, cases: Sequence[int], terms: ChangeTerms) -> Comparison:
    """Shares that are 0 (or 1) in every file of both sides.

    Each side's true share is at most 1 - alpha^(1/n) from there (Clopper and Pearson, Biometrika 26, 1934, for none of
    n). cases: n, now and in the baseline.
    """
    low, high = _unseen(comparison, cases, terms.confidence)
    narrow = _unseen(comparison, cases, terms.narrow)
    same = is_within(narrow, terms.effect.margin)
    detail = (
        f"the same in all {cases[0]:,} cases now and {cases[1]:,} in the baseline; up to {largest_change(narrow):.1%} "
        "could go unseen"
    )
    return replace(
        comparison,
        low=low,
        high=high,
        verdict="same" if same else "inconclusive",
        detail="" if is_within(narrow, terms.effect.smallest) else detail,
        repeats_may_tell=not same,
    )


def _unseen(comparison: Comparison, cases: Sequence[int], confidence: float) -> Interval:
    """Both ends of the difference that so many cases leave open."""
    now, then = (1 - ((1 - confidence) / 2) ** (1 / max(1, count)) for count in cases)
    return (-then, now) if comparison.value == 0 else (-now, then)


def _cases(results: Results, share: ShareName, journey: str | None) -> int:
    counts = results.rate_counts(journey)
    cases: int = getattr(counts, metrics.SHARE_COUNTS[share][1])
    return cases


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


def _started_mean(values_ms: Sequence[float]) -> float | None:
    """The mean on the scale of noise, in ms."""
    if len(values_ms) < 2:
        return min(values_ms, default=None)
    return math.exp(fmean(map(started_log, values_ms))) - STARTED_MS


def too_few_values(now: Sequence[Results], then: Sequence[Results], metric: str, percent: float) -> str:
    """Why a percentile that was measured can have no interval in such short tests; empty if it can, or is missing."""
    files = [file for file in (*now, *then) if file.histogram(metric).count]
    least = LEAST_BEYOND if freedom_of((len(now), len(then))) < LEAST_FREEDOM else LEAST_VALUES_BEYOND
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


def _decided(comparison: Comparison, sides: Sequence[Side], terms: ChangeTerms) -> Comparison:
    """The comparison with its interval and verdict, if there is enough data."""
    if comparison.detail:
        return comparison
    detail = no_standard_error(sides)
    if detail:
        return replace(comparison, detail=detail, repeats_may_tell=True)
    difference = _difference(sides, terms)
    low, high = (terms.shown(end) for end in difference.interval)
    judged = difference if terms.more_is_worse else difference.worse_is_lower()
    verdict = verdict_of(judged, terms.effect)
    details = list(reasons(difference, terms, verdict))
    if verdict == "inconclusive" and _is_unknown(difference.interval, terms):
        details.append(f"not even a change by a factor of {UNKNOWN_FROM:.0f} is excluded")
        return replace(comparison, detail="; ".join(details), repeats_may_tell=True)
    if freedom_of(comparison.runs) < LEAST_FREEDOM:
        details.append(f"too few tests to estimate how much they vary: {_assumed(terms)} is assumed")
    return replace(
        comparison,
        low=low,
        high=high,
        verdict=verdict,
        detail="; ".join(details),
        repeats_may_tell=verdict == "inconclusive"
        or (verdict == "same" and not is_within(difference.narrow, terms.effect.smallest)),
    )


def _difference(sides: Sequence[Side], terms: ChangeTerms) -> Difference:
    error, freedom = standard_error(sides, terms.assumed_sd)
    then = sides[1].net
    net = sides[0].net - then
    ends = (sides[0].lowest - sides[1].highest, sides[0].highest - sides[1].lowest)

    def widened(of: Interval, confidence: float) -> Interval:
        margin = t_quantile((1 + confidence) / 2, freedom) * error
        return terms.change(of[0] - margin, then), terms.change(of[1] + margin, then)

    return Difference(
        measured=terms.change(net, then),
        possible=(terms.change(ends[0], then), terms.change(ends[1], then)),
        noise=widened((net, net), terms.confidence),
        interval=widened(ends, terms.confidence),
        narrow=widened(ends, terms.narrow),
    )


def _is_unknown(ends: Interval, terms: ChangeTerms) -> bool:
    """Whether an interval excludes neither a tenth of the latency nor ten times as much, nor anything in between."""
    if terms.baseline_ms is None:
        return False
    low, high = (terms.shown(end) for end in ends)
    return low < 1 / UNKNOWN_FROM - 1 and high > UNKNOWN_FROM - 1


def reasons(difference: Difference, terms: ChangeTerms, verdict: ComparisonVerdict) -> list[str]:
    """What the verdict rests on, in clauses."""
    effect = terms.effect
    if verdict == "inconclusive":
        own = difference.possible[1] - difference.possible[0]
        if is_found(difference, effect) or own > 2 * effect.smallest:
            return ["the harness's own delays may be the reason for the change"]
    if verdict != "same" or terms.baseline_ms is None:
        return []
    largest = largest_change(difference.narrow)
    small = f"smaller than the smallest effect of {effect.smallest:g} ms"
    if is_within(difference.narrow, effect.smallest):
        return [small] if effect.is_absolute else []
    if effect.is_absolute:
        return [f"{small}; a change of {largest:.0f} ms or more is excluded"]
    return [f"a change of {terms.shown(largest):.0%} or more is excluded; a smaller one may be noise"]


def _assumed(terms: ChangeTerms) -> str:
    if terms.baseline_ms is None:
        return f"a standard deviation of {ASSUMED_RUN_SD_SHARE * 100:g} percentage points"
    return f"a standard deviation of {ASSUMED_RUN_SD:.1%}"
