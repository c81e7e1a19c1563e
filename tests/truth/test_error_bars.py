"""The script that measures the error bars: its verdicts must be right, and it must notice wrong ones."""

from collections import Counter

import pytest

from harness.results import measurement_error
from harness.results.histogram import Histogram
from harness.results.measurement_error import Delays
from tests.truth.error_bars import (
    BEGIN,
    DELAYS,
    DISTANCES,
    END,
    LOADS,
    PAGE,
    change_table,
    changes,
    verdict_table,
    verdicts,
)

SHORT = LOADS["20 s at 2 per second, 20 ms"]
LONG = LOADS["60 s at 20 per second, 200 ms"]
BUSY = "a busy machine: p50 1 ms, p99 10 ms"
TRIALS = 6


@pytest.mark.parametrize("name", DELAYS)
@pytest.mark.parametrize("load", LOADS.values(), ids=["short", "long"])
def test_no_verdict_is_wrong_and_those_far_from_the_limit_are_given(load, name):
    found = verdicts(load, DELAYS[name], TRIALS)
    assert {distance: found[distance, "wrong"] for distance in DISTANCES} == dict.fromkeys(DISTANCES, 0)
    if load is LONG or name != "pauses: 3% late by up to 300 ms":
        assert found[0.5, "inconclusive"] == 0
    if load is LONG:
        assert found[2.0, "inconclusive"] == 0


def test_without_the_delays_the_same_verdicts_are_wrong(monkeypatch):
    monkeypatch.setattr(measurement_error.Delays, "of", classmethod(lambda cls, _: NO_DELAY))
    found = verdicts(LONG, DELAYS["pauses: 3% late by up to 300 ms"], TRIALS)
    assert sum(found[distance, "wrong"] for distance in DISTANCES) > 0


NO_DELAY = Delays.of(Histogram())


@pytest.mark.parametrize("name", DELAYS)
def test_a_slowed_server_is_worse_and_an_unchanged_one_is_not(name):
    assert changes(SHORT, DELAYS[name], 150.0, TRIALS) == {"worse": TRIALS}
    unchanged = changes(SHORT, DELAYS[name], 0.0, TRIALS)
    assert unchanged["worse"] == 0
    if name in ("idle", "the first arrival 160 ms late"):
        assert unchanged["same"] == TRIALS


def test_a_trial_is_the_same_again():
    assert verdicts(SHORT, DELAYS[BUSY], 2) == verdicts(SHORT, DELAYS[BUSY], 2)


def test_the_tables_count_what_was_inconclusive_and_what_was_wrong():
    judged = Counter({(DISTANCES[0], "right"): 3, (DISTANCES[0], "inconclusive"): 1})
    judged.update({(distance, "right"): 4 for distance in DISTANCES[1:]})
    judged[DISTANCES[-1], "wrong"] += 4
    (_, _, row) = verdict_table({("load", "harness"): judged})
    assert row == "| load | harness | 25% | 0% | 0% | 0% | 0% | 0% | 4 of 28 |"
    (_, _, row) = change_table({("harness", 150.0): Counter(worse=3, same=1)})
    assert row == "| harness | 150 ms slower | 75% | 0% | 25% | 0% |"


def test_the_page_has_the_markers():
    text = PAGE.read_text(encoding="utf-8")
    assert text.index(BEGIN) < text.index("| load | harness |") < text.index(END)
