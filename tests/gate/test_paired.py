"""Verdicts from pairs of blocks whose values are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.gate.confidence_intervals import started_log
from harness.gate.equivalence import Effects
from harness.gate.objective import Objective
from harness.gate.paired import (
    PAIRED_EFFECTS,
    PAIRED_KEYS,
    BlockValue,
    LoadBlock,
    Pair,
    PairedComparison,
    compare_pairs,
    is_decided,
    measure_block,
    paired_objectives,
    systematic,
)
from harness.results.histogram import Histogram
from harness.results.reader import Results
from harness.results.writer import ResultsWriter

TTFT = Objective("ttft_p50_ms", 0.0)


def latency(value_ms: float, *, too_long_ms: float = 0.0, too_short_ms: float = 0.0) -> BlockValue:
    net = started_log(value_ms)
    return BlockValue(
        value_ms, net, started_log(value_ms - too_long_ms), started_log(value_ms + too_short_ms)
    )


def share(value: float, cases: int = 100) -> BlockValue:
    return BlockValue(value, value, value, value, cases)


def pairs_of(
    target: Sequence[float],
    baseline: Sequence[float],
    value: Callable[[float], BlockValue] = latency,
    key: str = "ttft_p50_ms",
) -> list[Pair]:
    return [
        (LoadBlock({key: value(now)}), LoadBlock({key: value(then)}))
        for now, then in zip(target, baseline, strict=True)
    ]


def noisy(change: float, count: int, sd: float = 0.02, seed: int = 1) -> list[Pair]:
    """Pairs with a drifting machine, whose noise both blocks share, and noise of their own."""
    rng = np.random.default_rng(seed)
    machine = np.cumsum(rng.normal(0, 0.2, count))
    own = rng.normal(0, sd / np.sqrt(2), (2, count))
    target = 300 * np.exp(machine + own[0]) * (1 + change)
    baseline = 300 * np.exp(machine + own[1])
    return pairs_of(target.tolist(), baseline.tolist())


def compared(pairs: Sequence[Pair], objective: Objective = TTFT, comparisons: int = 10) -> PairedComparison:
    return compare_pairs(objective, pairs, comparisons=comparisons)


def test_a_slowdown_of_5_percent_is_found_in_the_noise_of_a_drifting_machine() -> None:
    comparison = compared(noisy(0.05, 16)).comparison
    assert comparison.verdict == "worse"
    assert comparison.difference == pytest.approx(0.05, abs=0.02)
    assert comparison.low is not None
    assert comparison.low > 0
    assert comparison.runs == (16, 16)


def test_a_server_that_became_faster_is_better() -> None:
    assert compared(noisy(-0.10, 16)).comparison.verdict == "better"


def test_equal_servers_are_the_same() -> None:
    paired = compared(noisy(0.0, 16))
    assert paired.comparison.verdict == "same"
    assert paired.pairs_needed is None
    assert len(paired.changes) == 16


@pytest.mark.parametrize("change", [0.05, 0.0])
def test_few_pairs_decide_nothing_and_say_how_many_would(change: float) -> None:
    paired = compared(noisy(change, 4))
    assert (paired.comparison.verdict, paired.comparison.repeats_may_tell) == ("inconclusive", True)
    assert paired.comparison.low is None
    assert paired.pairs_needed is not None
    assert 4 < paired.pairs_needed < 40
    more = compared(noisy(change, 2 * paired.pairs_needed))
    assert more.comparison.verdict == ("worse" if change else "same")


def test_three_pairs_are_too_few_whatever_they_say() -> None:
    paired = compared(pairs_of([600.0] * 3, [300.0] * 3))
    assert (paired.comparison.verdict, paired.comparison.detail) == ("inconclusive", "too few pairs (3)")


def test_more_comparisons_need_more() -> None:
    pairs = noisy(0.05, 10, sd=0.03, seed=3)
    assert compared(pairs, comparisons=1).comparison.verdict == "worse"
    assert compared(pairs, comparisons=40).comparison.verdict == "inconclusive"


def test_a_change_below_the_smallest_effect_is_not_worse_however_sure() -> None:
    comparison = compared(noisy(0.02, 16, sd=0.001)).comparison
    assert comparison.low is not None
    assert comparison.low > 0
    assert comparison.verdict == "same"


def test_a_few_milliseconds_are_nothing() -> None:
    pairs = pairs_of([4.0, 4.1, 4.0, 4.1] * 3, [3.0, 3.1, 3.1, 3.0] * 3)
    comparison = compared(pairs).comparison
    assert comparison.verdict == "same"
    assert comparison.smallest_effect_ms == PAIRED_EFFECTS.ms


def with_delays(target_ms: float, baseline_ms: float) -> list[Pair]:
    """Pairs of a target that seems 10% slower, and of the most that the harness's delays can be in either."""
    return [
        (
            LoadBlock({"ttft_p50_ms": latency(330.0 + number % 3, too_long_ms=target_ms)}),
            LoadBlock({"ttft_p50_ms": latency(300.0 + number % 2, too_long_ms=baseline_ms)}),
        )
        for number in range(12)
    ]


def test_delays_of_the_harness_on_one_side_may_be_the_reason_for_a_change() -> None:
    comparison = compared(with_delays(40.0, 0.0)).comparison
    assert comparison.verdict == "inconclusive"
    assert comparison.detail == "the harness's own delays may be the reason for the change"
    assert compared(with_delays(40.0, 0.0)).pairs_needed is None


def test_equal_delays_on_both_sides_are_no_reason() -> None:
    assert compared(with_delays(40.0, 40.0)).comparison.verdict == "worse"
    assert compared(with_delays(0.0, 40.0)).comparison.verdict == "worse"


def test_delays_in_a_single_pair_are_chance() -> None:
    pairs = with_delays(0.0, 0.0)
    late = (LoadBlock({"ttft_p50_ms": latency(330.0, too_long_ms=320.0)}), pairs[0][1])
    assert compared([late, *pairs[1:]]).comparison.verdict == "worse"


@pytest.mark.parametrize(
    ("surplus", "systematic_part"),
    [
        ([0.0] * 12, 0.0),
        ([0.3, -0.2, 0.1, -0.4, 0.2, -0.1, 0.3, -0.3], 0.0),
        ([0.1] * 8, 0.1),
        ([-0.1] * 8, -0.1),
        ([0.1] * 11 + [-0.2], 0.1),
        ([0.1] * 4, 0.1),  # too few for the test
        ([0.1, 0.1, 0.1, -0.1], 0.0),
        ([0.5] + [0.0] * 11, 0.0),
        ([], 0.0),
    ],
)
def test_delays_count_if_they_are_systematic(surplus: list[float], systematic_part: float) -> None:
    assert systematic(surplus) == systematic_part


def paired(key: str, verdict: str, pairs_needed: int | None = None) -> PairedComparison:
    comparison = compared(noisy(0.0, 4), Objective("ttft_p50_ms", 0.0)).comparison
    return PairedComparison(replace(comparison, key=key, verdict=verdict), (), pairs_needed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("comparisons", "all_required", "ends"),
    [
        ([paired("ttft_p50_ms", "same"), paired("ttft_p95_ms", "better")], False, True),
        ([paired("ttft_p50_ms", "inconclusive", 500), paired("ttft_p95_ms", "worse")], False, True),
        ([paired("ttft_p50_ms", "inconclusive", 500)], False, False),  # it is required
        ([paired("error_rate", "inconclusive")], False, False),
        ([paired("ttft_p50_ms", "same"), paired("ttft_p95_ms", "inconclusive", 20)], False, False),  # in time
        ([paired("ttft_p50_ms", "same"), paired("ttft_p95_ms", "inconclusive", 500)], False, True),
        ([paired("ttft_p50_ms", "same"), paired("ttft_p95_ms", "inconclusive")], False, True),
        ([paired("ttft_p50_ms", "same"), paired("ttft_p95_ms", "inconclusive", 500)], True, False),
    ],
)
def test_when_a_test_can_end(comparisons: list[PairedComparison], all_required: bool, ends: bool) -> None:
    assert is_decided(comparisons, most_pairs=30, all_required=all_required) is ends


def test_a_pair_with_an_unusable_block_is_left_out() -> None:
    pairs = noisy(0.05, 16)
    unusable = (LoadBlock({}, "the harness was saturated: late"), pairs[0][1])
    comparison = compared([*pairs, unusable, unusable]).comparison
    assert (comparison.verdict, comparison.runs) == ("worse", (16, 16))


def test_too_many_unusable_pairs_leave_no_fair_sample() -> None:
    pairs = noisy(0.05, 16)
    unusable = (LoadBlock({}, "the harness was saturated: late"), pairs[0][1])
    comparison = compared([*pairs, *[unusable] * 6]).comparison
    assert comparison.verdict == "inconclusive"
    assert "6 of 22 pairs cannot be used, for example: the harness was saturated: late" in comparison.detail


def test_a_metric_without_values_is_inconclusive() -> None:
    comparison = compared([(LoadBlock({}), LoadBlock({}))] * 8).comparison
    assert (comparison.verdict, comparison.detail) == (
        "inconclusive",
        "not measured in both blocks of any pair",
    )


def test_errors_of_the_target_are_worse_and_lost_goodput_too() -> None:
    rng = np.random.default_rng(1)
    failing = (rng.binomial(100, 0.1, 12) / 100).tolist()
    errors = compared(pairs_of(failing, [0.0] * 12, share, "error_rate"), Objective("error_rate", 0.0))
    assert (errors.comparison.verdict, errors.comparison.relative) == ("worse", False)
    good = [1 - value for value in failing]
    goodput = compared(pairs_of(good, [1.0] * 12, share, "goodput"), Objective("goodput", 0.0))
    assert goodput.comparison.verdict == "worse"
    assert goodput.comparison.difference == pytest.approx(-errors.comparison.difference)  # type: ignore[operator]
    other_way = compared(pairs_of([1.0] * 12, good, share, "goodput"), Objective("goodput", 0.0))
    assert other_way.comparison.verdict == "better"


def test_no_errors_are_the_same_once_there_are_enough_streams() -> None:
    few = compared(
        pairs_of([0.0] * 4, [0.0] * 4, lambda value: share(value, 5), "error_rate"),
        Objective("error_rate", 0.0),
    )
    assert few.comparison.verdict == "inconclusive"
    many = compared(pairs_of([0.0] * 12, [0.0] * 12, share, "error_rate"), Objective("error_rate", 0.0))
    assert many.comparison.verdict == "same"


def test_equal_servers_are_rarely_worse_at_any_look() -> None:
    """Looks after every second pair, as harness ab, at one metric with its share of the error."""
    worse = 0
    for seed in range(300):
        pairs = noisy(0.0, 24, sd=0.06, seed=seed)
        worse += any(
            compare_pairs(
                TTFT, pairs[:count], Effects(0.0, 0.0, 0.005, 0.0), comparisons=2
            ).comparison.verdict
            == "worse"
            for count in range(4, 25, 2)
        )
    assert worse / 300 <= 0.05


def write_block(path: Path, values_ms: Sequence[float], *, failed: int = 0, **manifest: object) -> None:
    histogram = Histogram()
    histogram.record_many(np.array(values_ms))
    with ResultsWriter(path) as writer:
        writer.set_manifest(**{"load_state": "finished", **manifest})
        writer.add_histogram("ttft_ms", "fresh", 5, "w", histogram)
        for counter, count in (("judged", len(values_ms)), ("failed", failed), ("runs", len(values_ms))):
            writer.add_rate_counts("w", 5, "fresh", counter, count)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Results]]:
    with ExitStack() as stack:
        numbers = iter(range(100))

        def written(values_ms: Sequence[float], **options: object) -> Results:
            path = tmp_path / f"{next(numbers)}.sqlite"
            write_block(path, values_ms, **options)  # type: ignore[arg-type]
            return stack.enter_context(Results(path))

        yield written


def test_what_a_block_measured(opened: Callable[..., Results]) -> None:
    objectives = [TTFT, Objective("error_rate", 0.0), Objective("stall_p50_ms", 0.0)]
    block = measure_block(opened([100.0] * 50, failed=5), objectives)
    assert not block.problem
    assert set(block.values) == {"ttft_p50_ms", "error_rate"}
    assert block.values["ttft_p50_ms"].value == pytest.approx(100, rel=0.01)
    assert (block.values["error_rate"].value, block.values["error_rate"].cases) == (0.1, 50)


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        ({"load_state": "running"}, "the load did not end"),
        ({"load_state": "interrupted"}, "the load did not end"),
        ({"workers_lost": ["w"]}, "a worker was lost"),
        ({"harness_faults": {"harness fault: x": 1}}, "the harness had faults and left streams unjudged"),
    ],
)
def test_a_block_of_an_unsound_load_cannot_be_used(
    opened: Callable[..., Results], manifest: dict[str, object], problem: str
) -> None:
    assert measure_block(opened([100.0] * 50, **manifest), [TTFT]) == LoadBlock({}, problem)


def test_a_block_of_a_saturated_harness_cannot_be_used(
    opened: Callable[..., Results], tmp_path: Path
) -> None:
    results = opened([100.0] * 50)
    late = Histogram()
    late.record_many(np.full(50, 5000.0))
    with ResultsWriter(results.path) as writer:
        writer.add_histogram("schedule_lag_ms", "fresh", 5, "w", late)
    assert "the harness was saturated: the load fell behind" in measure_block(results, [TTFT]).problem


def test_what_is_compared_is_what_both_servers_have_enough_values_of(opened: Callable[..., Results]) -> None:
    long, short = opened([100.0] * 80), opened([100.0] * 40)
    objectives = [Objective("ttft_p99_ms", 1.0), Objective("ttft_max_ms", 1.0), Objective("violations", 0.0)]
    chosen, notes = paired_objectives(objectives, [long, long])
    assert [objective.name for objective in chosen] == ["ttft_p50_ms", "ttft_p95_ms", "error_rate", "goodput"]
    assert notes == [
        "too few values in a block to compare ttft_p99_ms: use longer blocks or a higher rate",
        "a maximum is a single value and is not compared: ttft_max_ms",
    ]
    fewer, _ = paired_objectives([], [long, short])
    assert [objective.name for objective in fewer] == ["ttft_p50_ms", "error_rate", "goodput"]
    assert {objective.name for objective in chosen} <= set(PAIRED_KEYS)
