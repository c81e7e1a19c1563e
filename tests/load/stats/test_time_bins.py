from __future__ import annotations

import math

from harness.load.stats.time_bins import MOST_BINS, TimeBins

START = 1_790_000_000


def test_the_number_of_bins_is_limited() -> None:
    bins = TimeBins()
    bins.begin(START)
    for second in range(START, START + 36_000):  # ten hours
        bins.at(second).failed += 1
        bins.at(second).ledger.add("scheduled")
        if second % 3 == 0:
            bins.at(second).ledger.add("done")
    document = bins.document(math.inf)
    assert bins.bin_s == 128  # the smallest power of 2 that 480 of make up ten hours
    assert len(document["t_s"]) <= MOST_BINS
    assert document["t_s"][:3] == [0, 128, 256]
    assert document["arrivals"][:2] == [128, 128]
    assert (sum(document["arrivals"]), sum(document["failed"]), sum(document["completions"])) == (
        36_000,
        36_000,
        12_000,
    )
    assert document["in_flight"][-1] == 24_000


def test_a_clock_that_is_far_off_only_costs_resolution() -> None:
    bins = TimeBins()
    bins.begin(START)
    bins.at(START + 10**9).failed += 1
    bins.at(START - 10**9).failed += 1
    document = bins.document(math.inf)
    assert len(document["t_s"]) <= MOST_BINS
    assert (document["failed"][0], document["failed"][-1]) == (1, 1)
