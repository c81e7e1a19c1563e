"""The rule of the four verdicts, and the smallest effects it compares with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from harness.gate.comparison import Comparison, compare
from harness.gate.console import format_change, format_change_interval, format_smallest_effect
from harness.gate.equivalence import Difference, Effect, Effects, confidence_of_equivalence, verdict_of
from harness.results.histogram import Histogram
from harness.results.reader import Results
from harness.results.writer import ResultsWriter
from tests.cases import all_cases

EFFECT = Effect(10.0)


def difference(measured: float, own: float = 0.0, noise: float = 1.0) -> Difference:
    """A difference with an own error of the harness and noise in both directions; the narrow interval has two thirds
    of the noise.
    """
    low, high = measured - own, measured + own
    return Difference(
        measured,
        (low, high),
        (measured - noise, measured + noise),
        (low - noise, high + noise),
        (low - noise * 2 / 3, high + noise * 2 / 3),
    )


@all_cases(
    ("measured", "own", "noise", "verdict"),
    [
        (0.0, 0.0, 1.0, "same"),
        (9.9, 0.0, 1.0, "same"),  # significant, and too small to matter
        (10.0, 0.0, 1.0, "worse"),
        (-10.0, 0.0, 1.0, "better"),
        (10.0, 0.0, 11.0, "inconclusive"),  # as large as the smallest effect, and may be noise
        (9.0, 0.0, 16.0, "same"),  # 20 is excluded
        (9.0, 0.0, 17.0, "inconclusive"),
        (-9.0, 0.0, 17.0, "inconclusive"),
        (0.0, 19.0, 1.0, "same"),
        (0.0, 20.0, 1.0, "inconclusive"),  # the harness's own delays can hide a change that matters
        (15.0, 6.0, 1.0, "inconclusive"),  # or be its reason
        (30.0, 6.0, 1.0, "worse"),
        (30.0, 6.0, 25.0, "inconclusive"),
    ],
)
def test_the_verdict_follows_from_the_interval_and_the_smallest_effect(measured, own, noise, verdict):
    assert verdict_of(difference(measured, own, noise), EFFECT) == verdict
    opposite = {"worse": "better", "better": "worse"}
    assert verdict_of(difference(measured, own, noise).worse_is_lower(), EFFECT) == opposite.get(
        verdict, verdict
    )


@pytest.mark.parametrize(
    ("metric", "percent", "baseline_ms", "smallest_ms", "absolute"),
    [
        ("ttft_ms", 50, 2.0, 5.0, True),
        ("ttft_ms", 95, 2.0, 10.0, True),
        ("ttft_ms", 50, 400.0, 20.0, False),
        ("ttft_ms", 95, 400.0, 20.0, False),
        ("duration_ms", 99, 150.0, 10.0, True),
        ("inter_token_ms", 50, 10.0, 1.0, True),
        ("inter_token_ms", 95, 10.0, 2.0, True),
        ("inter_token_ms", 50, 60.0, 3.0, False),
    ],
)
def test_the_larger_of_the_relative_and_the_absolute_effect_applies(
    metric, percent, baseline_ms, smallest_ms, absolute
):
    effect = Effects().of_latency(metric, percent, baseline_ms)
    assert (effect.smallest, effect.margin, effect.is_absolute) == (smallest_ms, 2 * smallest_ms, absolute)


def test_each_look_asks_for_more_confidence():
    assert [confidence_of_equivalence(looks) for looks in (1, 5)] == pytest.approx([0.90, 0.98])


@pytest.fixture
def made(tmp_path: Path) -> Iterator[object]:
    """Writes results files of 30 s at 10 per second: values of TTFT around some ms, with a spread in ms."""
    with ExitStack() as stack:
        number = iter(range(100))

        def make(around_ms: float, spread_ms: float = 0.3, seed: int = 1) -> Results:
            rng = np.random.default_rng(seed)
            with ResultsWriter(tmp_path / f"{next(number)}.sqlite") as writer:
                for second in range(30):
                    histogram = Histogram()
                    histogram.record_many(np.maximum(0.0, around_ms + rng.exponential(spread_ms, 10)))
                    writer.add_histogram("ttft_ms", "fresh", 1_000 + second, "w", histogram)
            return stack.enter_context(Results(writer.path))

        yield make


def p(percentile: str, now: Results, then: Results) -> Comparison:
    return compare(now, then, f"ttft_{percentile}_ms", "ttft_ms", percentile)


def test_a_difference_of_a_few_milliseconds_is_no_news(made):
    """As measured: 2.9 and 8.1 ms, of a server that did not change, beside a busy process."""
    found = p("p95", made(1.9, 2.0, 1), made(1.9, 0.3, 2))
    assert 4 < (found.value - found.baseline) < 8
    assert found.verdict == "same", found
    assert found.detail.startswith("smaller than the smallest effect of 10 ms")
    assert format_smallest_effect(found) == "10 ms"
    assert format_change(found, found.difference) == f"{found.value - found.baseline:+.1f} ms"
    assert format_change_interval(found).endswith(" ms")


@pytest.mark.parametrize("added_ms", [12.0, 150.0])
def test_a_slowdown_of_a_short_latency_is_worse(made, added_ms):
    found = p("p50", made(20.0 + added_ms, 2.0, 1), made(20.0, 2.0, 2))
    assert found.verdict == "worse", found
    assert format_change(found, found.difference).endswith(" ms")


def test_a_latency_of_zero_is_compared_in_milliseconds(made):
    zero, slow = made(0.0, 0.0), made(40.0, 0.3)
    assert p("p50", zero, zero).verdict == "same"
    assert p("p50", slow, zero).verdict == "worse"
    assert p("p50", zero, slow).verdict == "better"
    assert format_change(p("p50", slow, zero), p("p50", slow, zero).difference) == "+40.3 ms"


def test_no_interval_reaches_below_a_latency_of_zero(made):
    found = p("p95", made(0.1, 8.0, 1), made(0.1, 8.0, 2))
    assert found.low >= -1
