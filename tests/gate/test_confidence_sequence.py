"""Intervals that hold at every number of values at once."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.gate.confidence_intervals import t_quantile
from harness.gate.confidence_sequence import MIXTURE_SD, MOST_VALUES, count_for, half_width
from tests.cases import all_cases


def log_likelihood_ratio(count: int, t: float) -> float:
    """Of the t statistic of that many values: a normal mixture over mean / standard deviation against a mean of 0."""
    spread, freedom = 1 + count * MIXTURE_SD**2, count - 1
    inner = (1 + t**2 / freedom) / (1 + t**2 / (freedom * spread))
    return -math.log(spread) / 2 + count / 2 * math.log(inner)


@all_cases("confidence", [0.9, 0.95, 0.99])
@all_cases("count", [6, 10, 40, 1000])
def test_the_ends_are_where_the_martingale_reaches_its_bound(count: int, confidence: float) -> None:
    t = half_width(count, 1.0, confidence) * math.sqrt(count)
    assert log_likelihood_ratio(count, t) == pytest.approx(-math.log(1 - confidence))


def test_few_values_tell_nothing() -> None:
    assert half_width(0, 1.0, 0.95) == half_width(1, 1.0, 0.95) == half_width(2, 1.0, 0.99) == math.inf
    assert half_width(10, 0.0, 0.99) == 0


def test_more_values_tell_more() -> None:
    widths = [half_width(count, 1.0, 0.99) for count in range(5, 200)]
    assert widths == sorted(widths, reverse=True)
    assert half_width(20, 1.0, 0.99) > half_width(20, 1.0, 0.9)


def missed(steps: np.ndarray, critical: list[float]) -> float:
    """The share of series in which the interval after any number of values from 4 on misses the true mean, 0."""
    counts = np.arange(1, steps.shape[1] + 1)
    means = np.cumsum(steps, axis=1) / counts
    squares = np.cumsum(steps**2, axis=1) - counts * means**2
    with np.errstate(invalid="ignore", divide="ignore"):
        sds = np.sqrt(squares / (counts - 1))
    outside = np.abs(means[:, 3:]) > sds[:, 3:] * np.array(critical[3:])
    return float(outside.any(axis=1).mean())


def test_looking_after_every_value_is_wrong_at_most_as_often_as_promised() -> None:
    """And with the usual interval, of a fixed number of values, it is wrong several times as often."""
    steps = np.random.default_rng(1).normal(0, 3, (4000, 100))
    valid = [half_width(count, 1.0, 0.95) for count in range(1, 101)]
    assert missed(steps, valid) <= 0.05
    usual = [math.inf] + [t_quantile(0.975, count - 1) / math.sqrt(count) for count in range(2, 101)]
    assert missed(steps, usual) > 0.15


@pytest.mark.parametrize("width", [0.1, 0.5, 1.0, 3.0])
def test_the_number_of_values_for_a_width(width: float) -> None:
    count = count_for(width, 1.0, 0.99)
    assert count is not None
    assert half_width(count, 1.0, 0.99) < width <= half_width(count - 1, 1.0, 0.99)


def test_some_widths_are_out_of_reach() -> None:
    assert count_for(0.0, 1.0, 0.99) is None
    assert count_for(1e-6, 1.0, 0.99) is None
    assert half_width(MOST_VALUES, 1.0, 0.99) > 1e-6
