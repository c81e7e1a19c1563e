"""Compares two servers by pairs of short blocks of load, one on each, close together in time.

The noise of a machine that lasts longer than a block falls on both blocks of a pair alike, so that it is not in their
difference. The differences of the pairs are the observations; their spread is the noise. The interval of their mean is
a confidence sequence (harness.gate.confidence_sequence), so the comparison may be evaluated after each pair. Which
verdict follows is the rule of harness.gate.equivalence.

The harness's own delays fall on both blocks alike, too. What is known of them for each stream is left out. Of the rest,
only the part by which the two sides differ can be the reason for a difference: it widens the interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median, stdev

from harness.gate.comparison import LEAST_VALUES_BEYOND, ChangeTerms, Comparison, reasons
from harness.gate.confidence_intervals import BUCKET_SD, STARTED_MS, started_log
from harness.gate.confidence_sequence import count_for, half_width
from harness.gate.equivalence import (
    EQUIVALENCE_ERROR,
    Difference,
    Effects,
    Interval,
    is_within,
    verdict_of,
)
from harness.gate.error_bars import ErrorBars
from harness.gate.objective import GOODPUT, Objective, recorded_objectives
from harness.results import metrics
from harness.results.measurement_error import net_bounds
from harness.results.reader import Results
from harness.results.saturation import saturation_reasons

PAIRED_KEYS = (
    "ttft_p50_ms",
    "ttft_p95_ms",
    "inter_token_p50_ms",
    "inter_token_p95_ms",
    "stall_p50_ms",
    "stall_p95_ms",
    "duration_p50_ms",
    "duration_p95_ms",
    "resume_p50_ms",
    "resume_p95_ms",
    "error_rate",
    "goodput",
)
"""What is compared without an objective. Those with too few values in a block are left out."""

REQUIRED_KEYS = frozenset({"ttft_p50_ms", "inter_token_p50_ms", "duration_p50_ms", "error_rate", "goodput"})
"""What must be decided for a test to pass. On a busy machine a p95 may take hours."""

PAIRED_EFFECTS = Effects(relative=0.025, ms=2.5, share=0.005, inter_token_ms=0.5)
"""The smallest effects of a paired comparison: for latencies half of those between tests. A change is called worse from
the smallest effect on if it is clear, so a server that is slower by twice as much, 5%, is found nearly always."""

MOST_LEFT_OUT = 0.25
"""With a larger share of unusable pairs, what is left does not represent the test."""

DELAYS_ERROR = 0.05
"""Of the sign test that tells whether the harness delayed one side more than the other."""

_NO_DELAY = 1e-9

LEAST_PAIRS = 4
"""Fewer pairs, two in each order, decide nothing: their spread says next to nothing about the noise."""


@dataclass(frozen=True, slots=True)
class BlockValue:
    """One metric in one block, on the scale of noise for a latency (harness.gate.noise), 0 to 1 for a share.

    net: without the harness's delays that are known for each stream. low, high: its ends if the others are as large as
    they can be. value: as measured, in ms or as a share. cases: the number of streams or runs of a share.
    """

    value: float
    net: float
    low: float
    high: float
    cases: int = 0


@dataclass(frozen=True, slots=True)
class LoadBlock:
    """What one block measured. problem: why it cannot be used; empty if it can. values: by name of the objective."""

    values: dict[str, BlockValue]
    problem: str = ""


Pair = tuple[LoadBlock, LoadBlock]
"""The block of the target, and that of the server it is compared with."""


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """The comparison of one metric, with what a page shows of it.

    changes: of each pair, in the unit of comparison.difference. pairs_needed: about how many pairs would decide it, if
    it is inconclusive and more pairs can; None otherwise.
    """

    comparison: Comparison
    changes: tuple[float, ...]
    pairs_needed: int | None = None


def paired_objectives(
    objectives: Iterable[Objective], first: Sequence[Results]
) -> tuple[list[Objective], list[str]]:
    """What to compare, by the first blocks, and notes about what is left out.

    It is decided once, by the numbers of values and not by the values, so that the correction for the number of
    comparisons stays what it was. Raises ResultsError.
    """
    named = {objective.name: objective for objective in objectives if objective.key != "violations"}
    for key in PAIRED_KEYS:
        named.setdefault(key, Objective(key, 0.0))
    chosen, short, single = [], [], []
    for name, objective in named.items():
        if objective.percentile is None:
            if all(objective.value(file) is not None for file in first):
                chosen.append(objective)
            continue
        metric, percentile = objective.percentile
        percent = metrics.PERCENTILES[percentile]
        counts = [file.histogram(metric, objective.journey).count for file in first]
        if percent == 100:
            single.append(name)
        elif max(counts) == 0:
            continue
        elif min(counts) * min(percent, 100 - percent) / 100 < LEAST_VALUES_BEYOND:
            short.append(name)
        else:
            chosen.append(objective)
    notes = []
    if short:
        notes.append(
            f"too few values in a block to compare {', '.join(short)}: use longer blocks or a higher rate"
        )
    if single:
        notes.append(f"a maximum is a single value and is not compared: {', '.join(single)}")
    return chosen, notes


def measure_block(results: Results, objectives: Iterable[Objective]) -> LoadBlock:
    """The values of one block. Raises ResultsError."""
    if saturation := saturation_reasons(results):
        return LoadBlock({}, f"the harness was saturated: {'; '.join(saturation)}")
    if results.harness_faults:
        return LoadBlock({}, "the harness had faults and left streams unjudged")
    if results.manifest.get("workers_lost"):
        return LoadBlock({}, "a worker was lost")
    if results.manifest.get("load_state") != "finished":
        return LoadBlock({}, "the load did not end")
    measured = {objective.name: _measured(results, objective) for objective in objectives}
    return LoadBlock({name: value for name, value in measured.items() if value is not None})


def _measured(results: Results, objective: Objective) -> BlockValue | None:
    value = objective.value(results)
    if value is None:
        return None
    if objective.percentile is None:
        counts = results.rate_counts(objective.journey)
        bar = ErrorBars(results, recorded_objectives(results)).of(objective)
        low, high = (value, value) if bar is None else (bar.low, bar.high)
        return BlockValue(value, value, low, high, counts.runs if objective.key == GOODPUT else counts.judged)
    metric, percentile = objective.percentile
    bar = net_bounds(results, metric, metrics.PERCENTILES[percentile], objective.journey)
    if bar is None:
        return None
    return BlockValue(value, started_log(min(value, bar.high)), started_log(bar.low), started_log(bar.high))


def compare_pairs(
    objective: Objective, pairs: Sequence[Pair], effects: Effects = PAIRED_EFFECTS, *, comparisons: int
) -> PairedComparison:
    """Compare one metric of the target with that of the baseline. Deterministic.

    pairs: all of the test; those that cannot be used are left out. comparisons: how many metrics are compared in all,
    for which the confidence of the interval is corrected: equal servers are called worse in any of them, at any of
    the looks, with a probability of at most 5% (Bonferroni).
    """
    name = objective.name
    usable = [
        (target.values[name], other.values[name])
        for target, other in sound_pairs(pairs)
        if name in target.values and name in other.values
    ]
    runs = (len(usable), len(usable))
    relative = objective.percentile is not None
    empty = Comparison(name, None, None, None, None, None, "inconclusive", runs=runs, relative=relative)
    if not usable:
        return PairedComparison(replace(empty, detail="not measured in both blocks of any pair"), ())
    value, baseline = (_mean([pair[side].value for pair in usable], relative=relative) for side in (0, 1))
    if relative:
        metric, percentile = objective.percentile or ("", "")
        effect = effects.of_latency(metric, metrics.PERCENTILES[percentile], baseline)
    else:
        effect = effects.of_share()
    terms = ChangeTerms(
        effect,
        baseline if relative else None,
        0.0,
        confidence_of_pairs(comparisons),
        1 - 2 * EQUIVALENCE_ERROR,
        more_is_worse=objective.key != GOODPUT,
    )
    then = fmean(other.net for _, other in usable)
    changes = tuple(terms.shown(terms.change(target.net - other.net, other.net)) for target, other in usable)
    comparison = replace(
        empty,
        value=value,
        baseline=baseline,
        difference=terms.shown(terms.change(fmean(one.net - two.net for one, two in usable), then)),
        smallest_effect=terms.shown(effect.smallest),
        smallest_effect_ms=effect.smallest if relative and effect.is_absolute else None,
        repeats_may_tell=True,
    )
    if problem := _left_out(pairs, usable):
        return PairedComparison(replace(comparison, detail=problem), changes)
    if len(usable) < LEAST_PAIRS:
        few = replace(comparison, detail=f"too few pairs ({len(usable)})")
        return PairedComparison(few, changes, count_for(math.inf, 1.0, terms.confidence))
    return _decided(comparison, usable, terms, changes)


def is_required(name: str) -> bool:
    """Whether a metric must be decided for a test to pass."""
    return name in REQUIRED_KEYS


def is_decided(comparisons: Sequence[PairedComparison], *, most_pairs: float, all_required: bool) -> bool:
    """Whether a test can end: a metric is worse, or all have a verdict that can have one in time.

    most_pairs: how many pairs fit into the time of the test. What is not required, unless all_required, and would need
    more than that is not waited for. It stays inconclusive.
    """
    if any(paired.comparison.verdict == "worse" for paired in comparisons):
        return True
    undecided = [paired for paired in comparisons if paired.comparison.verdict == "inconclusive"]
    return not any(
        all_required
        or is_required(paired.comparison.key)
        or (paired.pairs_needed is not None and paired.pairs_needed <= most_pairs)
        for paired in undecided
    )


def confidence_of_pairs(comparisons: int) -> float:
    """The confidence of each interval. Only one end of each counts for a false alarm."""
    return 1 - 2 * EQUIVALENCE_ERROR / max(2, comparisons)


def sound_pairs(pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs of which both blocks can be used."""
    return [pair for pair in pairs if not any(block.problem for block in pair)]


def _mean(values: Sequence[float], *, relative: bool) -> float:
    if not relative:
        return fmean(values)
    return math.exp(fmean(map(started_log, values))) - STARTED_MS


def _left_out(pairs: Sequence[Pair], usable: Sequence[tuple[BlockValue, BlockValue]]) -> str:
    """Why the usable pairs do not represent all; empty if they are."""
    left_out = len(pairs) - len(usable)
    if left_out <= MOST_LEFT_OUT * len(pairs):
        return ""
    problems = [block.problem for pair in pairs for block in pair if block.problem]
    why = f", for example: {problems[0]}" if problems else ""
    return f"{left_out} of {len(pairs)} pairs cannot be used{why}"


def _decided(
    comparison: Comparison,
    usable: Sequence[tuple[BlockValue, BlockValue]],
    terms: ChangeTerms,
    changes: tuple[float, ...],
) -> PairedComparison:
    differences = [target.net - other.net for target, other in usable]
    sd = max(stdev(differences), _least_sd(usable, comparison))
    count = len(usable)
    net, then = fmean(differences), fmean(other.net for _, other in usable)
    ends = _possible(usable, net)

    def widened(of: Interval, confidence: float) -> Interval:
        margin = half_width(count, sd, confidence)
        if math.isinf(margin):
            return -math.inf, math.inf
        return terms.change(of[0] - margin, then), terms.change(of[1] + margin, then)

    difference = Difference(
        measured=terms.change(net, then),
        possible=(terms.change(ends[0], then), terms.change(ends[1], then)),
        noise=widened((net, net), terms.confidence),
        interval=widened(ends, terms.confidence),
        narrow=widened(ends, terms.narrow),
    )
    judged = difference if terms.more_is_worse else difference.worse_is_lower()
    is_known = math.isfinite(difference.interval[0])
    verdict = verdict_of(judged, terms.effect) if is_known else "inconclusive"
    undecided = verdict == "inconclusive"
    return PairedComparison(
        replace(
            comparison,
            low=terms.shown(difference.interval[0]) if is_known else None,
            high=terms.shown(difference.interval[1]) if is_known else None,
            verdict=verdict,
            detail="; ".join(reasons(difference, terms, verdict)) if is_known else f"too few pairs ({count})",
            repeats_may_tell=undecided,
        ),
        changes,
        _pairs_needed(difference, ends, then, sd, terms) if undecided else None,
    )


def _least_sd(usable: Sequence[tuple[BlockValue, BlockValue]], comparison: Comparison) -> float:
    """The least standard deviation of a difference: of a latency by the width of a bucket of the histogram, of a share
    as if all cases were independent, with one more of each kind.
    """
    if comparison.relative:
        return math.sqrt(2) * BUCKET_SD
    cases = sum(value.cases for pair in usable for value in pair)
    hits = sum(value.value * value.cases for pair in usable for value in pair)
    share = (hits + 1) / (cases + 2)
    return math.sqrt(2 * share * (1 - share) * 2 * len(usable) / max(1, cases))


def _possible(usable: Sequence[tuple[BlockValue, BlockValue]], net: float) -> Interval:
    """The ends of the mean difference if the harness's delays differ between both sides as much as they can."""
    too_long = systematic([(one.net - one.low) - (two.net - two.low) for one, two in usable])
    too_short = systematic([(one.high - one.net) - (two.high - two.net) for one, two in usable])
    lower = max(0.0, too_long) + max(0.0, -too_short)
    higher = max(0.0, -too_long) + max(0.0, too_short)
    return net - lower, net + higher


def systematic(surplus: Sequence[float]) -> float:
    """The median of the differences between the delays of both sides, if they have one direction; 0 if not.

    Delays that differ by chance are part of the noise. A sign test at 5% tells (of so few pairs that it cannot, all
    must have one sign).
    """
    positive, negative = (sum(sign * one > _NO_DELAY for one in surplus) for sign in (1, -1))
    count, more = positive + negative, max(positive, negative)
    if not count:
        return 0.0
    chance = min(1.0, 2 * sum(math.comb(count, hits) for hits in range(more, count + 1)) / 2**count)
    return median(surplus) if chance <= max(DELAYS_ERROR, 2 / 2**count) else 0.0


def _pairs_needed(
    difference: Difference, ends: Interval, then: float, sd: float, terms: ChangeTerms
) -> int | None:
    """How many pairs would decide a difference that stays as it is; None if no number does, or millions do."""
    smallest, margin = terms.effect.smallest, terms.effect.margin
    if abs(difference.measured) >= smallest:
        if not (difference.possible[0] >= smallest or difference.possible[1] <= -smallest):
            return None  # the harness's own delays may be the reason, however many pairs there are
        return count_for(min(abs(end) for end in ends), sd, terms.confidence)
    if not is_within(difference.possible, margin):
        return None
    widths = (terms.on_scale(margin, then) - ends[1], ends[0] - terms.on_scale(-margin, then))
    needed = count_for(min(widths), sd, terms.narrow)
    least = count_for(math.inf, sd, terms.confidence)
    return None if needed is None or least is None else max(needed, least)
