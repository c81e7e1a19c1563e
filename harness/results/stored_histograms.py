"""The histograms of a results file, added up by metric, journey, worker and second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.results.database import ResultsDatabase
from harness.results.histogram import Histogram
from harness.results.histogram_batch import HistogramBatch, HistogramSums
from harness.results.journeys import belongs, is_of
from harness.results.schema import WITHOUT_TOTALS, ResultsError

HistogramPart = Literal["measured", "warm-up", "whole"]
"""Which seconds of a load: those that count, those before them (manifest: measured_from), or all."""

_BATCH = 500
"""Histograms decoded at once. More are no faster, because they no longer fit in the CPU caches."""
_SECONDS_PER_BATCH = 128
"""Pairs of metric and second that are added up at once."""
_CACHED_BUCKETS = 10_000_000
"""Filled buckets of single seconds that are cached, at 10 bytes each: one hour of every metric at 280 runs/s."""
_FOREVER_S = 2**62  # above every epoch second, and still an SQLite integer

_SECONDS_AT_ONCE = 1000
_SOME_SECONDS = (
    "SELECT worker, second, histogram FROM histograms "
    "WHERE metric = ?1 AND journey = ?2 AND second >= ?3 AND second < ?4"
)
_HAS_SECONDS = "SELECT 1 FROM histogram_seconds WHERE metric = ?1 LIMIT 1"

_MetricSecond = tuple[str, int]
_Seconds = tuple[list[_MetricSecond], HistogramBatch]
"""Pairs of metric and epoch second, with one histogram for each."""


def in_part(part: HistogramPart, *, measured: bool) -> bool:
    """Whether seconds that count (measured) or that are warm-up belong to a part."""
    return part in ("whole", "measured" if measured else "warm-up")


def seconds_of_part(part: HistogramPart, measured_from: int | None) -> tuple[int, int]:
    """The first epoch second of a part, and the first one after it."""
    first = measured_from or -_FOREVER_S
    return {
        "measured": (first, _FOREVER_S),
        "warm-up": (-_FOREVER_S, first),
        "whole": (-_FOREVER_S, _FOREVER_S),
    }[part]


@dataclass(frozen=True, slots=True)
class _Sums:
    """Every histogram of a file, added up.

    totals: by metric, then by (journey, worker, measured). seconds: over all journeys and workers; a second can
    occur more than once; None if there are too many buckets to cache.
    """

    totals: dict[str, dict[tuple[str, str, bool], Histogram]]
    seconds: list[_Seconds] | None


@dataclass(frozen=True, slots=True)
class MetricSums:
    """One metric, added up. parts: number of pairs of journey and worker. seconds: by epoch second over these, rising.

    totals: by journey, worker, and whether its seconds count; to be called once, after all seconds were read.
    """

    metric: str
    parts: int
    seconds: Iterator[tuple[int, Histogram]]
    totals: Callable[[], dict[tuple[str, str, bool], Histogram]]


class _SecondSums:
    """Sums by metric and second, over all journeys and workers, up to _CACHED_BUCKETS."""

    def __init__(self) -> None:
        self._parts: list[_Seconds] | None = []
        self._sums: HistogramSums[_MetricSecond] = HistogramSums()
        self._buckets = 0

    def add(self, keys: Iterable[_MetricSecond], histograms: HistogramBatch) -> None:
        if self._parts is None:
            return
        self._sums.add(keys, histograms)
        if len(self._sums) >= _SECONDS_PER_BATCH:
            self._flush()

    def parts(self) -> list[_Seconds] | None:
        """Everything added; None if it is too much to cache."""
        if self._parts is not None:
            self._flush()
        return self._parts

    def _flush(self) -> None:
        part = self._sums.take_batch()
        self._buckets += len(part[1].places)
        if self._parts is not None:
            self._parts.append(part)
        if self._buckets > _CACHED_BUCKETS:
            self._parts = None


class StoredHistograms:
    """Sums over the table `histograms`, cached until another process changes the file.

    At the end of a test its writer stores them (harness.results.totals). In a file without them the first question
    reads the whole table, because a caller that needs one metric needs others, too.
    Methods raise ResultsError.
    """

    def __init__(self, database: ResultsDatabase) -> None:
        self._database = database
        self._sums: _Sums | None = None
        self._read_at = -1
        self._stored_totals: dict[str, dict[tuple[str, str, bool], Histogram]] = {}
        self._totals_read_at = -1
        self._may_have_totals = database.schema_version() > WITHOUT_TOTALS

    def names_in(self) -> str:
        """The smallest table that has every metric, journey and worker of the histograms."""
        return "histogram_totals" if self._has_totals() else "histograms"

    def _has_totals(self) -> bool:
        return self._may_have_totals and bool(
            self._database.cached_rows("SELECT 1 FROM histogram_totals LIMIT 1")
        )

    def sums_of(self, metric: str, measured_from: int | None) -> MetricSums:
        """One metric, added up from its single histograms; the seconds are read as they are needed."""
        first, _ = seconds_of_part("measured", measured_from)
        parts = self._database.rows(
            "SELECT DISTINCT journey, worker FROM histograms WHERE metric = ?1", metric
        )
        journeys = Counter(journey for journey, _ in parts)
        lowest, highest = next(
            self._database.rows("SELECT min(second), max(second) FROM histograms WHERE metric = ?1", metric)
        )
        totals: HistogramSums[tuple[str, str, bool]] = HistogramSums()

        def seconds() -> Iterator[tuple[int, Histogram]]:
            for begin in range(lowest, highest + 1, _SECONDS_AT_ONCE):
                sums: HistogramSums[int] = HistogramSums()
                for journey in journeys:
                    found = self._database.columns(
                        _BATCH, _SOME_SECONDS, metric, journey, begin, begin + _SECONDS_AT_ONCE
                    )
                    for workers, at, stored in found:
                        histograms = self._decoded(stored)
                        keys = (
                            (journey, worker, second >= first)
                            for worker, second in zip(workers, at, strict=True)
                        )
                        totals.add(keys, histograms)
                        sums.add(at, histograms)
                yield from sorted(sums.take().items())

        return MetricSums(metric, sum(journeys.values()), seconds(), totals.take)

    def total(
        self, metric: str, journey: str | None, part: HistogramPart, measured_from: int | None
    ) -> Histogram:
        """A metric over all seconds of a part; empty if nothing was measured."""
        total = Histogram()
        for (name, _, measured), histogram in self._totals(metric, measured_from).items():
            if belongs(name, journey) and in_part(part, measured=measured):
                total.merge(histogram)
        return total

    def by_worker(self, metric: str, part: HistogramPart, measured_from: int | None) -> dict[str, Histogram]:
        """A metric by the process that measured it, sorted."""
        workers: dict[str, Histogram] = {}
        for (_, worker, measured), histogram in self._totals(metric, measured_from).items():
            if in_part(part, measured=measured):
                workers.setdefault(worker, Histogram()).merge(histogram)
        return dict(sorted(workers.items()))

    def by_second(
        self,
        metric: str,
        journey: str | None,
        part: HistogramPart,
        measured_from: int | None,
        *,
        width_s: int,
        first: int,
    ) -> dict[int, Histogram]:
        """A metric by the first epoch second of each bin of width_s, ascending; bins are aligned to `first`."""
        low, high = seconds_of_part(part, measured_from)
        sums: HistogramSums[int] = HistogramSums()
        for seconds, histograms in self._batches(metric, journey, measured_from):
            bins = (
                None if second is None or not low <= second < high else second - (second - first) % width_s
                for second in seconds
            )
            sums.add(bins, histograms)
        return dict(sorted(sums.take().items()))

    def _batches(
        self, metric: str, journey: str | None, measured_from: int | None
    ) -> Iterator[tuple[Iterable[int | None], HistogramBatch]]:
        """Epoch seconds and a histogram for each; None for a histogram of a different metric."""
        has_totals = self._has_totals()
        cached = self._all(measured_from).seconds if journey is None and not has_totals else None
        if cached is not None:
            for keys, histograms in cached:
                yield (second if name == metric else None for name, second in keys), histograms
            return
        query = f"SELECT second, histogram FROM histograms WHERE metric = ?1 AND {is_of('journey', '?2')}"  # noqa: S608 - our own text
        if journey is None and has_totals and any(self._database.rows(_HAS_SECONDS, metric)):
            query = "SELECT second, histogram FROM histogram_seconds WHERE metric = ?1 AND ?2 IS NULL"
        for seconds, stored in self._database.columns(_BATCH, query, metric, journey):
            yield seconds, self._decoded(stored)

    def _totals(self, metric: str, measured_from: int | None) -> Mapping[tuple[str, str, bool], Histogram]:
        """A metric by journey, worker and whether its seconds count, over all of them."""
        if not self._has_totals():
            return self._all(measured_from).totals.get(metric, {})
        version = self._database.data_version()
        if version != self._totals_read_at:
            self._stored_totals, self._totals_read_at = {}, version
        totals = self._stored_totals.get(metric)
        if totals is None:
            query = "SELECT journey, worker, measured, histogram FROM histogram_totals WHERE metric = ?1"
            sums: HistogramSums[tuple[str, str, bool]] = HistogramSums()
            for journeys, workers, measured, stored in self._database.columns(_BATCH, query, metric):
                sums.add(zip(journeys, workers, map(bool, measured), strict=True), self._decoded(stored))
            totals = self._stored_totals[metric] = sums.take()
        return totals

    def _all(self, measured_from: int | None) -> _Sums:
        version = self._database.data_version()
        if self._sums is None or version != self._read_at:
            self._sums, self._read_at = self._read(measured_from), version
        return self._sums

    def _read(self, measured_from: int | None) -> _Sums:
        first, _ = seconds_of_part("measured", measured_from)
        totals: HistogramSums[tuple[str, str, str, bool]] = HistogramSums()
        seconds = _SecondSums()
        # A full scan: through the index, each row would be a seek.
        query = "SELECT metric, journey, worker, second, histogram FROM histograms NOT INDEXED"
        for names, journeys, workers, at, stored in self._database.columns(_BATCH, query):
            histograms = self._decoded(stored)
            measured = [second >= first for second in at]
            totals.add(zip(names, journeys, workers, measured, strict=True), histograms)
            seconds.add(zip(names, at, strict=True), histograms)
        by_metric: dict[str, dict[tuple[str, str, bool], Histogram]] = {}
        for (name, journey, worker, counts), histogram in totals.take().items():
            by_metric.setdefault(name, {})[journey, worker, counts] = histogram
        return _Sums(by_metric, seconds.parts())

    def _decoded(self, stored: Sequence[bytes]) -> HistogramBatch:
        try:
            return HistogramBatch.of(stored)
        except ValueError as problem:
            raise ResultsError(f"{self._database.path}: the results file is damaged: {problem}") from problem
