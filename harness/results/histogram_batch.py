"""Decodes and adds up many stored histograms at once, with a few numpy calls per batch."""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt

from harness.results.histogram import (
    BUCKET_BYTES,
    BUCKETS,
    FORMAT,
    HEADER,
    IMPOSSIBLE,
    INCONSISTENT,
    LARGEST_COUNT,
    LARGEST_MS,
    WIDE_FORMAT,
    Histogram,
    inflated,
    places_of_wide,
)

_HEADER_FIELDS = np.dtype(
    [("form", "u1"), ("count", "<u8"), ("sum", "<f8"), ("min", "<f8"), ("max", "<f8"), ("filled", "<u2")]
)
_ROWS_AT_LEAST = 256

Label = TypeVar("Label", bound=Hashable)


@dataclass(frozen=True, slots=True)
class HistogramBatch:
    """Many decoded histograms, column by column.

    sizes: number of filled buckets of each histogram. are_wide: whether its buckets are wide. places, counts: index and
    count of all filled buckets, the histograms one after the other.
    """

    sizes: npt.NDArray[np.int64]
    sums_ms: npt.NDArray[np.float64]
    smallest_ms: npt.NDArray[np.float64]
    largest_ms: npt.NDArray[np.float64]
    are_wide: npt.NDArray[np.bool_]
    places: npt.NDArray[np.uint16]
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, stored: Sequence[bytes]) -> Self:
        """Decode what `Histogram.to_bytes` serialized. Raises ValueError for anything else."""
        plains, headers = _inflated(stored)
        sizes = headers["filled"].astype(np.int64)
        middles = (HEADER.size + 2 * sizes).tolist()
        stored_places = [plain[HEADER.size : middle] for plain, middle in zip(plains, middles, strict=True)]
        places = np.frombuffer(b"".join(stored_places), "<u2")
        are_wide = headers["form"] == WIDE_FORMAT
        if are_wide.any():
            inside, places = np.repeat(are_wide, sizes), places.copy()
            places[inside] = places_of_wide(places[inside])
        counts = [plain[middle:] for plain, middle in zip(plains, middles, strict=True)]
        decoded = cls(
            sizes,
            headers["sum"],
            headers["min"],
            headers["max"],
            are_wide,
            places,
            np.frombuffer(b"".join(counts), "<i8"),
        )
        decoded._check(headers["count"])
        return decoded

    def _check(self, counts: npt.NDArray[np.uint64]) -> None:
        if (self.places >= BUCKETS).any() or (self.counts <= 0).any() or (self.counts > LARGEST_COUNT).any():
            raise ValueError(INCONSISTENT)
        before = np.concatenate([[0], np.cumsum(self.counts)])
        ends = np.cumsum(self.sizes)
        totals = before[ends] - before[ends - self.sizes]
        rising = np.diff(self.places.astype(np.int64)) > 0
        rising[ends[(ends > 0) & (ends < len(self.places))] - 1] = True  # from one histogram to the next
        if not rising.all() or (totals.astype(np.uint64) != counts).any():
            raise ValueError(INCONSISTENT)
        filled = self.sizes > 0
        if not _are_possible(
            totals[filled], self.sums_ms[filled], self.smallest_ms[filled], self.largest_ms[filled]
        ):
            raise ValueError(IMPOSSIBLE)

    def select(self, wanted: npt.NDArray[np.bool_]) -> HistogramBatch:
        """The histograms whose flag in `wanted` is set, in the same order."""
        inside = np.repeat(wanted, self.sizes)
        return HistogramBatch(
            self.sizes[wanted],
            self.sums_ms[wanted],
            self.smallest_ms[wanted],
            self.largest_ms[wanted],
            self.are_wide[wanted],
            self.places[inside],
            self.counts[inside],
        )


def _are_possible(
    totals: npt.NDArray[np.int64],
    sums_ms: npt.NDArray[np.float64],
    smallest_ms: npt.NDArray[np.float64],
    largest_ms: npt.NDArray[np.float64],
) -> bool:
    """Whether histograms of that many values can have these sums, minima and maxima. False for NaN."""
    sizes_ms = np.maximum(np.abs(smallest_ms), np.abs(largest_ms))
    if not ((sizes_ms <= LARGEST_MS) & (smallest_ms <= largest_ms)).all():
        return False
    rounding = 1e-6 * totals * np.maximum(sizes_ms, 1.0)
    above = sums_ms >= totals * smallest_ms - rounding
    return bool((above & (sums_ms <= totals * largest_ms + rounding)).all())


class HistogramSums(Generic[Label]):
    """Adds histograms up by label, a batch at a time, because every numpy call has a fixed cost.

    Each label takes up to 63 kB until the sums are taken: the memory pages of the buckets that are filled.
    """

    __slots__ = ("_are_wide", "_counts", "_largest_ms", "_rows", "_smallest_ms", "_sums_ms")

    def __init__(self) -> None:
        self._clear()

    def __len__(self) -> int:
        """Number of labels."""
        return len(self._rows)

    def _clear(self) -> None:
        self._rows: dict[Label, int] = {}
        self._counts = np.zeros((0, BUCKETS), np.int64)
        self._sums_ms, self._smallest_ms, self._largest_ms = np.zeros(0), np.zeros(0), np.zeros(0)
        self._are_wide = np.zeros(0, np.bool_)

    def _make_room(self) -> None:
        """Allocate rows for all labels; at least doubles, so that it rarely happens."""
        before = len(self._counts)
        size = max(len(self._rows), 2 * before, _ROWS_AT_LEAST)
        # The OS allocates only the pages written. For an array of np.zeros numpy asks for huge pages: nearly all of it.
        memory = mmap(-1, size * BUCKETS * 8, flags=MAP_PRIVATE | MAP_ANONYMOUS)
        counts = np.frombuffer(memory, np.int64).reshape(size, BUCKETS)
        filled = np.flatnonzero(self._counts != 0)  # to copy the others would allocate their pages
        counts.reshape(-1)[filled] = self._counts.reshape(-1)[filled]
        self._counts = counts
        more = size - before
        self._sums_ms = np.concatenate([self._sums_ms, np.zeros(more)])
        self._smallest_ms = np.concatenate([self._smallest_ms, np.full(more, np.inf)])
        self._largest_ms = np.concatenate([self._largest_ms, np.full(more, -np.inf)])
        self._are_wide = np.concatenate([self._are_wide, np.zeros(more, np.bool_)])

    def add(self, labels: Iterable[Label | None], stored: HistogramBatch) -> None:
        """Add each histogram to the sum of its label; None leaves it out."""
        rows = self._rows
        places = np.array(
            [-1 if label is None else rows.setdefault(label, len(rows)) for label in labels], np.int64
        )
        wanted = places >= 0
        if not wanted.all():
            places, stored = places[wanted], stored.select(wanted)
        if len(rows) > len(self._counts):
            self._make_room()
        cells = np.repeat(places * BUCKETS, stored.sizes) + stored.places
        np.add.at(self._counts.reshape(-1), cells, stored.counts)
        np.add.at(self._sums_ms, places, stored.sums_ms)
        np.minimum.at(self._smallest_ms, places, stored.smallest_ms)
        np.maximum.at(self._largest_ms, places, stored.largest_ms)
        self._are_wide[places[stored.are_wide]] = True

    def take(self) -> dict[Label, Histogram]:
        """The sums by label, in order of first use; clears them."""
        numbers = zip(
            self._sums_ms.tolist(), self._smallest_ms.tolist(), self._largest_ms.tolist(), strict=True
        )
        # Rows beyond the labels are unused.
        rows = zip(self._rows, self._counts, numbers, self._are_wide.tolist(), strict=False)
        histograms = {
            label: Histogram.of_sums(counts, *three, is_wide=is_wide)
            for label, counts, three, is_wide in rows
        }
        self._clear()
        return histograms

    def take_batch(self) -> tuple[list[Label], HistogramBatch]:
        """The labels and their sums as a batch, at 10 bytes per filled bucket; clears them."""
        labels, size = list(self._rows), len(self._rows)
        filled = np.flatnonzero(self._counts[:size] != 0)  # several times as fast on booleans
        rows, places = np.divmod(filled, BUCKETS)
        stored = HistogramBatch(
            np.bincount(rows, minlength=size),
            self._sums_ms[:size],
            self._smallest_ms[:size],
            self._largest_ms[:size],
            self._are_wide[:size],
            places.astype(np.uint16),
            self._counts.reshape(-1)[filled],
        )
        self._clear()
        return labels, stored


def _inflated(stored: Sequence[bytes]) -> tuple[list[bytes], npt.NDArray[np.void]]:
    """The bucket form of each, and the headers."""
    plains = list(map(_inflated_or_empty, stored))
    headers = _headers(plains)
    lengths = np.fromiter(map(len, plains), np.int64, len(plains))
    filled = headers["filled"].astype(np.int64)
    usual = np.isin(headers["form"], (FORMAT, WIDE_FORMAT))
    usual &= (filled > 0) & (lengths == HEADER.size + BUCKET_BYTES * filled)
    if usual.all():
        return plains, headers
    for place in np.flatnonzero(~usual).tolist():  # unfolded values, or not a histogram
        plains[place] = Histogram.from_bytes(stored[place]).bucket_bytes()
    return plains, _headers(plains)


def _inflated_or_empty(data: bytes) -> bytes:
    try:
        return inflated(data)
    except (zlib.error, ValueError):
        return b""


def _headers(plains: list[bytes]) -> npt.NDArray[np.void]:
    size = HEADER.size
    return np.frombuffer(b"".join([plain[:size].ljust(size, b"\0") for plain in plains]), _HEADER_FIELDS)
