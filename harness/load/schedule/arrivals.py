"""When the arrivals of an open loop are due.

There is one absolute schedule for the whole test: arrival i is due at a fixed time after the start, whichever
worker sends it and however late the previous one was. So nothing drifts, splitting the schedule over workers does
not change it, and a server that backs up shows in the latencies instead of slowing the test down.

Random numbers are addressed by seed and index, so every process computes the same arrivals independently.
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
        """Seconds from the start at which arrival `index`, from 0, is due; non-decreasing in `index`.

        Infinity after the end of the schedule.
        """
        ...


class Rate(Protocol):
    """Arrivals per second over time, defined by its cumulative function. As a schedule it is evenly spaced."""

    def when_s(self, count: float) -> float:
        """The inverse of the cumulative rate: when this many arrivals are expected; infinity for never."""
        ...

    def due_s(self, index: int) -> float:
        """Arrival `index` is due when that many arrivals are expected."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    """Evenly spaced: arrival i at i / rate. At 4 per second: 0, 0.25, 0.5, 0.75, 1 …"""

    rate: float

    def __post_init__(self) -> None:
        if not 0 < self.rate < math.inf:
            raise ValueError(f"the rate must be above 0 per second, not {self.rate}")

    def when_s(self, count: float) -> float:
        """Computed from the index, so rounding errors do not accumulate."""
        return count / self.rate

    def due_s(self, index: int) -> float:
        """See Arrivals."""
        return self.when_s(index)


class RateSegment(NamedTuple):
    """A stretch of time in which the rate changes linearly: arrivals per second, seconds."""

    from_rate: float
    to_rate: float
    for_s: float

    @property
    def arrivals(self) -> float:
        """The expected number of arrivals: the area of a trapezium."""
        return (
            0.0 if self.from_rate == self.to_rate == 0 else (self.from_rate + self.to_rate) / 2 * self.for_s
        )

    def when_s(self, count: float) -> float:
        """Seconds into the segment at which this many arrivals are expected.

        With slope k the count after t is from_rate·t + k·t²/2. This form of its inverse subtracts nothing while
        the rate rises, and is exactly count / rate for a constant rate.
        """
        if count <= 0:
            return 0.0
        slope = 0.0 if self.from_rate == self.to_rate else (self.to_rate - self.from_rate) / self.for_s
        root = math.sqrt(max(0.0, self.from_rate**2 + 2 * slope * count))
        # The root may be 0 for a tiny count, which is then expected at once.
        return min(2 * count / (self.from_rate + root), self.for_s) if self.from_rate + root else 0.0


class PiecewiseRate:
    """Consecutive linear segments. The schedule ends with the last.

    Raises ValueError for an invalid segment, or if nothing ever arrives.
    """

    def __init__(self, segments: Sequence[RateSegment]) -> None:
        for segment in segments:
            if not (
                0 <= segment.from_rate < math.inf and 0 <= segment.to_rate < math.inf and segment.for_s > 0
            ):
                raise ValueError(f"invalid rate segment: {segment}")
        self._segments = [segment for segment in segments if segment.arrivals > 0]
        if not self._segments:
            raise ValueError("the rate is always 0, so nothing ever arrives")
        starts_s = accumulate((segment.for_s for segment in segments), initial=0.0)
        self._starts_s = [
            start for start, segment in zip(starts_s, segments, strict=False) if segment.arrivals > 0
        ]
        self._counts = list(accumulate(segment.arrivals for segment in self._segments))

    def when_s(self, count: float) -> float:
        """See Rate. A count reached exactly at the end of a segment is due at the start of the next."""
        index = bisect_right(self._counts, count)
        if index == len(self._segments):
            return math.inf
        before = self._counts[index - 1] if index else 0.0
        return self._starts_s[index] + self._segments[index].when_s(count - before)

    def due_s(self, index: int) -> float:
        """See Arrivals."""
        return self.when_s(index)


def ramp(from_rate: float, to_rate: float, over_s: float) -> PiecewiseRate:
    """The rate changes linearly from `from_rate` to `to_rate`, then stays there.

    From 0 to 2 per second over 4 s: 0, 2, 2.83, 3.46, 4, 4.5, 5, 5.5 …
    """
    return PiecewiseRate([RateSegment(from_rate, to_rate, over_s), RateSegment(to_rate, to_rate, math.inf)])


def steps(plan: Sequence[tuple[float, float]]) -> PiecewiseRate:
    """Constant rates, one (rate, seconds) after the other. The schedule ends with the last.

    1 per second for 2 s, then 2 for 1 s: 0, 1, 2, 2.5, and no more.
    """
    return PiecewiseRate([RateSegment(rate, rate, for_s) for rate, for_s in plan])


def spike(base: float, peak: float, at_s: float, for_s: float) -> PiecewiseRate:
    """An endless base rate, with a peak rate from `at_s` for `for_s` seconds.

    1 per second, and 4 from 2 s on for 0.5 s: 0, 1, 2, 2.25, 2.5, 3.5 …
    """
    before = [RateSegment(base, base, at_s)] if at_s > 0 else []
    return PiecewiseRate([*before, RateSegment(peak, peak, for_s), RateSegment(base, base, math.inf)])


class Poisson:
    """A Poisson process: independent arrivals at a given rate.

    A process of rate 1, with exponential gaps (-ln(1 - u)), is mapped through the inverse of the cumulative rate,
    which gives it the shape of any rate (Çinlar, 1975). Memory is one block for any index; going back restarts from
    the first block.
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
        block, offset = divmod(index, BLOCK_SIZE)
        if block < self._block:
            self._restart()
        while self._block < block:
            self._block += 1
            gaps = -np.log1p(-self._random.block(self._block))
            self._counts = (self._counts[-1] + np.cumsum(gaps)).tolist()
        return self._rate.when_s(self._counts[offset])


class Trace:
    """Arrivals at given non-decreasing times, in seconds from the start."""

    def __init__(self, times_s: Sequence[float]) -> None:
        self._times_s = times_s

    def due_s(self, index: int) -> float:
        """See Arrivals."""
        return self._times_s[index] if index < len(self._times_s) else math.inf


def arrivals_for(load: LoadSettings) -> Arrivals | None:
    """The arrivals that the settings describe; None for a closed loop.

    Raises SettingsError if a trace cannot be read.
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
