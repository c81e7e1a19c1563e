"""When streams are due in an open loop, and which journey each begins: a schedule that waits for nobody.

The schedule is one for the whole test and absolute: arrival i is due at a fixed distance from the start,
whoever sends it and however late the one before it was. So nothing drifts, splitting it over workers
changes nothing, and a server that backs up is seen in the latencies instead of slowing its own test.

What is random comes from a generator that is addressed by seed and number: any process computes any
arrival alone, and all of them the same.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple, Protocol

import numpy as np

from harness.config.load_settings import LoadSettings
from harness.config.parsing import parse_ramp, parse_spike, parse_steps
from harness.config.trace import read_arrival_times as read_times
from harness.errors import SettingsError
from harness.load.schedule.random_blocks import BLOCK_SIZE, GAPS, RandomBlocks


class Arrivals(Protocol):
    """A schedule of arrivals."""

    def due_s(self, index: int) -> float:
        """Seconds from the start at which arrival `index`, from 0, is due; never falls as `index` grows.

        Infinity where the schedule has ended before it.
        """
        ...


class Rate(Protocol):
    """Arrivals per second over time, by its cumulative function. Used as a schedule it is an even one."""

    def when_s(self, count: float) -> float:
        """The inverse of the cumulative rate: when so many arrivals are expected; infinity for never."""
        ...

    def due_s(self, index: int) -> float:
        """Arrival `index` when so many are expected before it."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    """Evenly spaced: arrival i at i / rate. At 4 per second: 0, 0.25, 0.5, 0.75, 1 …"""

    rate: float

    def __post_init__(self) -> None:
        if not 0 < self.rate < math.inf:
            raise ValueError(f"the rate must be above 0 per second, not {self.rate}")

    def when_s(self, count: float) -> float:
        """Computed anew for each arrival, so that no rounding error adds up."""
        return count / self.rate

    def due_s(self, index: int) -> float:
        """See Arrivals."""
        return self.when_s(index)


class RateSegment(NamedTuple):
    """A stretch of time in which the rate changes evenly: arrivals per second, seconds."""

    from_rate: float
    to_rate: float
    for_s: float

    @property
    def arrivals(self) -> float:
        """How many are expected in it: the area of a trapezium."""
        return (
            0.0 if self.from_rate == self.to_rate == 0 else (self.from_rate + self.to_rate) / 2 * self.for_s
        )

    def when_s(self, count: float) -> float:
        """Seconds into it at which so many are expected.

        With slope k the count after t is from_rate·t + k·t²/2. This form of its inverse subtracts nothing
        where the rate rises, and is exactly count / rate where it is constant.
        """
        if count <= 0:
            return 0.0
        slope = 0.0 if self.from_rate == self.to_rate else (self.to_rate - self.from_rate) / self.for_s
        root = math.sqrt(max(0.0, self.from_rate**2 + 2 * slope * count))
        # A count too small to be seen in the root is expected at once.
        return min(2 * count / (self.from_rate + root), self.for_s) if self.from_rate + root else 0.0


class PiecewiseRate:
    """A rate that is made of linear pieces, one after the other; with the last of them it ends.

    Raises ValueError for pieces in which nothing arrives, and for impossible ones.
    """

    def __init__(self, pieces: Sequence[RateSegment]) -> None:
        for piece in pieces:
            if not (0 <= piece.from_rate < math.inf and 0 <= piece.to_rate < math.inf and piece.for_s > 0):
                raise ValueError(f"no such piece of a rate: {piece}")
        self._pieces = [piece for piece in pieces if piece.arrivals > 0]
        if not self._pieces:
            raise ValueError("nothing ever arrives at a rate of 0")
        starts_s = accumulate((piece.for_s for piece in pieces), initial=0.0)
        self._starts_s = [start for start, piece in zip(starts_s, pieces, strict=False) if piece.arrivals > 0]
        self._counts = list(accumulate(piece.arrivals for piece in self._pieces))

    def when_s(self, count: float) -> float:
        """See Rate. What is expected exactly at the end of a piece falls to the beginning of the next."""
        place = bisect_right(self._counts, count)
        if place == len(self._pieces):
            return math.inf
        before = self._counts[place - 1] if place else 0.0
        return self._starts_s[place] + self._pieces[place].when_s(count - before)

    def due_s(self, index: int) -> float:
        """See Arrivals."""
        return self.when_s(index)


def ramp(from_rate: float, to_rate: float, over_s: float) -> PiecewiseRate:
    """The rate goes evenly from one to another, and stays there.

    From 0 to 2 per second over 4 s: 0, 2, 2.83, 3.46, 4, 4.5, 5, 5.5 …
    """
    return PiecewiseRate([RateSegment(from_rate, to_rate, over_s), RateSegment(to_rate, to_rate, math.inf)])


def steps(plan: Sequence[tuple[float, float]]) -> PiecewiseRate:
    """One (rate, seconds) after the other; with the last the schedule ends.

    1 per second for 2 s, then 2 for 1 s: 0, 1, 2, 2.5, and no more.
    """
    return PiecewiseRate([RateSegment(rate, rate, for_s) for rate, for_s in plan])


def spike(base: float, peak: float, at_s: float, for_s: float) -> PiecewiseRate:
    """A base rate without end, and another one from `at_s` on for `for_s`.

    1 per second, and 4 from 2 s on for 0.5 s: 0, 1, 2, 2.25, 2.5, 3.5 …
    """
    before = [RateSegment(base, base, at_s)] if at_s > 0 else []
    return PiecewiseRate([*before, RateSegment(peak, peak, for_s), RateSegment(base, base, math.inf)])


class Poisson:
    """Arrivals that know nothing of each other, at a given rate.

    A process of rate 1, whose gaps are exponential (-ln(1 - u)), is mapped through the inverse of the
    cumulative rate: so it has the shape of any rate (Çinlar, 1975). Memory is one block, whatever the
    index; to go back costs as much as to begin anew.
    """

    def __init__(self, rate: Rate, seed: int) -> None:
        self._rate = rate
        self._random = RandomBlocks(seed, GAPS)
        self._restart()

    def _restart(self) -> None:
        self._block = -1
        self._counts: list[float] = [0.0]

    def due_s(self, index: int) -> float:
        """See Arrivals."""
        block, place = divmod(index, BLOCK_SIZE)
        if block < self._block:
            self._restart()
        while self._block < block:
            self._block += 1
            gaps = -np.log1p(-self._random.block(self._block))
            self._counts = (self._counts[-1] + np.cumsum(gaps)).tolist()
        return self._rate.when_s(self._counts[place])


class Trace:
    """Arrivals at given times, in seconds from the start, which never fall; then no more."""

    def __init__(self, times_s: Sequence[float]) -> None:
        self._times_s = times_s

    def due_s(self, index: int) -> float:
        """See Arrivals."""
        return self._times_s[index] if index < len(self._times_s) else math.inf


def arrivals_for(load: LoadSettings) -> Arrivals | None:
    """The arrivals that the settings describe; None for a closed loop.

    Raises SettingsError when a trace can no longer be read.
    """
    if load.trace is not None:
        try:
            return Trace(read_times(load.trace))
        except ValueError as problem:
            raise SettingsError(f"setting 'load.trace': {problem}") from None
    rate = _rate(load)
    if rate is None or load.arrivals == "constant":
        return rate
    if load.seed is None:
        raise ValueError("Poisson arrivals need a seed")
    return Poisson(rate, load.seed)


def _rate(load: LoadSettings) -> Rate | None:
    if load.rate is not None:
        return Constant(load.rate)
    if load.ramp is not None:
        return ramp(*parse_ramp(load.ramp))
    if load.steps is not None:
        return steps(parse_steps(load.steps))
    if load.spike is not None:
        return spike(*parse_spike(load.spike))
    return None
