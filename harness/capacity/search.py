"""The capacity search: which rate to try next, and what the runs so far show.

A run at a rate meets every objective (passed) or misses one (failed). With noise, runs at one rate can differ. The
limit is the rate at which P(passed | rate) falls through 1/2. The only assumption on P is that it never rises with
the rate.

The result is an interval, from a rate at which all of n runs passed to a rate at which all of n failed. If the limit
were below the lower end, each of those runs would have passed with a probability of at most 1/2, and all of them with
at most 2^-n: the sign test (Dixon and Mood, The statistical sign test, JASA 41, 1946); likewise for the upper end. So
the confidence of the interval is at least 1 - 2·2^-n: 75% with three runs, 94% with five. A rate at which runs
disagree is never an end, however many of them agree.

The search doubles the rate until a run fails, bisects (in the logarithm) down to the requested precision, and then
repeats both ends. Trying pairs of ends until two of them agree would find some by chance. So the first rate at which
runs disagree is repeated and then skipped; with a second one, bisection ends and the ends are searched outside of
these rates. In simulations the interval covers the limit as often as claimed if P falls from 90% to 10% within a
factor of four of the rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from harness.formatting import counted

TrialVerdict = Literal["passed", "failed", "saturated", "invalid"]
"""saturated: no verdict, because the harness was too busy. invalid: no verdict, for any other reason."""

SearchOutcome = Literal[
    "found", "above", "below", "noise", "harness", "invalid", "time", "interrupted", "stopped"
]

GROWTH = 2.0
"""Factor from rate to rate until a run fails."""

_MAJORITY = 0.75  # share of the runs at a rate that must agree for the search to go on past an outlier
_MOST_SPLIT_RATES = 1  # rates at which runs may disagree; with more, ends between them would agree by chance
_RUNS_PER_REPEAT = 8  # limit of all runs, per repeat: beyond that, more runs show nothing new
_DIGITS = 3  # significant digits of a rate


class Trial(NamedTuple):
    """One run: its rate in arrivals per second, and its verdict."""

    rate: float
    verdict: TrialVerdict


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """The range and precision of a search.

    lowest, highest: arrivals per second. repeats: number of runs that must agree at each end. precision: allowed
    width of the interval, as a share of its lower end.
    """

    lowest: float
    highest: float
    repeats: int
    precision: float


@dataclass(frozen=True, slots=True)
class Try:
    """The rate of the next run, in arrivals per second."""

    rate: float


@dataclass(frozen=True, slots=True)
class CapacityResult:
    """The result of a search.

    low, low_runs: the highest rate below the limit, and the number of runs that show it; high, high_runs: the lowest
    rate above. None and 0 if unknown. by_harness: the harness was saturated at the upper end, so it is not the limit of
    the server.
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
        """Lower bound of the probability that the limit is in the interval: 1 minus 2^-runs for each known end."""
        ends = [
            runs for end, runs in ((self.low, self.low_runs), (self.high, self.high_runs)) if end is not None
        ]
        return max(0.0, 1 - sum(0.5**runs for runs in ends)) if ends else 0.0

    @property
    def limit(self) -> float | None:
        """The geometric middle of the interval; None if an end is unknown."""
        return None if self.low is None or self.high is None else math.sqrt(self.low * self.high)

    @property
    def width(self) -> float | None:
        """Width of the interval, as a share of its lower end; None if an end is unknown."""
        return None if self.low is None or self.high is None else self.high / self.low - 1


@dataclass(slots=True)
class RateTrials:
    """A rate with its runs by verdict."""

    rate: float
    passed: int = 0
    failed: int = 0
    saturated: int = 0

    @property
    def decided(self) -> int:
        """Runs with a verdict on the server."""
        return self.passed + self.failed

    def is_open(self, repeats: int) -> bool:
        """Whether the search needs more runs at this rate: they disagree, or none has a verdict."""
        if not self.decided:
            return self.saturated < repeats
        return bool(self.passed and self.failed) and self.decided + self.saturated < 2 * repeats

    @property
    def goes_up(self) -> bool:
        """Whether it indicates a higher limit: its runs passed, except for outliers."""
        return bool(self.passed) and self.passed >= _MAJORITY * self.decided

    @property
    def goes_down(self) -> bool:
        """Whether it indicates a lower limit, or that the harness cannot measure at higher rates."""
        return not self.passed or self.failed >= _MAJORITY * self.decided

    @property
    def by_harness(self) -> bool:
        """Whether the harness was saturated in each of its runs."""
        return not self.decided

    @property
    def upper_runs(self) -> int:
        """Runs that show that this rate is too high."""
        return self.failed or self.saturated


def by_rate(trials: Iterable[Trial]) -> list[RateTrials]:
    """The rates tried, ascending, without invalid runs."""
    rates: dict[float, RateTrials] = {}
    for rate, verdict in trials:
        if verdict != "invalid":
            site = rates.setdefault(rate, RateTrials(rate))
            site.passed += verdict == "passed"
            site.failed += verdict == "failed"
            site.saturated += verdict == "saturated"
    return [rates[rate] for rate in sorted(rates)]


@dataclass(frozen=True, slots=True)
class Bracket:
    """The rates that enclose the limit.

    low: the highest rate at which all runs passed, below all rates that indicate a lower limit. high: the lowest rate
    at which none passed, above all rates that indicate a higher limit. between: rates in between, at which runs
    disagree.
    """

    low: RateTrials | None
    high: RateTrials | None
    between: tuple[RateTrials, ...]

    @classmethod
    def of(cls, rates: Sequence[RateTrials]) -> Bracket:
        lowest_down = min((site.rate for site in rates if not site.goes_up), default=math.inf)
        highest_up = max((site.rate for site in rates if not site.goes_down), default=0.0)
        passed = [site for site in rates if site.passed and not site.failed and site.rate < lowest_down]
        failed = [site for site in rates if not site.passed and site.rate > highest_up]
        low, high = (passed[-1] if passed else None), (failed[0] if failed else None)
        floor = low.rate if low else 0.0
        ceiling = high.rate if high else math.inf
        return cls(low, high, tuple(site for site in rates if floor < site.rate < ceiling))


def next_step(trials: Sequence[Trial], plan: SearchPlan) -> Try | CapacityResult:
    """The next run, or the result if more runs would show nothing new. A pure function."""
    invalid = _invalid_at_the_end(trials)
    if invalid:
        if invalid >= plan.repeats:
            return conclude(trials, "invalid", f"{counted(invalid, 'run')} in a row had no verdict")
        return Try(trials[-1].rate)
    rates = by_rate(trials)
    if not rates:
        return Try(plan.lowest)
    if len(trials) >= _RUNS_PER_REPEAT * plan.repeats + _climb(plan):
        return conclude(trials, "noise", f"{counted(len(trials), 'run')} did not settle it")
    noisy = sum(bool(site.passed and site.failed) for site in rates) > _MOST_SPLIT_RATES
    for site in rates:
        if site.is_open(plan.repeats) and not (noisy and site.decided):
            return Try(site.rate)
    bracket = Bracket.of(rates)
    if bracket.high is None:
        return _upwards(rates, trials, plan)
    if bracket.low is None and not rates[0].goes_up:
        return _at_the_end(rates[0], trials, plan)
    return _narrower(bracket, trials, plan, noisy=noisy)


def _climb(plan: SearchPlan) -> int:
    """Number of runs from the lowest rate to the highest."""
    return math.ceil(math.log(plan.highest / plan.lowest, GROWTH)) + 1


def _invalid_at_the_end(trials: Sequence[Trial]) -> int:
    count = 0
    for trial in reversed(trials):
        if trial.verdict != "invalid":
            break
        count += 1
    return count


def _upwards(rates: Sequence[RateTrials], trials: Sequence[Trial], plan: SearchPlan) -> Try | CapacityResult:
    """No run failed yet, or runs disagree above the rates that failed."""
    top = rates[-1]
    if top.rate < plan.highest:
        return Try(min(_rounded(top.rate * GROWTH), plan.highest))
    return _at_the_end(top, trials, plan)


def _at_the_end(site: RateTrials, trials: Sequence[Trial], plan: SearchPlan) -> Try | CapacityResult:
    """The search is at one end of its range, and the limit seems to be outside."""
    if site.passed and site.failed:
        return conclude(trials, "noise", f"at {_runs(site)}, at the end of the range")
    if (site.passed or site.upper_runs) < plan.repeats:
        return Try(site.rate)
    if site.passed:
        why = f"every objective was met even at {site.rate:g}/s, the highest rate of the range"
        return conclude(trials, "above", why)
    if site.by_harness:
        return conclude(trials, "harness", f"the harness was saturated even at {site.rate:g}/s")
    why = f"not all objectives were met even at {site.rate:g}/s, the lowest rate of the range"
    return conclude(trials, "below", why)


def _narrower(
    bracket: Bracket, trials: Sequence[Trial], plan: SearchPlan, *, noisy: bool
) -> Try | CapacityResult:
    low, high = bracket.low, bracket.high
    assert high is not None
    floor = low.rate if low else plan.lowest
    wide = low is None or high.rate > floor * (1 + plan.precision)
    if wide and not noisy:
        middle = _middle(floor, [site.rate for site in bracket.between if site.rate > floor], high.rate, plan)
        if middle is not None:
            return Try(middle)
    for end, runs in ((low, low.passed if low else 0), (high, high.upper_runs)):
        if end is not None and runs < plan.repeats:
            return Try(end.rate)
    if wide:
        split = "; ".join(map(_runs, bracket.between)) or f"at {plan.lowest:g}/s some passed"
        return conclude(trials, "noise", f"runs at the same rate disagree ({split})")
    if high.by_harness:
        why = f"from {high.rate:g}/s on, the harness was saturated: that is the limit of the harness"
        return conclude(trials, "harness", why)
    return conclude(trials, "found", "")


def _middle(floor: float, between: Sequence[float], ceiling: float, plan: SearchPlan) -> float | None:
    """The rate that bisects the wider gap; None if no gap is worth a run.

    between: rates at which runs disagree; if they alone are wider than the precision, narrowing does not help.
    """
    if not between:
        return _between(floor, ceiling)
    if between[-1] > between[0] * (1 + plan.precision):
        return None
    bottom, top = max((floor, between[0]), (between[-1], ceiling), key=lambda gap: gap[1] / gap[0])
    return _between(bottom, top) if top > bottom * (1 + plan.precision / 8) else None


def conclude(trials: Sequence[Trial], outcome: SearchOutcome, why: str) -> CapacityResult:
    """The result of these runs, whether they settle it or not."""
    bracket = Bracket.of(by_rate(trials))
    low, high = bracket.low, bracket.high
    return CapacityResult(
        outcome=outcome,
        why=why,
        low=low.rate if low else None,
        low_runs=low.passed if low else 0,
        high=high.rate if high else None,
        high_runs=high.upper_runs if high else 0,
        by_harness=high is not None and high.by_harness,
    )


def _runs(site: RateTrials) -> str:
    parts = [f"{site.passed} of {counted(site.decided, 'run')} passed"]
    if site.saturated:
        parts.append(f"the harness was saturated in {site.saturated} more")
    return f"{site.rate:g}/s {', '.join(parts)}"


def _rounded(rate: float) -> float:
    return float(f"{rate:.{_DIGITS}g}")


def _between(low: float, high: float) -> float | None:
    """The geometric middle, rounded; None if there is no rounded number in between."""
    middle = _rounded(math.sqrt(low * high))
    return middle if low < middle < high else None
