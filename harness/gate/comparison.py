"""Slower than last time? A difference with its confidence interval, so that noise is not taken for news.

What differs from one test to the next (the machine's neighbours, a cold cache, where the server's processes
came to lie) shifts all of a test's values together, so neither its many runs nor its seconds say how large it
is. Only repeats do. So each results file counts as one observation, and how much these differ among
themselves, here and in the baseline together, is the noise that a difference has to stand out of. It is the
same to resample whole tests: the standard error over all resamples has this closed form, and for the ends of
the interval, which so few values cannot show by resampling, Student's t is taken (`_standard_error`). That
noise is never taken to be smaller than what the time blocks within the tests show (harness.gate.confidence_intervals).

With too few files to tell, the blocks are all there is, and how far tests differ has to be assumed
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
    Interval,
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
"""Degrees of freedom, files less two, from which on the files' own spread is believed."""
ENOUGH_FREEDOM = 8
"""Degrees of freedom from which on that spread is known so well that the time blocks need not be asked."""
ASSUMED_RUN_SD = 0.02
"""How far latencies of two tests of one server are taken to differ, as a standard deviation of their logarithms,
where there are too few tests to know. It is a guess, and a low one for a busy machine; docs/gate.md has what it
is worth."""
ASSUMED_RUN_SD_SHARE = 0.002
"""The same for a share of streams or runs, 0 to 1."""
LEAST_VALUES_BEYOND = 3
"""So many values of each repeat must lie beyond a percentile; how sure that is the repeats show themselves."""
_MOST_FREEDOM = 301  # where Student's t is the normal distribution


@dataclass(frozen=True, slots=True)
class Effects:
    """Differences below this are not worth failing for.

    relative: of a latency, as a share of the baseline's, and ms: in ms; what is larger counts. share: of
    error_rate and goodput, 0.005 is half a percentage point.
    """

    relative: float = 0.05
    ms: float = 1.0
    share: float = 0.005

    def of_latency(self, baseline_ms: float) -> float:
        """The smallest effect relative to that baseline."""
        return max(self.relative, self.ms / baseline_ms)


USUAL_EFFECTS = Effects()


@dataclass(frozen=True, slots=True)
class Comparison:
    """One objective's metric, now and in the baseline.

    value, baseline: in ms, or a share 0 to 1; of several files the mean (of latencies the geometric one).
    difference: value / baseline - 1, or, for a share (`relative` is False), value - baseline; low, high: the
    ends of its confidence interval; smallest_effect: what is worth failing for, in the same unit. None where
    there is nothing to compute; detail says why. runs: how many files there were, now and in the baseline.
    repeats_may_tell: whether an inconclusive one is so for want of data alone.
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
    """One side's files: the value of each (of latencies the logarithm), its estimate from time blocks, or why there
    is none, where these are asked; and the least standard error that any of them can have.
    """

    values: list[float]
    estimates: list[Estimate | str]
    least_sd: float

    @property
    def blocks(self) -> list[Estimate]:
        return [one for one in self.estimates if isinstance(one, Estimate)]


def compare(
    results: Files,
    baseline: Files,
    key: str,
    metric: str,
    word: str,
    *,
    journey: str | None = None,
    effects: Effects = USUAL_EFFECTS,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Compare one percentile (a word of PERCENTILES) of a metric with the baseline's.

    results, baseline: one file each, or several independent repeats. worse: slower by the smallest effect or
    more, and the interval is above 0. better: likewise below. same: the whole interval is nearer to 0 than the
    smallest effect. Otherwise inconclusive, as also where there is too little data for an interval. The same
    files give the same answer. Raises ResultsError.
    """
    percent = metrics.PERCENTILES[word]
    now, then = _files(results), _files(baseline)
    values = [[file.histogram(metric, journey).percentile(percent) for file in side] for side in (now, then)]
    means = [_geometric_mean([one for one in side if one is not None]) for side in values]
    runs = (len(now), len(then))
    undecided = Comparison(key, means[0], means[1], None, None, None, "inconclusive", runs=runs)
    if (missing := _missing(values)) or means[1] is None or means[0] is None:
        return replace(undecided, detail=missing)
    if means[1] <= 0 or means[0] <= 0:
        which = "baseline" if means[1] <= 0 else "value"
        return replace(undecided, detail=f"the {which} is not above 0")
    made = replace(
        undecided,
        difference=means[0] / means[1] - 1,
        detail=_no_interval([*now, *then], runs, metric, percent, journey),
        smallest_effect=effects.of_latency(means[1]),
    )
    blocks = _ask_blocks(runs)
    sides = [
        _Side(
            [math.log(max(one, LOWEST_MS)) for one in found if one is not None],
            [percentile_estimate(file, metric, percent, journey) for file in files] if blocks else [],
            BUCKET_SD,
        )
        for found, files in zip(values, (now, then), strict=True)
    ]
    return _judged(made, sides, ASSUMED_RUN_SD, confidence)


def _no_interval(
    files: Sequence[Results], runs: tuple[int, int], metric: str, percent: float, journey: str | None
) -> str:
    """Why a percentile's difference can have no confidence interval, whatever it is; empty where it can."""
    if percent == 100:
        return "a maximum is a single value and has no confidence interval"
    if sum(runs) - 2 >= LEAST_FREEDOM:
        return _too_few_values(files, metric, percent, journey)
    return ""


def compare_shares(
    results: Files,
    baseline: Files,
    key: str,
    share: Interval,
    *,
    journey: str | None = None,
    effects: Effects = USUAL_EFFECTS,
    confidence: float = CONFIDENCE,
) -> Comparison:
    """Compare error_rate or goodput with the baseline's, as a difference in the share; see `compare`."""
    formula: Callable[[Results, str | None], float | None] = getattr(metrics, share)
    now, then = _files(results), _files(baseline)
    values = [[formula(file, journey) for file in side] for side in (now, then)]
    found = [[one for one in side if one is not None] for side in values]
    means = [fmean(side) if side else None for side in found]
    runs = (len(now), len(then))
    undecided = Comparison(
        key, means[0], means[1], None, None, None, "inconclusive", runs=runs, relative=False
    )
    if (missing := _missing(values)) or means[0] is None or means[1] is None:
        return replace(undecided, detail=missing)
    made = replace(undecided, difference=means[0] - means[1], smallest_effect=effects.share)
    blocks = _ask_blocks(runs)
    sides = [
        _Side(
            of_side,
            [share_estimate(file, share, journey) for file in files] if blocks else [],
            min(
                least_sd_of_share(value, _cases(file, share, journey))
                for value, file in zip(of_side, files, strict=True)
            ),
        )
        for of_side, files in zip(found, (now, then), strict=True)
    ]
    return _judged(made, sides, ASSUMED_RUN_SD_SHARE, confidence, more_is_worse=share == "error_rate")


def _cases(results: Results, share: Interval, journey: str | None) -> int:
    tally = results.rate_counts(journey)
    return tally.judged if share == "error_rate" else tally.runs or 0


def _ask_blocks(runs: tuple[int, int]) -> bool:
    """Whether what varies within the files still tells something."""
    return sum(runs) - 2 < ENOUGH_FREEDOM


def _files(given: Files) -> Sequence[Results]:
    return [given] if isinstance(given, Results) else given


def _missing(values: Sequence[Sequence[float | None]]) -> str:
    """Where something was not measured; empty when it was, everywhere."""
    now, then = ([one is None for one in side] for side in values)
    if not then:
        return "there is no baseline"
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
        return f"{fewest} values in a file are too few: {LEAST_VALUES_BEYOND} must lie beyond the percentile"
    return ""


def _judged(
    made: Comparison,
    sides: Sequence[_Side],
    assumed_sd: float,
    confidence: float,
    *,
    more_is_worse: bool = True,
) -> Comparison:
    """The comparison with its interval and verdict, where there is no problem and enough to go by."""
    if made.detail or made.difference is None or made.smallest_effect is None:
        return made
    detail = _standard_error_missing(sides)
    if detail:
        return replace(made, detail=detail, repeats_may_tell=True)
    error, freedom = _standard_error(sides, assumed_sd)
    margin = t_quantile((1 + confidence) / 2, freedom) * error
    difference = fmean(sides[0].values) - fmean(sides[1].values)
    low, high = difference - margin, difference + margin
    if made.relative:
        low, high = math.expm1(low), math.expm1(high)
    if _freedom(sides) < LEAST_FREEDOM:
        said = f"{assumed_sd:.1%}" if made.relative else f"{assumed_sd * 100:g} points"
        detail = f"too few runs to know how far these differ: {said} is assumed"
    sign = 1 if more_is_worse else -1
    best, worst = sorted((sign * low, sign * high))
    verdict = _verdict(sign * made.difference, best, worst, made.smallest_effect)
    may_tell = verdict == "inconclusive"
    return replace(made, low=low, high=high, verdict=verdict, detail=detail, repeats_may_tell=may_tell)


def _verdict(difference: float, low: float, high: float, smallest: float) -> ComparisonVerdict:
    """For a difference of which more is worse."""
    if difference >= smallest and low > 0:
        return "worse"
    if difference <= -smallest and high < 0:
        return "better"
    return "same" if low > -smallest and high < smallest else "inconclusive"


def _freedom(sides: Sequence[_Side]) -> int:
    return sum(len(side.values) for side in sides) - 2


def _standard_error_missing(sides: Sequence[_Side]) -> str:
    if _freedom(sides) >= LEAST_FREEDOM:
        return ""
    return next((one for side in sides for one in side.estimates if isinstance(one, str)), "")


def _standard_error(sides: Sequence[_Side], assumed_sd: float) -> tuple[float, int]:
    """The difference's standard error, and its degrees of freedom.

    With enough files it is that of two means of independent observations with one variance (Student's two
    samples), which is at least the variance within. With fewer, the variance within each file and the assumed
    one between add up, and the degrees of freedom are Welch's, for the part that was measured.
    """
    within = [[one.sd**2 for one in side.blocks] for side in sides]
    if _freedom(sides) >= LEAST_FREEDOM:
        squares = sum((one - fmean(side.values)) ** 2 for side in sides for one in side.values)
        measured = [one for side in within for one in side]
        least = [side.least_sd**2 for side in sides]
        variance = max(squares / _freedom(sides), fmean(measured or least))
        return math.sqrt(variance * sum(1 / len(side.values) for side in sides)), _freedom(sides)
    parts = [one / len(side) ** 2 for side in within for one in side]
    blocks = [one.blocks for side in sides for one in side.blocks]
    total = sum(parts) + sum(assumed_sd**2 / len(side.values) for side in sides)
    spread = sum(part**2 / (count - 1) for part, count in zip(parts, blocks, strict=True))
    freedom = int(min(_MOST_FREEDOM, total**2 / spread)) if spread else _MOST_FREEDOM
    return math.sqrt(total), max(1, freedom)
