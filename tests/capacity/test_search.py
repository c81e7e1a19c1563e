from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.capacity.search import (
    CapacityResult,
    SearchPlan,
    Trial,
    TrialVerdict,
    Try,
    by_rate,
    conclude,
    next_step,
)
from tests.cases import all_cases

PLAN = SearchPlan(lowest=1, highest=200, repeats=3, precision=0.1)


def search(
    say: Callable[[float], TrialVerdict], plan: SearchPlan = PLAN
) -> tuple[CapacityResult, list[Trial]]:
    """A whole search; `say` returns the verdict of a run at a rate."""
    trials: list[Trial] = []
    while True:
        move = next_step(trials, plan)
        if isinstance(move, CapacityResult):
            return move, trials
        trials.append(Trial(move.rate, say(move.rate)))
        assert len(trials) < 200, "the search does not end"


def rates(trials: list[Trial]) -> list[float]:
    return [trial.rate for trial in trials]


def test_it_doubles_then_halves_the_gap_then_repeats_both_ends() -> None:
    answer, trials = search(lambda rate: "passed" if rate <= 41 else "failed")
    assert rates(trials) == [1, 2, 4, 8, 16, 32, 64, 45.3, 38.1, 41.5, 38.1, 38.1, 41.5, 41.5]
    assert (answer.outcome, answer.why) == ("found", "")
    assert (answer.low, answer.low_runs, answer.high, answer.high_runs) == (38.1, 3, 41.5, 3)
    assert answer.limit == pytest.approx(math.sqrt(38.1 * 41.5))
    assert answer.width == pytest.approx(41.5 / 38.1 - 1)
    assert answer.confidence == 0.75
    assert not answer.by_harness


@pytest.mark.parametrize(("repeats", "confidence"), [(2, 0.5), (3, 0.75), (5, 0.9375), (6, 0.96875)])
def test_confidence_follows_from_the_repeats(repeats: int, confidence: float) -> None:
    answer, _ = search(lambda rate: "passed" if rate <= 41 else "failed", SearchPlan(1, 200, repeats, 0.1))
    assert (answer.outcome, answer.confidence) == ("found", confidence)


@all_cases("precision", [0.01, 0.05, 0.1, 0.3, 1.0])
@all_cases("limit", [1.5, 7, 41, 199])
def test_the_interval_is_as_narrow_as_asked_and_holds_a_sharp_limit(precision: float, limit: float) -> None:
    answer, _ = search(lambda rate: "passed" if rate <= limit else "failed", SearchPlan(1, 200, 3, precision))
    assert answer.outcome == "found"
    assert answer.low is not None
    assert answer.high is not None
    assert answer.low <= limit < answer.high
    assert answer.high <= answer.low * (1 + precision)


def test_a_limit_above_the_highest_rate_is_not_found() -> None:
    answer, trials = search(lambda _: "passed")
    assert rates(trials) == [1, 2, 4, 8, 16, 32, 64, 128, 200, 200, 200]
    assert (answer.outcome, answer.low, answer.low_runs, answer.high) == ("above", 200, 3, None)
    assert answer.why == "every objective was met even at 200/s, the highest rate of the range"
    assert answer.limit is None
    assert answer.confidence == 0.875


def test_a_limit_below_the_lowest_rate_is_not_found() -> None:
    answer, trials = search(lambda _: "failed")
    assert rates(trials) == [1, 1, 1]
    assert (answer.outcome, answer.low, answer.high, answer.high_runs) == ("below", None, 1, 3)
    assert answer.why == "not all objectives were met even at 1/s, the lowest rate of the range"


def test_a_stray_miss_on_the_way_up_is_looked_into_and_passed_by() -> None:
    left = ["failed"]

    def say(rate: float) -> TrialVerdict:
        if rate == 8 and left:
            left.pop()
            return "failed"
        return "passed" if rate <= 41 else "failed"

    answer, trials = search(say)
    assert rates(trials)[:6] == [1, 2, 4, 8, 5.66, 6.73]
    assert answer.outcome == "found"
    assert answer.low is not None
    assert answer.low <= 41
    assert answer.high is not None
    assert answer.high > 41


def test_runs_that_disagree_are_no_end_however_many() -> None:
    """At 41.5, two of three runs fail: a majority would make it the upper end."""
    verdicts = iter(["failed", "passed", "failed"] + ["failed", "passed"] * 50)
    answer, trials = search(
        lambda rate: next(verdicts) if rate == 41.5 else "passed" if rate < 41.5 else "failed"
    )
    assert sum(rate == 41.5 for rate in rates(trials)) == 6
    assert answer.low is not None
    assert answer.high is not None
    assert answer.low < 41.5 < answer.high


def test_noise_wider_than_the_precision_is_the_outcome() -> None:
    flips = {rate: iter(["passed", "failed"] * 100) for rate in range(1000)}
    answer, trials = search(
        lambda rate: "passed" if rate < 30 else "failed" if rate > 50 else next(flips[round(rate)])
    )
    assert answer.outcome == "noise"
    assert answer.why.startswith("runs at the same rate disagree (32/s 1 of 2 runs passed; ")
    assert answer.low is not None
    assert answer.low < 30
    assert answer.high is not None
    assert answer.high > 50
    assert (answer.low_runs, answer.high_runs) == (3, 3)
    assert len(trials) < 25


def test_noise_at_the_highest_rate_is_the_outcome() -> None:
    flips = iter(["passed", "failed"] * 20)
    answer, _ = search(lambda rate: next(flips) if rate == 200 else "passed")
    assert answer.outcome == "noise"
    assert answer.why == "at 200/s 3 of 6 runs passed, at the end of the range"


def test_saturation_is_the_limit_of_the_harness() -> None:
    answer, trials = search(lambda rate: "passed" if rate <= 41 else "saturated")
    assert (answer.outcome, answer.by_harness) == ("harness", True)
    assert answer.low is not None
    assert answer.low <= 41
    assert (
        answer.why
        == f"from {answer.high:g}/s on, the harness was saturated: that is the limit of the harness"
    )
    assert rates(trials).count(64) == 3  # it is no verdict before it was so each time


def test_a_harness_that_is_always_saturated_finds_nothing() -> None:
    answer, trials = search(lambda _: "saturated")
    assert rates(trials) == [1, 1, 1]
    assert (answer.outcome, answer.why) == ("harness", "the harness was saturated even at 1/s")


def test_a_saturation_that_passes_decides_nothing() -> None:
    once: set[float] = set()

    def say(rate: float) -> TrialVerdict:
        if rate not in once:
            once.add(rate)
            return "saturated"
        return "passed" if rate <= 41 else "failed"

    answer, _ = search(say)
    assert (answer.outcome, answer.low, answer.high, answer.by_harness) == ("found", 38.1, 41.5, False)


def test_saturation_above_the_limit_does_not_matter() -> None:
    answer, _ = search(lambda rate: "passed" if rate <= 41 else "failed" if rate < 60 else "saturated")
    assert (answer.outcome, answer.by_harness) == ("found", False)


def test_invalid_runs_are_repeated_and_then_end_the_search() -> None:
    verdicts = iter(["passed", "invalid", "passed", "invalid", "invalid", "invalid"])
    answer, trials = search(lambda _: next(verdicts))
    assert rates(trials) == [1, 2, 2, 4, 4, 4]
    assert (answer.outcome, answer.why) == ("invalid", "3 runs in a row had no verdict")
    assert (answer.low, answer.low_runs) == (2, 1)


def test_the_next_step_depends_on_the_record_alone() -> None:
    _, trials = search(lambda rate: "passed" if rate <= 41 else "failed")
    for made in range(len(trials)):
        assert next_step(trials[:made], PLAN) == Try(trials[made].rate)


def test_the_result_of_an_interrupted_search() -> None:
    assert conclude([], "interrupted", "") == CapacityResult("interrupted", "", None, 0, None, 0)
    answer = conclude(
        [Trial(1, "passed"), Trial(2, "passed"), Trial(4, "failed"), Trial(3, "invalid")], "time", "t"
    )
    assert (answer.low, answer.low_runs, answer.high, answer.high_runs) == (2, 1, 4, 1)
    assert answer.confidence == 0.0  # two single runs say nothing for sure


def test_sites_count_by_rate() -> None:
    (first, second) = by_rate(
        [Trial(2, "failed"), Trial(1, "passed"), Trial(2, "saturated"), Trial(3, "invalid")]
    )
    assert (first.rate, first.passed, first.failed, first.saturated) == (1, 1, 0, 0)
    assert (second.rate, second.passed, second.failed, second.saturated) == (2, 0, 1, 1)


@given(st.randoms(use_true_random=False), st.integers(2, 6), st.sampled_from([0.01, 0.1, 0.5]))
@settings(max_examples=150, deadline=None)
def test_it_ends_and_stays_within_its_bounds_whatever_comes(
    rng: random.Random, repeats: int, precision: float
) -> None:
    plan = SearchPlan(0.3, 77, repeats, precision)
    verdicts: list[TrialVerdict] = ["passed", "failed", "saturated", "invalid"]
    answer, trials = search(lambda _: rng.choice(verdicts), plan)
    assert all(0.3 <= rate <= 77 for rate in rates(trials))
    if answer.low is not None and answer.high is not None:
        assert answer.low < answer.high
    if answer.outcome == "found":
        assert answer.low is not None
        assert answer.high is not None
        assert answer.high <= answer.low * (1 + precision)
        assert min(answer.low_runs, answer.high_runs) >= repeats
        assert not answer.by_harness


# How steeply P(held | rate) falls: from 90% to 10% over a factor of 4.3, 2.1, 1.2, 1.04 of the rate, and at once.
SLOPES = [3, 6, 25, 100, math.inf]


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize(("repeats", "claimed"), [(3, 0.75), (5, 0.9375)])
def test_the_interval_covers_the_limit_at_least_as_often_as_it_claims(
    slope: float, repeats: int, claimed: float
) -> None:
    rng = random.Random(20240607)
    plan = SearchPlan(1, 200, repeats, 0.1)
    searches = 400
    covered = claims = 0
    for _ in range(searches):
        limit = math.exp(rng.uniform(math.log(4), math.log(120)))

        def say(rate: float, limit: float = limit) -> TrialVerdict:
            if math.isinf(slope):
                return "passed" if rate <= limit else "failed"
            held = 1 / (1 + (rate / limit) ** slope)
            return "passed" if rng.random() < held else "failed"

        answer, _ = search(say, plan)
        if answer.confidence >= claimed:
            claims += 1
            covered += (answer.low or 0) <= limit <= (answer.high or math.inf)
    assert claims > 0.5 * searches
    # Two standard errors of the simulation below the claim would be a broken one.
    assert covered / claims >= claimed - 2 * math.sqrt(claimed * (1 - claimed) / claims)
    if slope >= 100:
        assert covered / claims >= 0.95


def test_the_simulation_would_see_an_interval_that_is_too_narrow() -> None:
    """The test above can fail: bisection without repeats claims too much."""
    rng = random.Random(1)
    covered = 0
    for _ in range(400):
        limit = math.exp(rng.uniform(math.log(4), math.log(120)))
        trials: list[Trial] = []
        low, high = 1.0, 200.0
        while high > 1.1 * low:
            rate = math.sqrt(low * high)
            held = rng.random() < 1 / (1 + (rate / limit) ** 6)
            trials.append(Trial(rate, "passed" if held else "failed"))
            low, high = (rate, high) if held else (low, rate)
        covered += low <= limit <= high
    assert covered / 400 < 0.6
