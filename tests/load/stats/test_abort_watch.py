from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from harness.gate.expressions import parse_abort_condition
from harness.load.stats.abort_watch import AbortWatch
from harness.load.stats.stats_batch import StatsBatch


def batch(
    good: int = 0,
    failed: int = 0,
    *,
    began: int | None = None,
    at: int = 1_000,
    journey: str = "fresh",
    ttft_ms: Iterable[float] = (),
    violations: int = 0,
) -> StatsBatch:
    """A report of streams that ended. began: how many began, by default as many as ended."""
    ended = Counter({(at, journey, "done"): good, (at, journey, "truncated"): failed})
    made = StatsBatch(violations=Counter({("terminal.always", journey): violations} if violations else {}))
    made.ledger[at, journey, "scheduled"] += good + failed if began is None else began
    made.ledger.update(ended)
    for number in range(good + failed):
        is_good = number < good
        made.count_rates(at, journey, judged=True, failed=not is_good, run=True, good=is_good)
    for value_ms in ttft_ms:
        made.record("ttft_ms", journey, at, value_ms)
    return made


class Watch(AbortWatch):
    """With a clock of its own: a report, a check, and a second has passed."""

    def __init__(self, *conditions: str, has_warmup: bool = False) -> None:
        self.now_s = 0.0
        super().__init__(
            map(parse_abort_condition, conditions), has_warmup=has_warmup, clock=lambda: self.now_s
        )

    def second(self, *batches: StatsBatch) -> None:
        for number, one in enumerate(batches):
            self.add(one, f"worker-{number}")
        self.flush()
        self.now_s += 1.0

    def seconds_until_aborted(self, *batches: StatsBatch, most: int = 100) -> int | None:
        for second in range(most):
            self.second(*batches)
            if self.sentence is not None:
                return second
        return None


def test_a_limit_that_is_passed_for_long_enough_aborts_the_load() -> None:
    watch = Watch("error_rate > 20% for 10s")
    assert watch.seconds_until_aborted(batch(7, 3)) == 10
    assert watch.sentence == (
        "the load was aborted by the condition 'error_rate > 20% for 10s': error_rate was 30.0% over 6 s, beyond the "
        "limit for 10 s"
    )


@pytest.mark.parametrize(("good", "failed"), [(10, 0), (8, 2), (99, 1)])
def test_a_limit_that_is_not_passed_aborts_nothing(good: int, failed: int) -> None:
    assert Watch("error_rate > 20% for 10s").seconds_until_aborted(batch(good, failed)) is None


def test_a_short_outage_aborts_nothing() -> None:
    watch = Watch("error_rate > 20% for 10s")
    for _ in range(20):
        watch.second(batch(10))
    for _ in range(4):
        watch.second(batch(0, 50))  # a closed loop fails faster than it works
    for _ in range(20):
        watch.second(batch(10))
    assert watch.sentence is None


def test_a_rate_that_alternates_counts_as_its_average() -> None:
    watch = Watch("error_rate > 20% for 10s")
    for _ in range(10):
        watch.second(batch(0, 1))
        watch.second(batch(1, 0))
    assert watch.sentence is not None


def test_all_workers_count_together() -> None:
    one_of_three = [batch(0, 1), batch(1), batch(1)]
    assert Watch("error_rate > 20% for 5s").seconds_until_aborted(*one_of_three) is not None
    assert Watch("error_rate > 40% for 5s").seconds_until_aborted(*one_of_three) is None


@pytest.mark.parametrize("window", ["1s", "2s", "10s"])
def test_workers_that_report_every_three_seconds(window: str) -> None:
    """At different times: one fails half of its streams, the other none."""
    watches = [Watch(f"error_rate > {limit}% for {window}") for limit in (20, 30)]
    for _ in range(10):
        for watch in watches:
            watch.second(batch(3, 3))
            watch.second()
            watch.second(batch(6))
    assert [watch.sentence is not None for watch in watches] == [True, False]


def test_several_conditions_are_checked_and_the_first_met_is_named() -> None:
    watch = Watch("error_rate > 90% for 5s", "violations > 4 for 10s", "violations > 3 for 10s")
    watch.second(batch(1, violations=2))
    watch.second(batch(1, violations=2))
    assert watch.sentence == (
        "the load was aborted by the condition 'violations > 3 for 10s': there were 4 within 10 s"
    )


def test_violations_are_counted_over_the_window() -> None:
    watch = Watch("violations > 3 for 10s")
    for _ in range(20):
        watch.second(batch(1, violations=1))
        for _ in range(4):
            watch.second(batch(1))
    assert watch.sentence is None  # two within any 10 s


def test_a_percentile_is_that_of_the_window() -> None:
    slow = batch(10, ttft_ms=[900] * 10)
    fast = batch(10, ttft_ms=[100] * 10)
    assert Watch("ttft_p95_ms > 800 for 5s").seconds_until_aborted(slow) == 5
    assert Watch("ttft_p50_ms > 800 for 5s").seconds_until_aborted(fast, fast, slow) is None
    watch = Watch("ttft_p95_ms > 800 for 5s")
    for _ in range(50):
        watch.second(fast)  # an hour of fast streams does not hide that it is slow now
    assert watch.seconds_until_aborted(slow, most=20) is not None


def test_goodput_has_a_lower_limit() -> None:
    assert Watch("goodput < 50% for 5s").seconds_until_aborted(batch(4, 6)) == 5
    assert Watch("goodput < 50% for 5s").seconds_until_aborted(batch(6, 4)) is None


def test_a_condition_of_one_journey() -> None:
    failing = [batch(10), batch(0, 10, journey="resume")]
    assert Watch("resume.error_rate > 90% for 5s").seconds_until_aborted(*failing) == 5
    assert Watch("fresh.error_rate > 0% for 5s").seconds_until_aborted(*failing) is None
    assert Watch("other.error_rate > 0% for 5s").seconds_until_aborted(*failing) is None


def test_streams_in_flight_count_as_not_failed() -> None:
    """One in ten fails at once, and a good run takes a minute: the first streams to end are those that fail."""
    watch = Watch("error_rate > 20% for 10s")
    assert watch.seconds_until_aborted(batch(0, 1, began=10), most=60) is None
    assert Watch("error_rate > 20% for 10s").seconds_until_aborted(batch(0, 3, began=10), most=60) == 10


def test_without_streams_nothing_is_known() -> None:
    watch = Watch("error_rate > 20% for 10s", "ttft_p95_ms > 1 for 10s", "goodput < 100% for 10s")
    assert watch.seconds_until_aborted(batch()) is None
    watch.second(batch(0, 1))
    assert watch.seconds_until_aborted(most=50) is None  # a failure of long ago is no evidence of now
    assert watch.seconds_until_aborted(batch(0, 1)) == 10


def test_the_warm_up_does_not_count() -> None:
    watch = Watch("error_rate > 20% for 5s", "violations > 1000000 for 5s", has_warmup=True)
    assert watch.seconds_until_aborted(batch(0, 5, at=1_000), most=20) is None
    watch.started(1_000 * 1_000_000_000, 1_005)
    assert watch.seconds_until_aborted(batch(0, 5, at=1_004), most=20) is None
    assert watch.seconds_until_aborted(batch(0, 5, at=1_005), most=20) is not None


def test_a_long_window_takes_bounded_memory() -> None:
    watch = Watch("error_rate > 20% for 60m")
    assert watch.seconds_until_aborted(batch(1), most=5_000) is None
    (state,) = watch._states
    assert len(state._parts) <= 61
