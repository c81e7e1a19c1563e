from dataclasses import fields
from itertools import product

import pytest

from harness.results.rate_counts import COUNTERS, RateCounts, checked_counter, counters_of
from tests.cases import all_cases


def test_missing_counters_are_zero():
    assert RateCounts.of({"judged": 5, "good": 2}) == RateCounts(judged=5, failed=0, runs=0, good=2)
    assert RateCounts.of({}) == RateCounts()


def test_every_counter_is_a_field():
    assert [field.name for field in fields(RateCounts)] == list(COUNTERS)


def test_rates():
    counts = RateCounts(judged=8, failed=2, runs=4, good=1)
    assert (counts.error_rate, counts.goodput) == (0.25, 0.25)
    assert (RateCounts().error_rate, RateCounts(judged=1).goodput) == (None, None)


@all_cases(("judged", "failed", "run", "good"), list(product((False, True), repeat=4)))
def test_the_counters_of_a_stream(judged, failed, run, good):
    counters = counters_of(judged=judged, failed=failed, run=run, good=good)
    assert ("judged" in counters) is (judged or failed)
    assert ("failed" in counters) is failed
    assert ("runs" in counters) is (run and (judged or failed))
    assert ("good" in counters) is (good and run and judged and not failed)


def test_an_unknown_counter_and_a_negative_count_are_refused():
    with pytest.raises(ValueError, match="unknown rate counter 'ok'; use one of judged, failed, runs, good"):
        checked_counter("ok")
    with pytest.raises(ValueError, match="cannot add -1 to the rate counter 'good'"):
        checked_counter("good", -1)
