"""A histogram of durations with logarithmic buckets: a few kilobytes for millions of values, mergeable.

There are 720 buckets per decade. Bucket i holds the values v (in ms) with

    edge(i - 1) < v <= edge(i),  edge(i) = 0.001 · g^i,  g = 10^(1/720)

and is represented by 2·edge(i) / (g + 1), which is within (g - 1) / (g + 1) = 0.16% of every value in it
(Masson, Rim, Lee: DDSketch, VLDB 2019, section 2.1). Recording appends; numpy sorts values into buckets
4096 at a time.

Earlier versions of the harness stored wide buckets: 240 per decade, each as wide as three of these. A wide bucket is
counted in the middle one of the three, whose representative value differs from its own by a hundred-thousandth. A
histogram with any wide bucket has the error of wide buckets, and so has every sum that it is in.
"""

from __future__ import annotations

import math
import struct
import zlib
from array import array
from fractions import Fraction
from functools import lru_cache
from typing import Self

import numpy as np
import numpy.typing as npt

LOWEST_MS = 0.001
DECADES = 11
BUCKETS_PER_DECADE = 720
BUCKETS = DECADES * BUCKETS_PER_DECADE + 1
GROWTH = 10 ** (1 / BUCKETS_PER_DECADE)
RELATIVE_ERROR = 0.002
"""Guaranteed bound: (GROWTH - 1) / (GROWTH + 1) = 0.0016, plus room for the rounding of a logarithm."""

PER_WIDE = 3
"""Buckets in a wide one."""
WIDE_BUCKETS = (BUCKETS - 1) // PER_WIDE + 1
WIDE_RELATIVE_ERROR = 0.005
"""The same bound for wide buckets: 0.0048."""


def accuracy(relative_error: float) -> str:
    """How close a percentile is to the exact nearest-rank value, for texts."""
    return f"within {relative_error:.1%}"


ACCURACY = accuracy(RELATIVE_ERROR)
"""The accuracy of what this version measures."""

FOLD_AT = 4096
PLAIN_PYTHON_BELOW = 32
"""Below this number of values, plain Python is faster than numpy."""

UNFOLDED_AT_MOST = 128
"""Up to this number of values are stored as they are, and sorted into buckets when they are added up."""

FORMAT, WIDE_FORMAT = 3, 2
HEADER = struct.Struct("<BQdddH")
"""Header of the bucket form: format, count, sum, min, max, number of filled buckets."""
BUCKET_BYTES = 10
"""Bytes per filled bucket: index (2) and count (8)."""
IMPOSSIBLE = "the sum, minimum and maximum of a stored histogram do not match"
INCONSISTENT = "the buckets of a stored histogram do not match its count"
LARGEST_MS = 1e15
"""A stored value beyond this is damage: 30,000 years."""
LARGEST_COUNT = 2**40
"""A stored count beyond this is damage, and could overflow a sum."""
PLAIN_BYTES = HEADER.size + BUCKET_BYTES * BUCKETS
"""The bucket form with every bucket filled."""
_NOT_FINITE = "a duration must be a finite number of milliseconds; at least one of these is not"
_UNFOLDED = b"\x02"  # no zlib stream begins with this byte
EDGES_MS: npt.NDArray[np.float64] = LOWEST_MS * np.power(10.0, np.arange(BUCKETS) / BUCKETS_PER_DECADE)
"""Upper edge of each bucket."""
MIDDLES_MS: npt.NDArray[np.float64] = EDGES_MS * (2 / (GROWTH + 1))
"""Representative value of each bucket."""
_WIDE_PLACES = np.maximum(-(-np.arange(BUCKETS) // PER_WIDE) * PER_WIDE - 1, 0)
"""Where the wide bucket that contains a bucket is counted."""
_WIDE_EDGES_MS = EDGES_MS[np.minimum(np.arange(BUCKETS) + 1, BUCKETS - 1)]
_WIDE_EDGES_MS[0] = LOWEST_MS
"""Upper edges if all buckets are wide: the next bucket is the last of the three."""
EDGES_MS.flags.writeable = MIDDLES_MS.flags.writeable = _WIDE_EDGES_MS.flags.writeable = False


class Histogram:
    """A distribution of values in milliseconds.

    Percentiles are within `relative_error` from 1 µs to 10^8 ms (27 h). Values below 1 µs (negative lags too) and
    above 27 h are counted in the first and last bucket. Count, min and max are exact; the sum is exact up to
    float rounding.
    """

    __slots__ = ("_counts", "_is_wide", "_max", "_min", "_recent", "_sum")

    def __init__(self) -> None:
        self._recent = array("d")
        self._counts: npt.NDArray[np.int64] | None = None
        self._is_wide = False
        self._sum = 0.0
        self._min = math.inf
        self._max = -math.inf

    def record(self, value_ms: float) -> None:
        """Add one value. Raises ValueError for NaN and infinities."""
        if not math.isfinite(value_ms):
            raise ValueError(f"a duration must be a finite number of milliseconds, not {value_ms}")
        recent = self._recent
        recent.append(value_ms)
        if len(recent) >= FOLD_AT:
            self._fold()

    def record_many(self, values_ms: npt.ArrayLike) -> None:
        """Add values. Raises ValueError, and adds none of them, if one is NaN or infinite."""
        if isinstance(values_ms, list) and len(values_ms) < PLAIN_PYTHON_BELOW:
            # Their sum tells, in a quarter of the time, unless it is too large itself.
            if not math.isfinite(sum(values_ms)) and not all(map(math.isfinite, values_ms)):
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
        """Add another histogram's values to this one; the other is unchanged.

        If one has wide buckets, so has the sum.
        """
        other._fold()
        counts = other._counts
        if counts is None:
            return
        if other._is_wide and not self._is_wide:
            self._is_wide = True
            self._counts = None if self._counts is None else _widened(self._counts)
        elif self._is_wide and not other._is_wide:
            counts = _widened(counts)
        # Count arrays are replaced, never changed in place, so histograms may share them.
        self._counts = counts if self._counts is None else self._counts + counts
        self._sum += other._sum
        self._min = min(self._min, other._min)
        self._max = max(self._max, other._max)

    @property
    def relative_error(self) -> float:
        """How far a percentile may be from the exact nearest-rank value, as a share of it."""
        return WIDE_RELATIVE_ERROR if self._is_wide else RELATIVE_ERROR

    @property
    def growth(self) -> float:
        """The upper edge of a bucket, relative to its lower one."""
        return GROWTH**PER_WIDE if self._is_wide else GROWTH

    @property
    def count(self) -> int:
        """Number of recorded values."""
        folded = 0 if self._counts is None else int(self._counts.sum())
        return folded + len(self._recent)

    @property
    def sum(self) -> float:
        """Sum of the values in ms."""
        self._fold()
        return self._sum

    @property
    def min(self) -> float | None:
        """Smallest value in ms, exact; None if empty."""
        self._fold()
        return None if self._counts is None else self._min

    @property
    def max(self) -> float | None:
        """Largest value in ms, exact; None if empty."""
        self._fold()
        return None if self._counts is None else self._max

    @property
    def mean(self) -> float | None:
        """Arithmetic mean in ms; None if empty."""
        count = self.count
        return self.sum / count if count else None

    def percentile(self, percent: float) -> float | None:
        """The nearest-rank percentile in ms, within `relative_error`; None if empty.

        Estimates the value of rank ceil(percent/100 · count) in ascending order; 0 and 100 are the exact min and
        max. Raises ValueError outside 0 to 100.
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
        # The true value lies between min and max, so clipping never increases the error.
        return min(max(float(MIDDLES_MS[bucket]), self._min), self._max)

    def buckets(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Upper edges in ms and counts of all buckets, empty ones too.

        Every histogram has the same edges, but for one with wide buckets, of which two in three are always empty. The
        representative values are those in MIDDLES_MS in either case.
        """
        self._fold()
        counts = np.zeros(BUCKETS, np.int64) if self._counts is None else self._counts.copy()
        return _WIDE_EDGES_MS if self._is_wide else EDGES_MS, counts

    def to_bytes(self) -> bytes:
        """Serialized: up to UNFOLDED_AT_MOST values as they are, otherwise `bucket_bytes`, deflated."""
        if self._counts is None and len(self._recent) <= UNFOLDED_AT_MOST:
            return _UNFOLDED + np.frombuffer(self._recent, np.float64).astype("<f8").tobytes()
        return zlib.compress(self.bucket_bytes(), 1)

    def bucket_bytes(self) -> bytes:
        """The bucket form: HEADER, indexes of the filled buckets, their counts."""
        self._fold()
        counts = np.zeros(BUCKETS, np.int64) if self._counts is None else self._counts
        filled = np.flatnonzero(counts)
        form = WIDE_FORMAT if self._is_wide else FORMAT
        header = HEADER.pack(form, self.count, self._sum, self._min, self._max, len(filled))
        places = (filled + 1) // PER_WIDE if self._is_wide else filled
        return header + places.astype("<u2").tobytes() + counts[filled].astype("<i8").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Histogram:
        """The histogram that `to_bytes` serialized. Raises ValueError for anything else."""
        if data[:1] == _UNFOLDED:
            return cls._of_values(data[1:])
        try:
            plain = inflated(data)
            form, count, total, smallest, largest, filled = HEADER.unpack_from(plain)
            places = np.frombuffer(plain, "<u2", filled, HEADER.size)
            values = np.frombuffer(plain, "<i8", filled, HEADER.size + 2 * filled)
        except (zlib.error, struct.error, ValueError) as problem:
            raise ValueError(f"not a stored histogram: {problem}") from None
        if form not in (FORMAT, WIDE_FORMAT) or len(plain) != HEADER.size + BUCKET_BYTES * filled:
            raise ValueError(f"not a stored histogram of format {FORMAT} or {WIDE_FORMAT}")
        if form == WIDE_FORMAT:
            places = places_of_wide(places)
        if (places >= BUCKETS).any() or (np.diff(places.astype(np.int64)) <= 0).any():
            raise ValueError(INCONSISTENT)
        if (values <= 0).any() or (values > LARGEST_COUNT).any() or int(values.sum()) != count:
            raise ValueError(INCONSISTENT)
        if filled and not _is_possible(count, total, smallest, largest):
            raise ValueError(IMPOSSIBLE)
        histogram = cls()
        if filled:
            histogram._counts = np.zeros(BUCKETS, np.int64)
            histogram._counts[places] = values
            histogram._sum, histogram._min, histogram._max = total, smallest, largest
            histogram._is_wide = form == WIDE_FORMAT
        return histogram

    @classmethod
    def of_sums(
        cls,
        counts: npt.NDArray[np.int64],
        sum_ms: float,
        min_ms: float,
        max_ms: float,
        *,
        is_wide: bool = False,
    ) -> Self:
        """A histogram from its parts. counts: of all buckets; the caller must not change the array afterwards.
        min_ms > max_ms means empty. is_wide: some of what was added up has wide buckets.
        """
        histogram = cls()
        if min_ms <= max_ms:
            histogram._counts = _widened(counts) if is_wide else counts
            histogram._is_wide = is_wide
            histogram._sum, histogram._min, histogram._max = sum_ms, min_ms, max_ms
        return histogram

    @classmethod
    def _of_values(cls, data: bytes) -> Histogram:
        if len(data) % 8 or len(data) > 8 * UNFOLDED_AT_MOST:
            raise ValueError("not a stored histogram: its values are cut off, or too many")
        histogram = cls()
        histogram._recent.extend(np.frombuffer(data, "<f8").tolist())
        if not all(-LARGEST_MS <= value <= LARGEST_MS for value in histogram._recent):  # NaN is not
            raise ValueError("a stored histogram contains a value that is not finite, or too large")
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
        if self._is_wide:
            counts = _widened(counts)
        self._counts = counts if self._counts is None else self._counts + counts


def places_of_wide(places: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Indexes at which wide buckets are counted. places: their own. Raises ValueError for an unknown bucket."""
    if (places >= WIDE_BUCKETS).any():
        raise ValueError(INCONSISTENT)
    return _WIDE_PLACES[places.astype(np.int64) * PER_WIDE].astype(np.uint16)


def _widened(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The same counts in wide buckets."""
    wide = np.zeros(BUCKETS, np.int64)
    np.add.at(wide, _WIDE_PLACES, counts)
    return wide


def inflated(data: bytes) -> bytes:
    """A deflated bucket form, which has at most PLAIN_BYTES. Raises zlib.error, and ValueError for any other length."""
    inflater = zlib.decompressobj()
    plain = inflater.decompress(data, PLAIN_BYTES + 1)
    if len(plain) > PLAIN_BYTES or not inflater.eof or inflater.unused_data:
        raise ValueError("its data is cut off, or too long")
    return plain


def _is_possible(count: int, total: float, smallest: float, largest: float) -> bool:
    """Whether a number of values can have this sum, minimum and maximum. False for NaN."""
    rounding = 1e-6 * count * max(abs(smallest), abs(largest), 1.0)
    return (
        -LARGEST_MS <= smallest <= largest <= LARGEST_MS
        and count * smallest - rounding <= total <= count * largest + rounding
    )


def nearest_rank(percent: float, count: int) -> int:
    """1-based rank of a percentile among `count` values: ceil(percent/100 · count), at least 1.

    Computed with exact fractions: in floats, 99.9% of 1000 would be rank 1000.
    """
    numerator, denominator = _as_ratio(percent)
    return max(1, -(-numerator * count // denominator))


@lru_cache(maxsize=64)
def _as_ratio(percent: float) -> tuple[int, int]:
    return (Fraction(str(percent)) / 100).as_integer_ratio()
