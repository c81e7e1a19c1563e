"""Finds where a series of measurements changed its level: E-divisive with means (Matteson and James, A Nonparametric
Approach for Multiple Change Point Analysis of Multivariate Data, Journal of the American Statistical Association 109,
2014).

The series is divided where the energy distance between both parts is largest: twice the mean distance between values of
different parts, less the mean distances between values of the same part. A permutation test tells whether that is more
than chance: the values are shuffled, and divided where they differ most. Both parts are divided further in the same
way. MongoDB and others use it for the performance of every commit (Daly et al., The Use of Change Point Detection to
Identify Software Performance Regressions in a Continuous Integration System, ICPE 2020).

Deterministic: the shuffles are seeded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from harness.errors import HarnessError

PERMUTATIONS = 499
"""Shuffles of a permutation test; more if a smaller error needs them."""
LEAST_PART = 2
"""Values in the smallest part: a single one is an outlier, and no new level."""
MOST_WORK = 2_500_000_000
"""Distances that are compared for all metrics of a history, in half a minute to a minute. 48 metrics of 200 tests that
all changed once take as many.
"""
_WORK_OF_EACH = 4_000  # of a shuffle, in addition to its distances
_SEED = 20140101
_Series = npt.NDArray[np.float64]


class TooMuchWorkError(HarnessError):
    """A series has too many changes for the work that is left."""


class Work:
    """What may still be done for the series of one history, in distances."""

    def __init__(self, left: int) -> None:
        self._left = left

    def spend(self, distances: int) -> None:
        """One shuffle. Raises TooMuchWorkError if nothing is left for it."""
        self._left -= distances + _WORK_OF_EACH
        if self._left < 0:
            raise TooMuchWorkError("the series has too many changes")


def change_points(values: Sequence[float], error: float, work: Work | None = None) -> list[int]:
    """The indexes at which a new level begins, ascending.

    error: probability of a division of a part that has one level; a part is divided no further if its division is not
    clear. work: that may be done; by default MOST_WORK. Raises TooMuchWorkError beyond it.
    """
    work = work or Work(MOST_WORK)
    found: list[int] = []
    rng = np.random.default_rng(_SEED)
    parts = [(0, len(values))]
    array = np.asarray(values, dtype=np.float64)
    while parts:
        first, end = parts.pop()
        part = array[first:end]
        if len(part) < 2 * LEAST_PART:
            continue
        distances = np.abs(part[:, None] - part[None, :])
        divisions = _Divisions(len(part))
        place, largest = divisions.best(distances)
        if largest > 0 and _is_clear(divisions, distances, largest, error, rng, work):
            found.append(first + place)
            parts += [(first, first + place), (first + place, end)]
    return sorted(found)


def begin_of(values: Sequence[float], divisions: Sequence[int]) -> int:
    """The index at which a series of changes in one direction begins.

    values: from the start of the level before the changes to the end of the level after. divisions: indexes at which
    they were divided. Of steps it is the first division. Divisions of a slope lie within it: if a constant followed by
    a straight line fits better than constants, by least squares, its start is that of the line.
    """
    first = divisions[0]
    end = (
        divisions[-1] if len(divisions) > 1 else len(values)
    )  # a slope may have ended after its last division
    array = np.asarray(values[:end], dtype=np.float64)
    bounds = [0, *(division for division in divisions if division < end), end]
    best = first
    least = sum(_squares(array[start:stop]) for start, stop in pairwise(bounds))
    for begin in range(1, first + 1):
        slope = np.maximum(0, np.arange(end) - begin + 1)
        terms = np.column_stack((np.ones(end), slope))
        fit, *_ = np.linalg.lstsq(terms, array, rcond=None)
        squares = float(((array - terms @ fit) ** 2).sum())
        if squares < least:
            best, least = begin, squares
    return best


def _squares(part: _Series) -> float:
    return float(((part - part.mean()) ** 2).sum())


class _Divisions:
    """The divisions of series of `count` values: by their distances, the best, and by how much both parts differ.

    The second part may end before the series does: otherwise a level that came and went would hide both of its changes.
    """

    def __init__(self, count: int) -> None:
        first = np.arange(LEAST_PART, count - LEAST_PART + 1)[:, None]
        end = np.arange(2 * LEAST_PART, count + 1)[None, :]
        second = np.maximum(end - first, LEAST_PART)  # the others get the factor 0
        is_division = end - first >= LEAST_PART
        both = first + second
        of_second = first / ((second - 1) * both)
        # Means over pairs of different values, times first * second / both; the sums have each pair twice.
        self._across = np.where(is_division, 2 / both + 2 * of_second, 0.0)
        self._first = np.where(is_division, second / ((first - 1) * both) - of_second, 0.0)
        self._whole = np.where(is_division, of_second, 0.0)

    def best(self, distances: _Series) -> tuple[int, float]:
        sums = distances.cumsum(axis=0).cumsum(axis=1)
        own = np.diagonal(sums)
        first, end = slice(LEAST_PART - 1, -LEAST_PART), slice(2 * LEAST_PART - 1, None)
        scaled = (sums[first, end] - own[first, None]) * self._across
        scaled -= own[first, None] * self._first
        scaled -= own[None, end] * self._whole
        place, stop = np.unravel_index(int(scaled.argmax()), scaled.shape)
        return LEAST_PART + int(place), float(scaled[place, stop])


def _is_clear(
    divisions: _Divisions,
    distances: _Series,
    largest: float,
    error: float,
    rng: np.random.Generator,
    work: Work,
) -> bool:
    """Whether shuffled values are divided as clearly with a probability of at most `error`."""
    permutations = max(PERMUTATIONS, math.ceil(1 / error))
    allowed = int(error * (permutations + 1)) - 1
    as_clear = 0
    for _ in range(permutations):
        work.spend(distances.size)
        order = rng.permutation(len(distances))
        as_clear += divisions.best(distances[np.ix_(order, order)])[1] >= largest
        if as_clear > allowed:
            return False
    return True
