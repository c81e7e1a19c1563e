"""Which rate to try next, and what the runs so far say: the search for the limit, and its statistics.

A run at a rate either holds every objective or misses one, and with noise it does not always do the same.
The limit is the rate up to which a run holds more often than not: P(held | rate) falls through 1/2 there.
Of P nothing more is taken for granted than that it never rises with the rate.

The answer is an interval: from a rate at which each of n runs held to one at which each of n missed. Were
the limit below the lower end, each of those runs would have held with a probability of at most 1/2, and all
of them with at most 2^-n: the sign test (Dixon and Mood, The statistical sign test, JASA 41, 1946), and the
same for the upper end. So the interval is at a confidence of 1 - 2·2^-n at least: 75% with three runs, 94%
with five. A rate where runs disagree is no end of it, however many of them agree.

The way there is the quickest: double the rate until a run misses, halve the gap (in the logarithm) until it
is as narrow as asked for, then repeat both ends. Trying one pair of ends after the other until two agree
would find some by luck; so one rate where runs disagree is repeated and passed by, and with a second the
halving is over, and the ends are looked for outside of them. Simulated, the interval then covers the limit as
often as it claims wherever P falls from 90% to 10% within a factor of four of the rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

TrialVerdict = Literal["passed", "failed", "saturated", "invalid"]
"""saturated: nobody can say, as the harness was too busy. void: nobody can say, for another reason."""

SearchOutcome = Literal[
    "found", "above", "below", "noise", "harness", "invalid", "time", "interrupted", "stopped"
]

GROWTH = 2.0
"""From rate to rate while nothing has been missed."""

_LEANS = 0.75  # of a rate's runs: by so many that agree the search goes on past a stray one
_SPLITS = 1  # rates where runs disagree; with more, whatever ends agreed in between would be found by luck
_RUNS_A_REPEAT = 8  # beyond so many times the repeats, more runs would say the same again
_DIGITS = 3  # significant, of a rate: more than anybody reads or a run can tell apart


class Trial(NamedTuple):
    """One run: the arrivals a second it was given, and what came of it."""

    rate: float
    verdict: TrialVerdict


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """What to search for.

    lowest, highest: arrivals per second to search between. repeats: runs at either end of the answer that
    must agree. precision: how much higher than the lower end the upper one may be, as a share of it.
    """

    lowest: float
    highest: float
    repeats: int
    precision: float


@dataclass(frozen=True, slots=True)
class Try:
    """The next run is to be at this rate, per second."""

    rate: float


@dataclass(frozen=True, slots=True)
class CapacityResult:
    """What the runs say.

    low: the highest rate of which it is sure that it is held, and how many runs say so; high: the lowest
    that is missed, likewise. None where there is none, with 0 runs. limit: the middle, when both are known.
    by_harness: the upper end is where the harness was saturated, so it is not the server's limit.
    """

    outcome: SearchOutcome
    why: str
    low: float | None
    low_runs: int
    high: float | None
    high_runs: int
    by_harness: bool = False

    @property
    def confidence(self) -> float:
        """That the limit lies in the interval, at least: 1 less 2^-runs for each end that it has."""
        ends = [
            runs for end, runs in ((self.low, self.low_runs), (self.high, self.high_runs)) if end is not None
        ]
        return max(0.0, 1 - sum(0.5**runs for runs in ends)) if ends else 0.0

    @property
    def limit(self) -> float | None:
        """The geometric middle of the interval; None where it is open."""
        return None if self.low is None or self.high is None else math.sqrt(self.low * self.high)

    @property
    def width(self) -> float | None:
        """How much higher the upper end is than the lower, as a share of it."""
        return None if self.low is None or self.high is None else self.high / self.low - 1


@dataclass(slots=True)
class RateTrials:
    """A rate that was tried, and its runs by their verdict."""

    rate: float
    held: int = 0
    missed: int = 0
    saturated: int = 0

    @property
    def decided(self) -> int:
        """Runs that say something of the server."""
        return self.held + self.missed

    def is_open(self, repeats: int) -> bool:
        """Whether it takes more runs before the search can go on: they disagree, or say nothing yet."""
        if not self.decided:
            return self.saturated < repeats
        return bool(self.held and self.missed) and self.decided + self.saturated < 2 * repeats

    @property
    def goes_up(self) -> bool:
        """Whether it speaks for a limit above: its runs held, but for a stray one."""
        return bool(self.held) and self.held >= _LEANS * self.decided

    @property
    def goes_down(self) -> bool:
        """Whether it speaks for a limit below, or for none that this harness can find above."""
        return not self.held or self.missed >= _LEANS * self.decided

    @property
    def by_harness(self) -> bool:
        """Whether it was never decided, because the harness was saturated each time."""
        return not self.decided

    @property
    def against(self) -> int:
        """Runs that did not hold, where none did."""
        return self.missed or self.saturated


def by_rate(trials: Iterable[Trial]) -> list[RateTrials]:
    """The rates that were tried, ascending. Void runs are left out."""
    found: dict[float, RateTrials] = {}
    for rate, verdict in trials:
        if verdict != "invalid":
            site = found.setdefault(rate, RateTrials(rate))
            site.held += verdict == "passed"
            site.missed += verdict == "failed"
            site.saturated += verdict == "saturated"
    return [found[rate] for rate in sorted(found)]


@dataclass(frozen=True, slots=True)
class Bracket:
    """Between what the limit is, for all that is known: the highest rate that only ever held, below all that
    speak for a lower limit, and the lowest that never did, above all that speak for a higher one.

    between: rates in it that were tried too: where runs disagree.
    """

    low: RateTrials | None
    high: RateTrials | None
    between: tuple[RateTrials, ...]

    @classmethod
    def of(cls, found: Sequence[RateTrials]) -> Bracket:
        lowest_down = min((one.rate for one in found if not one.goes_up), default=math.inf)
        highest_up = max((one.rate for one in found if not one.goes_down), default=0.0)
        held = [one for one in found if one.held and not one.missed and one.rate < lowest_down]
        missed = [one for one in found if not one.held and one.rate > highest_up]
        low, high = (held[-1] if held else None), (missed[0] if missed else None)
        floor = low.rate if low else 0.0
        ceiling = high.rate if high else math.inf
        return cls(low, high, tuple(one for one in found if floor < one.rate < ceiling))


def next_step(trials: Sequence[Trial], plan: SearchPlan) -> Try | CapacityResult:
    """The next run, or the answer when there is nothing more to be learnt by one. Depends on nothing else."""
    voids = _voids_at_the_end(trials)
    if voids:
        if voids >= plan.repeats:
            return conclude(trials, "invalid", f"{voids} runs in a row came to no verdict")
        return Try(trials[-1].rate)
    found = by_rate(trials)
    if not found:
        return Try(plan.lowest)
    if len(trials) >= _RUNS_A_REPEAT * plan.repeats + _climb(plan):
        return conclude(trials, "noise", f"{len(trials)} runs did not settle it")
    noisy = sum(bool(one.held and one.missed) for one in found) > _SPLITS
    for site in found:
        if site.is_open(plan.repeats) and not (noisy and site.decided):
            return Try(site.rate)
    bracket = Bracket.of(found)
    if bracket.high is None:
        return _upwards(found, trials, plan)
    if bracket.low is None and not found[0].goes_up:
        return _at_the_end(found[0], trials, plan)
    return _narrower(bracket, trials, plan, noisy=noisy)


def _climb(plan: SearchPlan) -> int:
    """Runs that it takes to get from the lowest rate to the highest."""
    return math.ceil(math.log(plan.highest / plan.lowest, GROWTH)) + 1


def _voids_at_the_end(trials: Sequence[Trial]) -> int:
    count = 0
    for trial in reversed(trials):
        if trial.verdict != "invalid":
            break
        count += 1
    return count


def _upwards(found: Sequence[RateTrials], trials: Sequence[Trial], plan: SearchPlan) -> Try | CapacityResult:
    """Nothing is missed yet, or above what was missed runs disagree."""
    top = found[-1]
    if top.rate < plan.highest:
        return Try(min(_rounded(top.rate * GROWTH), plan.highest))
    return _at_the_end(top, trials, plan)


def _at_the_end(site: RateTrials, trials: Sequence[Trial], plan: SearchPlan) -> Try | CapacityResult:
    """The search is at one end of what it was asked to search, and the limit seems to lie beyond."""
    if site.held and site.missed:
        return conclude(trials, "noise", f"at {_runs(site)}, and no rate beyond it was to be tried")
    if (site.held or site.against) < plan.repeats:
        return Try(site.rate)
    if site.held:
        why = f"every objective held even at {site.rate:g}/s, the highest rate to be tried"
        return conclude(trials, "above", why)
    if site.by_harness:
        return conclude(trials, "harness", f"the harness was saturated even at {site.rate:g}/s")
    why = f"the objectives did not all hold even at {site.rate:g}/s, the lowest rate to be tried"
    return conclude(trials, "below", why)


def _narrower(
    bracket: Bracket, trials: Sequence[Trial], plan: SearchPlan, *, noisy: bool
) -> Try | CapacityResult:
    low, high = bracket.low, bracket.high
    assert high is not None
    floor = low.rate if low else plan.lowest
    wide = low is None or high.rate > floor * (1 + plan.precision)
    if wide and not noisy:
        middle = _middle(floor, [one.rate for one in bracket.between if one.rate > floor], high.rate, plan)
        if middle is not None:
            return Try(middle)
    for end, runs in ((low, low.held if low else 0), (high, high.against)):
        if end is not None and runs < plan.repeats:
            return Try(end.rate)
    if wide:
        split = "; ".join(map(_runs, bracket.between)) or f"at {plan.lowest:g}/s some held"
        return conclude(trials, "noise", f"the same rate held in some runs and not in others ({split})")
    if high.by_harness:
        why = f"from {high.rate:g}/s on the harness itself was saturated, so that is its own limit"
        return conclude(trials, "harness", why)
    return conclude(trials, "found", "")


def _middle(floor: float, between: Sequence[float], ceiling: float, plan: SearchPlan) -> float | None:
    """The rate that halves the wider gap; None where no gap is worth it.

    between: where runs disagree. When that alone is wider than the precision, narrower ends would not do.
    """
    if not between:
        return _between(floor, ceiling)
    if between[-1] > between[0] * (1 + plan.precision):
        return None
    bottom, top = max((floor, between[0]), (between[-1], ceiling), key=lambda gap: gap[1] / gap[0])
    return _between(bottom, top) if top > bottom * (1 + plan.precision / 8) else None


def conclude(trials: Sequence[Trial], outcome: SearchOutcome, why: str) -> CapacityResult:
    """The answer by these runs, whether they settle it or not."""
    bracket = Bracket.of(by_rate(trials))
    low, high = bracket.low, bracket.high
    return CapacityResult(
        outcome=outcome,
        why=why,
        low=low.rate if low else None,
        low_runs=low.held if low else 0,
        high=high.rate if high else None,
        high_runs=high.against if high else 0,
        by_harness=high is not None and high.by_harness,
    )


def _runs(site: RateTrials) -> str:
    said = [f"{site.held} of {site.decided} runs held"]
    if site.saturated:
        said.append(f"in {site.saturated} more the harness was saturated")
    return f"{site.rate:g}/s {', '.join(said)}"


def _rounded(rate: float) -> float:
    return float(f"{rate:.{_DIGITS}g}")


def _between(low: float, high: float) -> float | None:
    """The middle in the logarithm, as a number that people read; None where there is none left."""
    middle = _rounded(math.sqrt(low * high))
    return middle if low < middle < high else None
