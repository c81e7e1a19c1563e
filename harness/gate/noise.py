"""How much the value of one side of a comparison varies: between its files, and within them.

What changes from one test to the next (noisy neighbours, a cold cache, process placement) shifts all values of a
test together. Its size cannot be estimated from the runs or seconds of one test, only from repeats. So each results
file is one observation, and the spread between files, now and in the baseline, is the noise. Resampling whole tests
would give the same standard error, for which there is a closed form (`standard_error`); the ends of the interval
come from Student's t, because so few values cannot show them by resampling. The noise is never taken to be smaller
than what the time blocks within the tests show (harness.gate.confidence_intervals).

With too few files to estimate the spread, only the blocks are known, and the spread between tests is assumed.

Noise has a part in proportion to a latency, and a part that does not depend on it: the few milliseconds that the
scheduler of a busy machine adds. So latencies are compared on the scale log(value + STARTED_MS), on which the noise is
about the same everywhere: a logarithm for long latencies, milliseconds for short ones (the started logarithm: Tukey,
Exploratory Data Analysis, 1977; Rocke and Durbin, Bioinformatics 19(8), 2003, for noise of both kinds).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from harness.gate.confidence_intervals import STARTED_MS, Estimate
from harness.gate.equivalence import PER_TOKEN

LEAST_FREEDOM = 2
"""Degrees of freedom (files - 2) from which on the spread between files is used."""
ENOUGH_FREEDOM = 8
"""Degrees of freedom from which on that spread is known so well that the time blocks are not needed."""
ASSUMED_RUN_SD = 0.02
"""Assumed standard deviation of a latency between tests of one server, as a share of it, used if there are too few
tests to estimate it. A guess, and too low for a busy machine; docs/gate.md has measurements."""
ASSUMED_RUN_SD_MS = 1.0
"""The same in ms, for the part that does not depend on the latency."""
ASSUMED_RUN_SD_TOKEN_MS = 0.2
"""The same between two tokens: the scheduler delays both, so that little of it is left."""
ASSUMED_RUN_SD_SHARE = 0.002
"""The same for a share of streams or runs, 0 to 1."""
_MOST_FREEDOM = 301  # from here on Student's t is the normal distribution


@dataclass(frozen=True, slots=True)
class Side:
    """The files of one side.

    values: one per file (on the scale of noise for latencies). estimates: from time blocks, one per file, or why there
    is none; empty if not needed. least_sd: lower bound of the standard error of a value. net: the mean of the values
    without the delays that are known for each stream. lowest, highest: that mean if the others are as large as they
    can be.
    """

    values: list[float]
    estimates: list[Estimate | str]
    least_sd: float
    net: float
    lowest: float
    highest: float

    @property
    def blocks(self) -> list[Estimate]:
        """The estimates that there are."""
        return [estimate for estimate in self.estimates if isinstance(estimate, Estimate)]


def assumed_run_sd(metric: str, value_ms: float) -> float:
    """The assumed standard deviation of a latency between tests, on the scale of noise."""
    added_ms = ASSUMED_RUN_SD_TOKEN_MS if metric in PER_TOKEN else ASSUMED_RUN_SD_MS
    return math.hypot(ASSUMED_RUN_SD * value_ms, added_ms) / (value_ms + STARTED_MS)


def freedom_of(runs: tuple[int, int]) -> int:
    """Degrees of freedom of the spread between so many files on each side."""
    return sum(runs) - 2


def needs_blocks(runs: tuple[int, int]) -> bool:
    """Whether there are so few files that the variation within them matters."""
    return freedom_of(runs) < ENOUGH_FREEDOM


def no_standard_error(sides: Sequence[Side]) -> str:
    """Why the noise is unknown; empty if it is known."""
    if _freedom(sides) >= LEAST_FREEDOM:
        return ""
    return next((reason for side in sides for reason in side.estimates if isinstance(reason, str)), "")


def standard_error(sides: Sequence[Side], assumed_sd: float) -> tuple[float, int]:
    """Standard error of the difference, and its degrees of freedom.

    With enough files: that of two means with equal variance (Student's two-sample t), where the variance is at least
    the one within files. With fewer: the variance within each file plus the assumed variance between files, with
    Welch's degrees of freedom for the measured part.
    """
    within = [[estimate.sd**2 for estimate in side.blocks] for side in sides]
    if _freedom(sides) >= LEAST_FREEDOM:
        squares = sum((value - fmean(side.values)) ** 2 for side in sides for value in side.values)
        measured = [variance for side in within for variance in side]
        least = [side.least_sd**2 for side in sides]
        variance = max(squares / _freedom(sides), fmean(measured or least))
        return math.sqrt(variance * sum(1 / len(side.values) for side in sides)), _freedom(sides)
    parts = [variance / len(side) ** 2 for side in within for variance in side]
    blocks = [estimate.blocks for side in sides for estimate in side.blocks]
    total = sum(parts) + sum(assumed_sd**2 / len(side.values) for side in sides)
    spread = sum(part**2 / (count - 1) for part, count in zip(parts, blocks, strict=True))
    freedom = int(min(_MOST_FREEDOM, total**2 / spread)) if spread else _MOST_FREEDOM
    return math.sqrt(total), max(1, freedom)


def _freedom(sides: Sequence[Side]) -> int:
    return sum(len(side.values) for side in sides) - 2
