"""Millions of durations in a few kilobytes, mergeable over seconds, journeys and processes.

Buckets are spaced evenly in the logarithm, 240 to a decade, so bucket i holds the values v (in ms) with

    edge(i - 1) < v <= edge(i),  edge(i) = 0.001 · g^i,  g = 10^(1/240)

and stands for 2·edge(i) / (g + 1), which is at most (g - 1) / (g + 1) = 0.48% away from any value in it
(Masson, Rim, Lee: DDSketch, VLDB 2019, section 2.1). Recording is an append; values are sorted into
buckets 4096 at a time, by numpy.
"""

from __future__ import annotations

import math
import struct
import zlib
from array import array
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt

LOWEST_MS = 0.001
DECADES = 11
BUCKETS_PER_DECADE = 240
BUCKETS = DECADES * BUCKETS_PER_DECADE + 1
GROWTH = 10 ** (1 / BUCKETS_PER_DECADE)
RELATIVE_ERROR = 0.005
"""The bound promised: (GROWTH - 1) / (GROWTH + 1) = 0.0048 and room for the rounding of a logarithm."""

FOLD_AT = 4096
FEW = 32
"""So few values are added without numpy, which takes longer to begin."""

_BATCH = 1024
"""So many stored histograms are added up together."""

_CONTRADICTORY = "a stored histogram's buckets contradict its count"
_NOT_FINITE = "durations must be finite numbers of milliseconds; one of these is not"
UNFOLDED_AT_MOST = 128
"""So few values travel as they are: sorting them into buckets can wait until somebody adds them up."""

_FORMAT = 2
_COARSE_FORMAT = 1  # of earlier files: half as many buckets to a decade
_UNFOLDED = b"\x02"  # no deflated text begins with it
_HEADER = struct.Struct("<BQdddH")
EDGES_MS: npt.NDArray[np.float64] = LOWEST_MS * np.power(10.0, np.arange(BUCKETS) / BUCKETS_PER_DECADE)
"""Upper edge of every bucket."""
MIDDLES_MS: npt.NDArray[np.float64] = EDGES_MS * (2 / (GROWTH + 1))
"""The value that stands for every bucket."""
EDGES_MS.flags.writeable = MIDDLES_MS.flags.writeable = False


class Histogram:
    """A distribution of values in milliseconds.

    Percentiles are within RELATIVE_ERROR from 1 µs to 10^8 ms (27 h). Below 1 µs (negative lags too) and
    above 27 h values are counted in the first and last bucket. Count, smallest and largest are exact, and
    the sum is, up to float rounding.
    """

    __slots__ = ("_counts", "_max", "_min", "_recent", "_sum")

    def __init__(self) -> None:
        self._recent = array("d")
        self._counts: npt.NDArray[np.int64] | None = None
        self._sum = 0.0
        self._min = math.inf
        self._max = -math.inf

    def record(self, value_ms: float) -> None:
        """Add one value. Raises ValueError for NaN and infinities."""
        if not math.isfinite(value_ms):
            raise ValueError(f"a duration must be a finite number of milliseconds, not {value_ms}")
        self._recent.append(value_ms)
        if len(self._recent) >= FOLD_AT:
            self._fold()

    def record_many(self, values_ms: npt.ArrayLike) -> None:
        """Add many values. Raises ValueError, and adds none, when one is NaN or infinite."""
        if isinstance(values_ms, list) and len(values_ms) < FEW:
            if not all(map(math.isfinite, values_ms)):
                raise ValueError(_NOT_FINITE)
            self._recent.extend(values_ms)
            if len(self._recent) >= FOLD_AT:
                self._fold()
            return
        values = np.asarray(values_ms, dtype=np.float64).ravel()
        if not np.isfinite(values).all():
            raise ValueError(_NOT_FINITE)
        if values.size < FOLD_AT:
            self._recent.frombytes(values.tobytes())
            if len(self._recent) >= FOLD_AT:
                self._fold()
        else:
            self._add(values)

    def merge(self, other: Histogram) -> None:
        """Add another histogram's values to this one; the other stays as it is."""
        other._fold()
        if other._counts is None:
            return
        # Arrays of counts are replaced, never changed in place, so two histograms may share one.
        self._counts = other._counts if self._counts is None else self._counts + other._counts
        self._sum += other._sum
        self._min = min(self._min, other._min)
        self._max = max(self._max, other._max)

    @property
    def count(self) -> int:
        """How many values were recorded."""
        folded = 0 if self._counts is None else int(self._counts.sum())
        return folded + len(self._recent)

    @property
    def sum(self) -> float:
        """The values' sum in ms."""
        self._fold()
        return self._sum

    @property
    def min(self) -> float | None:
        """The smallest value in ms, exactly; None when there is none."""
        self._fold()
        return None if self._counts is None else self._min

    @property
    def max(self) -> float | None:
        """The largest value in ms, exactly; None when there is none."""
        self._fold()
        return None if self._counts is None else self._max

    @property
    def mean(self) -> float | None:
        """The arithmetic mean in ms; None when there is no value."""
        count = self.count
        return self.sum / count if count else None

    def percentile(self, percent: float) -> float | None:
        """The nearest-rank percentile in ms, within RELATIVE_ERROR; None when there is no value.

        It estimates the value of rank ceil(percent/100 · count) in ascending order; 0 and 100 are the exact
        smallest and largest. Raises ValueError outside 0 to 100.
        """
        if not 0 <= percent <= 100:
            raise ValueError(f"a percentile is between 0 and 100, not {percent}")
        self._fold()
        if self._counts is None:
            return None
        cumulative = np.cumsum(self._counts)
        count = int(cumulative[-1])
        rank = nearest_rank(percent, count)
        if rank == 1:
            return self._min
        if rank == count:
            return self._max
        bucket = int(np.searchsorted(cumulative, rank))
        # The true value lies between the extremes, so clipping can only bring the estimate nearer to it.
        return min(max(float(MIDDLES_MS[bucket]), self._min), self._max)

    def buckets(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Upper edges in ms and counts, one per bucket, empty ones too; all histograms have the same."""
        self._fold()
        counts = np.zeros(BUCKETS, np.int64) if self._counts is None else self._counts.copy()
        return EDGES_MS, counts

    def to_bytes(self) -> bytes:
        """The histogram for storage and shipping: a header and the filled buckets, deflated, or few values."""
        if self._counts is None and len(self._recent) <= UNFOLDED_AT_MOST:
            return _UNFOLDED + np.frombuffer(self._recent, np.float64).astype("<f8").tobytes()
        self._fold()
        counts = np.zeros(BUCKETS, np.int64) if self._counts is None else self._counts
        filled = np.flatnonzero(counts)
        header = _HEADER.pack(_FORMAT, self.count, self._sum, self._min, self._max, len(filled))
        return zlib.compress(
            header + filled.astype("<u2").tobytes() + counts[filled].astype("<i8").tobytes(), 1
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Histogram:
        """The histogram that `to_bytes` wrote. Raises ValueError when it is anything else."""
        if data[:1] == _UNFOLDED:
            return cls._of_values(data[1:])
        try:
            plain = zlib.decompress(data)
            form, count, total, smallest, largest, filled = _HEADER.unpack_from(plain)
            places = np.frombuffer(plain, "<u2", filled, _HEADER.size)
            values = np.frombuffer(plain, "<i8", filled, _HEADER.size + 2 * filled)
        except (zlib.error, struct.error, ValueError) as problem:
            raise ValueError(f"this is no stored histogram: {problem}") from None
        if form not in {_FORMAT, _COARSE_FORMAT} or len(plain) != _HEADER.size + 10 * filled:
            raise ValueError(f"this is no stored histogram of format {_FORMAT}")
        if (places >= BUCKETS).any() or (values <= 0).any() or int(values.sum()) != count:
            raise ValueError(_CONTRADICTORY)
        histogram = cls()
        if filled:
            histogram._counts = np.zeros(BUCKETS, np.int64)
            if form == _COARSE_FORMAT:  # each of its buckets is two of ours, and nobody knows which had what
                upper = np.minimum(places.astype(np.int64) * 2, BUCKETS - 1)
                histogram._counts[np.maximum(upper - 1, 0)] += values // 2
                histogram._counts[upper] += values - values // 2
            else:
                histogram._counts[places] = values
            histogram._sum, histogram._min, histogram._max = total, smallest, largest
        return histogram

    @classmethod
    def total(cls, stored: Iterable[bytes]) -> Histogram:
        """The sum of many histograms that `to_bytes` wrote, several times as fast as one merge after the other.

        Raises ValueError when one of them is anything else.
        """
        total, batch = cls(), _Batch()
        for data in stored:
            if data[:1] == _UNFOLDED:
                total.merge(cls._of_values(data[1:]))
                continue
            try:
                plain = zlib.decompress(data)
                form, count, sum_ms, smallest, largest, filled = _HEADER.unpack_from(plain)
            except (zlib.error, struct.error) as problem:
                raise ValueError(f"this is no stored histogram: {problem}") from None
            if form != _FORMAT or not filled or len(plain) != _HEADER.size + 10 * filled:
                total.merge(
                    cls.from_bytes(data)
                )  # which knows the earlier format, and what is wrong otherwise
                continue
            batch.add(plain, filled, count)
            total._sum += sum_ms
            total._min, total._max = min(total._min, smallest), max(total._max, largest)
            if len(batch.sizes) == _BATCH:
                total._counts, batch = batch.added_to(total._counts), _Batch()
        if batch.sizes:
            total._counts = batch.added_to(total._counts)
        return total

    @classmethod
    def _of_values(cls, data: bytes) -> Histogram:
        if len(data) % 8 or len(data) > 8 * UNFOLDED_AT_MOST:
            raise ValueError("this is no stored histogram: its values are cut off, or too many")
        histogram = cls()
        histogram._recent.extend(np.frombuffer(data, "<f8").tolist())
        if not all(map(math.isfinite, histogram._recent)):
            raise ValueError("a stored histogram holds a value that is no number")
        return histogram

    def _fold(self) -> None:
        if self._recent:
            recent, self._recent = self._recent, array("d")
            self._add(np.frombuffer(recent, np.float64))

    def _add(self, values: npt.NDArray[np.float64]) -> None:
        if not values.size:
            return
        self._min = min(self._min, float(values.min()))
        self._max = max(self._max, float(values.max()))
        self._sum += float(values.sum())
        decades = np.log10(np.maximum(values, LOWEST_MS) / LOWEST_MS)
        places = np.minimum(np.ceil(decades * BUCKETS_PER_DECADE).astype(np.int64), BUCKETS - 1)
        counts = np.bincount(places, minlength=BUCKETS)
        self._counts = counts if self._counts is None else self._counts + counts


class _Batch:
    """Stored histograms that wait to be added up together: what is dear about numpy is to begin."""

    __slots__ = ("counts", "places", "sizes", "values")

    def __init__(self) -> None:
        self.places: list[bytes] = []
        self.values: list[bytes] = []
        self.sizes: list[int] = []
        self.counts: list[int] = []

    def add(self, plain: bytes, filled: int, count: int) -> None:
        """Take one in, inflated. filled: how many filled buckets it has; count: what they add up to."""
        middle = _HEADER.size + 2 * filled
        self.places.append(plain[_HEADER.size : middle])
        self.values.append(plain[middle:])
        self.sizes.append(filled)
        self.counts.append(count)

    def added_to(self, counts: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64]:
        """New counts: those, and all that wait. Raises ValueError when a stored one contradicts itself."""
        places = np.frombuffer(b"".join(self.places), "<u2")
        values = np.frombuffer(b"".join(self.values), "<i8")
        sums = np.add.reduceat(values, np.concatenate([[0], np.cumsum(self.sizes)[:-1]]))
        if (
            (places >= BUCKETS).any()
            or (values <= 0).any()
            or (sums != np.array(self.counts, np.uint64)).any()
        ):
            raise ValueError(_CONTRADICTORY)
        added = np.zeros(BUCKETS, np.int64) if counts is None else counts.copy()
        np.add.at(added, places, values)
        return added


def nearest_rank(percent: float, count: int) -> int:
    """Rank, from 1, of a percentile among `count` values: ceil(percent/100 · count), at least 1.

    Computed from the decimal that was written: in floats 99.9% of 1000 would be rank 1000.
    """
    numerator, denominator = _share(percent)
    return max(1, -(-numerator * count // denominator))


@lru_cache(maxsize=64)
def _share(percent: float) -> tuple[int, int]:
    return (Fraction(str(percent)) / 100).as_integer_ratio()
