"""Where the level of a series changed."""

from __future__ import annotations

import numpy as np
import pytest

from harness.gate.change_points import PERMUTATIONS, TooMuchWorkError, Work, begin_of, change_points


def series(*levels: tuple[int, float], sd: float = 0.02, seed: int = 1) -> list[float]:
    """Numbers of values around each level."""
    rng = np.random.default_rng(seed)
    return [level + float(rng.normal(0, sd)) for count, level in levels for _ in range(count)]


def test_a_step_is_found_where_it_is() -> None:
    assert change_points(series((15, 0.0), (15, 0.2)), 0.01) == [15]
    assert change_points(series((15, 0.2), (15, 0.0)), 0.01) == [15]


def test_several_steps_are_found() -> None:
    first, second = change_points(series((15, 0.0), (10, 0.2), (20, 0.1)), 0.01)
    assert first == 15
    assert abs(second - 25) <= 1


def test_a_level_that_came_and_went_has_two_changes() -> None:
    assert change_points(series((12, 0.0), (10, 0.2), (12, 0.0)), 0.01) == [12, 22]


@pytest.mark.parametrize("count", [0, 1, 3, 20])
def test_a_level_that_stays_has_none(count: int) -> None:
    assert change_points([1.0] * count, 0.01) == []


def test_a_single_outlier_is_no_new_level() -> None:
    assert change_points([*series((15, 0.0)), 5.0, *series((15, 0.0), seed=2)], 0.01) == []


def test_noise_is_rarely_taken_for_a_change() -> None:
    assert sum(bool(change_points(series((16, 0.0), seed=seed), 0.05)) for seed in range(60)) <= 6


def test_the_result_is_always_the_same() -> None:
    values = series((10, 0.0), (10, 0.03), sd=0.02)
    assert change_points(values, 0.05) == change_points(values, 0.05)


def test_a_step_begins_with_its_division() -> None:
    values = series((15, 0.0), (15, 0.2))
    assert begin_of(values, [15]) == 15
    assert begin_of(series((15, 0.0), (15, 0.2), (15, 0.4)), [15, 30]) == 15


@pytest.mark.parametrize("divisions", [[13], [13, 16, 18]])
def test_a_slope_begins_before_its_first_division(divisions: list[int]) -> None:
    rng = np.random.default_rng(1)
    values = [0.04 * max(0, place - 9) + float(rng.normal(0, 0.01)) for place in range(20)]
    assert begin_of(values, divisions) == 10


def test_work_is_bounded_for_all_series_together() -> None:
    values = series((15, 0.0), (15, 0.2))
    work = Work(
        2 * PERMUTATIONS * 5_000
    )  # 30 * 30 distances and 4,000 for each shuffle; the parts take fewer
    assert change_points(values, 0.01, work) == [15]
    with pytest.raises(TooMuchWorkError):
        change_points(values, 0.01, work)
