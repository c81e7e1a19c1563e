"""Slow drift in the history of a baseline: changes of the level that no single comparison detects.

A comparison calls a change below the smallest effect the same, and it joins the baseline; ten such changes add up. Here
the level of each metric is followed over all tests of the history (harness.gate.change_points). Successive changes in
one direction are one drift, which began with the first of them. It counts from the smallest effect on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Literal

from harness.formatting import counted
from harness.gate.change_points import MOST_WORK, TooMuchWorkError, Work, begin_of, change_points
from harness.gate.confidence_intervals import STARTED_MS, started_log
from harness.gate.equivalence import USUAL_EFFECTS, Effects
from harness.gate.history import HistoryEntry
from harness.gate.objective import GOODPUT, Objective
from harness.results import metrics

FALSE_ALARMS = 0.05
"""Probability that a history without any change has a drift in any metric (Bonferroni)."""
LEAST_STEP = 0.5
"""The least difference between two levels, in smallest effects. A smaller one would move the start of a drift."""
LEAST_TESTS = 8
"""Of fewer tests, no division into two levels is clear enough with several metrics."""

DriftVerdict = Literal["worse", "better", "small"]


@dataclass(frozen=True, slots=True)
class Drift:
    """Successive changes of a metric in one direction.

    began: index of the first test at a new level. steps: the indexes of all of them. before, after: the level before
    the first and after the last, in ms or as a share. verdict: "small" if the change is below the smallest effect.
    """

    began: int
    steps: tuple[int, ...]
    before: float
    after: float
    verdict: DriftVerdict

    @property
    def change(self) -> float:
        """As a share of the level before; for a share the difference."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class MetricTrend:
    """One metric over the history. places: indexes of the tests that measured it. levels: the level at each of them."""

    name: str
    places: tuple[int, ...]
    levels: tuple[float, ...]
    drifts: tuple[Drift, ...]

    @property
    def latest(self) -> Drift | None:
        """The last drift, if it counts."""
        last = self.drifts[-1] if self.drifts else None
        return None if last is None or last.verdict == "small" else last


@dataclass(frozen=True, slots=True)
class Trend:
    """The history of a baseline. left_out: how many older tests had a different load. notes: clauses.

    unfollowed: names of metrics that were not followed, since levels changed too often.
    """

    entries: tuple[HistoryEntry, ...]
    trends: tuple[MetricTrend, ...]
    left_out: int
    notes: tuple[str, ...]
    unfollowed: tuple[str, ...] = ()


def trend_of(
    history: Sequence[HistoryEntry], effects: Effects = USUAL_EFFECTS, most_work: int = MOST_WORK
) -> Trend:
    """The trend of a history, oldest test first, of the tests with the load of the newest. Deterministic.

    most_work: as MOST_WORK of change_points; metrics that need more are not followed.
    """
    entries = tuple(entry for entry in history if entry.load == history[-1].load)
    left_out = len(history) - len(entries)
    names = [
        name for name in entries[-1].values if sum(name in entry.values for entry in entries) >= LEAST_TESTS
    ]
    work = Work(most_work)
    trends, unfollowed = [], []
    for name in names:
        try:
            trends.append(_trend(name, entries, effects, FALSE_ALARMS / len(names), work))
        except TooMuchWorkError:
            unfollowed.append(name)
    notes = tuple(_notes(entries, left_out, unfollowed))
    return Trend(entries, tuple(trends), left_out, notes, tuple(unfollowed))


def _notes(entries: Sequence[HistoryEntry], left_out: int, unfollowed: Sequence[str]) -> Iterator[str]:
    if left_out:
        yield f"{counted(left_out, 'older test')} with a different load or suite left out"
    if unfollowed:
        yield (
            f"{counted(len(unfollowed), 'metric')} not followed, since levels changed too often to look at all: "
            f"{', '.join(unfollowed)}"
        )
    if len(entries) < LEAST_TESTS:
        yield f"too few tests for a trend ({len(entries)}): at least {LEAST_TESTS} are needed"
    machines = list(dict.fromkeys(entry.machine for entry in entries if entry.machine))
    if len(machines) > 1:
        yield f"the tests ran on different machines, which may be the reason for a change: {', '.join(machines)}"


def _trend(
    name: str, entries: Sequence[HistoryEntry], effects: Effects, error: float, work: Work
) -> MetricTrend:
    objective = Objective(name.rpartition(".")[2], 0.0)
    places = tuple(place for place, entry in enumerate(entries) if name in entry.values)
    values = [entries[place].values[name].value for place in places]
    is_latency = objective.percentile is not None
    scaled = [started_log(value) for value in values] if is_latency else values
    changes = _without_small(change_points(scaled, error, work), values, objective, effects)
    ends = [0, *changes, len(values)]
    means = [fmean(scaled[first:end]) for first, end in pairwise(ends)]
    levels = [math.exp(mean) - STARTED_MS if is_latency else mean for mean in means]
    of_each = [
        level for level, first, end in zip(levels, ends, ends[1:], strict=False) for _ in range(end - first)
    ]
    drifts = []
    for first, last in _directions(levels):
        before, after = levels[first], levels[last]
        steps = changes[first:last]
        start, end = ends[first], ends[last + 1]
        began = start + begin_of(scaled[start:end], [step - start for step in steps])
        verdict = _verdict(objective, before, after, effects)
        drifts.append(Drift(places[began], tuple(places[step] for step in steps), before, after, verdict))
    return MetricTrend(name, places, tuple(of_each), tuple(drifts))


def _without_small(
    changes: Sequence[int], values: Sequence[float], objective: Objective, effects: Effects
) -> list[int]:
    """The divisions without those between levels that differ by less than LEAST_STEP, the smallest first."""
    left = list(changes)
    while left:
        means = [fmean(values[first:end]) for first, end in pairwise([0, *left, len(values)])]
        sizes = [
            abs(after - before) / _smallest(objective, before, effects) for before, after in pairwise(means)
        ]
        if min(sizes) >= LEAST_STEP:
            break
        del left[sizes.index(min(sizes))]
    return left


def _directions(levels: Sequence[float]) -> Iterator[tuple[int, int]]:
    """The first and the last level of each series of levels that rise, or fall."""
    first = 0
    for number in range(1, len(levels)):
        if number + 1 == len(levels) or _rises(levels, number) != _rises(levels, number - 1):
            yield first, number
            first = number


def _rises(levels: Sequence[float], number: int) -> bool:
    return levels[number + 1] > levels[number]


def _verdict(objective: Objective, before: float, after: float, effects: Effects) -> DriftVerdict:
    if abs(after - before) < _smallest(objective, before, effects):
        return "small"
    return "worse" if (after > before) != (objective.key == GOODPUT) else "better"


def _smallest(objective: Objective, before: float, effects: Effects) -> float:
    """The smallest effect on a metric with that level, in ms or as a share; above 0."""
    if objective.percentile is None:
        effect = effects.of_share()
    else:
        metric, percentile = objective.percentile
        effect = effects.of_latency(metric, metrics.PERCENTILES[percentile], before)
    return max(effect.smallest, 1e-9)
