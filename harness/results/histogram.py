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
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Generic, Self, TypeVar

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

_CONTRADICTORY = "a stored histogram's buckets contradict its count"
_NOT_FINITE = "durations must be finite numbers of milliseconds; one of these is not"
UNFOLDED_AT_MOST = 128
"""So few values travel as they are: sorting them into buckets can wait until somebody adds them up."""

_FORMAT = 2
_COARSE_FORMAT = 1  # of earlier files: half as many buckets to a decade
_UNFOLDED = b"\x02"  # no deflated text begins with it
_HEADER = struct.Struct("<BQdddH")
_HEADER_FIELDS = np.dtype(
    [("form", "u1"), ("count", "<u8"), ("sum", "<f8"), ("min", "<f8"), ("max", "<f8"), ("filled", "<u2")]
)
_BUCKET_BYTES = 10  # of a filled one: its number and its count
_ROOM = 256  # labels that sums have room for at least
EDGES_MS: npt.NDArray[np.float64] = LOWEST_MS * np.power(10.0, np.arange(BUCKETS) / BUCKETS_PER_DECADE)
"""Upper edge of every bucket."""
MIDDLES_MS: npt.NDArray[np.float64] = EDGES_MS * (2 / (GROWTH + 1))
"""The value that stands for every bucket."""
EDGES_MS.flags.writeable = MIDDLES_MS.flags.writeable = False

Label = TypeVar("Label", bound=Hashable)


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
        return zlib.compress(self.plain(), 1)

    def plain(self) -> bytes:
        """What is deflated for storage: header, numbers of the filled buckets, counts."""
        self._fold()
        counts = np.zeros(BUCKETS, np.int64) if self._counts is None else self._counts
        filled = np.flatnonzero(counts)
        header = _HEADER.pack(_FORMAT, self.count, self._sum, self._min, self._max, len(filled))
        return header + filled.astype("<u2").tobytes() + counts[filled].astype("<i8").tobytes()

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
        if form not in {_FORMAT, _COARSE_FORMAT} or len(plain) != _HEADER.size + _BUCKET_BYTES * filled:
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
    def of_sums(cls, counts: npt.NDArray[np.int64], sum_ms: float, min_ms: float, max_ms: float) -> Self:
        """The histogram of numbers that are known. counts: of all buckets, not to be changed any more; without
        a value min_ms is above max_ms.
        """
        histogram = cls()
        if min_ms <= max_ms:
            histogram._counts, histogram._sum, histogram._min, histogram._max = counts, sum_ms, min_ms, max_ms
        return histogram

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


@dataclass(frozen=True, slots=True)
class Stored:
    """Stored histograms, decoded together: of each its number of filled buckets, sum, smallest and largest in ms.

    places, counts: of all filled buckets, one histogram's after the other's.
    """

    sizes: npt.NDArray[np.int64]
    sums_ms: npt.NDArray[np.float64]
    smallest_ms: npt.NDArray[np.float64]
    largest_ms: npt.NDArray[np.float64]
    places: npt.NDArray[np.uint16]
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, stored: Sequence[bytes]) -> Self:
        """What `Histogram.to_bytes` wrote, in any form. Raises ValueError when one of them is anything else."""
        plains, headers = _inflated(stored)
        sizes = headers["filled"].astype(np.int64)
        middles = (_HEADER.size + 2 * sizes).tolist()
        places = [plain[_HEADER.size : middle] for plain, middle in zip(plains, middles, strict=True)]
        counts = [plain[middle:] for plain, middle in zip(plains, middles, strict=True)]
        decoded = cls(
            sizes,
            headers["sum"],
            headers["min"],
            headers["max"],
            np.frombuffer(b"".join(places), "<u2"),
            np.frombuffer(b"".join(counts), "<i8"),
        )
        decoded._check(headers["count"])
        return decoded

    def _check(self, counts: npt.NDArray[np.uint64]) -> None:
        before = np.concatenate([[0], np.cumsum(self.counts)])
        ends = np.cumsum(self.sizes)
        found = (before[ends] - before[ends - self.sizes]).astype(np.uint64)
        if (self.places >= BUCKETS).any() or (self.counts <= 0).any() or (found != counts).any():
            raise ValueError(_CONTRADICTORY)

    def only(self, wanted: npt.NDArray[np.bool_]) -> Stored:
        """Some of them, in the same order. wanted: a flag for each."""
        inside = np.repeat(wanted, self.sizes)
        return Stored(
            self.sizes[wanted],
            self.sums_ms[wanted],
            self.smallest_ms[wanted],
            self.largest_ms[wanted],
            self.places[inside],
            self.counts[inside],
        )


class Sums(Generic[Label]):
    """Stored histograms added up by label, many at a time: what is dear about numpy is to begin.

    Every label takes 21 kB until what was added up is taken out.
    """

    __slots__ = ("_counts", "_largest_ms", "_rows", "_smallest_ms", "_sums_ms")

    def __init__(self) -> None:
        self._clear()

    def __len__(self) -> int:
        """How many labels there are."""
        return len(self._rows)

    def _clear(self) -> None:
        self._rows: dict[Label, int] = {}
        self._counts = np.zeros((0, BUCKETS), np.int64)
        self._sums_ms, self._smallest_ms, self._largest_ms = np.zeros(0), np.zeros(0), np.zeros(0)

    def _make_room(self) -> None:
        """Rows for all labels; each time for twice as many, so that it is seldom done."""
        before = len(self._counts)
        size = max(len(self._rows), 2 * before, _ROOM)
        counts = np.zeros((size, BUCKETS), np.int64)  # memory is taken by what is written only
        counts[:before] = self._counts
        self._counts = counts
        more = size - before
        self._sums_ms = np.concatenate([self._sums_ms, np.zeros(more)])
        self._smallest_ms = np.concatenate([self._smallest_ms, np.full(more, np.inf)])
        self._largest_ms = np.concatenate([self._largest_ms, np.full(more, -np.inf)])

    def add(self, labels: Iterable[Label | None], stored: Stored) -> None:
        """Add each to the sum of its label. labels: one for each; None leaves it out."""
        rows = self._rows
        places = np.array(
            [-1 if label is None else rows.setdefault(label, len(rows)) for label in labels], np.int64
        )
        wanted = places >= 0
        if not wanted.all():
            places, stored = places[wanted], stored.only(wanted)
        if len(rows) > len(self._counts):
            self._make_room()
        cells = np.repeat(places * BUCKETS, stored.sizes) + stored.places
        np.add.at(self._counts.reshape(-1), cells, stored.counts)
        np.add.at(self._sums_ms, places, stored.sums_ms)
        np.minimum.at(self._smallest_ms, places, stored.smallest_ms)
        np.maximum.at(self._largest_ms, places, stored.largest_ms)

    def take(self) -> dict[Label, Histogram]:
        """The sums by label, in the order in which these came; afterwards there are none."""
        numbers = zip(
            self._sums_ms.tolist(), self._smallest_ms.tolist(), self._largest_ms.tolist(), strict=True
        )
        # Rows beyond the labels are room that was not needed.
        found = zip(self._rows, self._counts, numbers, strict=False)
        histograms = {label: Histogram.of_sums(counts, *three) for label, counts, three in found}
        self._clear()
        return histograms

    def take_stored(self) -> tuple[list[Label], Stored]:
        """The same as stored ones, which take what their filled buckets do, 10 bytes each."""
        labels, size = list(self._rows), len(self._rows)
        filled = np.flatnonzero(self._counts[:size] != 0)  # several times as fast as of numbers
        rows, places = np.divmod(filled, BUCKETS)
        stored = Stored(
            np.bincount(rows, minlength=size),
            self._sums_ms[:size],
            self._smallest_ms[:size],
            self._largest_ms[:size],
            places.astype(np.uint16),
            self._counts.reshape(-1)[filled],
        )
        self._clear()
        return labels, stored


def _inflated(stored: Sequence[bytes]) -> tuple[list[bytes], npt.NDArray[np.void]]:
    """What was deflated of each, as `Histogram.to_bytes` writes it now, whatever its form was; and the headers."""
    plains = list(map(_inflated_or_empty, stored))
    headers = _headers(plains)
    lengths = np.fromiter(map(len, plains), np.int64, len(plains))
    filled = headers["filled"].astype(np.int64)
    usual = (headers["form"] == _FORMAT) & (filled > 0) & (lengths == _HEADER.size + _BUCKET_BYTES * filled)
    if usual.all():
        return plains, headers
    for place in np.flatnonzero(~usual).tolist():  # few values, the earlier format, or no histogram at all
        plains[place] = Histogram.from_bytes(stored[place]).plain()
    return plains, _headers(plains)


def _inflated_or_empty(data: bytes) -> bytes:
    try:
        return zlib.decompress(data)
    except zlib.error:
        return b""


def _headers(plains: list[bytes]) -> npt.NDArray[np.void]:
    size = _HEADER.size
    return np.frombuffer(b"".join([plain[:size].ljust(size, b"\0") for plain in plains]), _HEADER_FIELDS)


def nearest_rank(percent: float, count: int) -> int:
    """Rank, from 1, of a percentile among `count` values: ceil(percent/100 · count), at least 1.

    Computed from the decimal that was written: in floats 99.9% of 1000 would be rank 1000.
    """
    numerator, denominator = _share(percent)
    return max(1, -(-numerator * count // denominator))


@lru_cache(maxsize=64)
def _share(percent: float) -> tuple[int, int]:
    return (Fraction(str(percent)) / 100).as_integer_ratio()
