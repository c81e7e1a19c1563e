"""A confidence sequence for a mean: intervals that hold at every number of values at once, so that one may look, and
stop, whenever one likes.

The usual interval holds for a number of values that was fixed before. A test that looks after each pair of blocks and
stops at the first clear one is wrong far more often. Here the probability that *any* of the intervals, however long the
test lasts, misses the true mean is at most 1 - confidence.

For values from a normal distribution with an unknown variance, the test martingale is the likelihood ratio of t
statistics with a normal mixture over mean / standard deviation; by Ville's inequality it exceeds 1 / error with at most
the probability `error`, ever (Wang and Ramdas, Anytime-valid t-tests and confidence sequences for Gaussian means with
unknown variance, Sequential Analysis 44(1), 2025, after Lai, Annals of Statistics 4, 1976). Means of a few hundred
streams are close to normal.
"""

from __future__ import annotations

import math

MIXTURE_SD = 2.0
"""Standard deviation of the mixture: the intervals are narrowest for changes of about this many standard deviations of
a pair, which decides after six to twenty pairs. They hold for any choice."""

MOST_VALUES = 1_000_000


def half_width(count: int, sd: float, confidence: float) -> float:
    """Half the width of the interval around the mean of `count` values with the standard deviation `sd`.

    confidence: of all intervals together. Infinity while there are too few values.
    """
    if count < 2:
        return math.inf
    spread = 1 + count * MIXTURE_SD**2
    bound = 2 / count * (math.log(spread) / 2 - math.log1p(-confidence))
    if bound >= math.log(spread):
        return math.inf
    ratio = math.expm1(bound) / (
        1 - math.exp(bound) / spread
    )  # the largest t² / (count - 1) that is not excluded
    return sd * math.sqrt((count - 1) * ratio / count)


def count_for(width: float, sd: float, confidence: float) -> int | None:
    """How many values it takes until half the interval is narrower than `width`; None if above MOST_VALUES."""
    if width <= 0:
        return None
    low, high = 1, 2
    while half_width(high, sd, confidence) >= width:
        low, high = high, 2 * high
        if high > MOST_VALUES:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if half_width(middle, sd, confidence) >= width else (low, middle)
    return high
