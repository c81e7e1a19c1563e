"""A load test over time, in a bounded number of bins: the `series` of the live snapshot."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from harness.results import metrics
from harness.results.histogram import Histogram
from harness.results.ledger import Ledger

MOST_BINS = 480
SERIES_METRICS = ("ttft_ms", "inter_token_ms")
SERIES_PERCENTILES = ("p50", "p95", "p99")


@dataclass(slots=True)
class Bin:
    """What happened in one stretch of time."""

    ledger: Ledger = field(default_factory=Ledger)
    failed: int = 0
    violations: int = 0
    histograms: dict[str, Histogram] = field(default_factory=dict)
    _percentiles: dict[str, list[float | None]] = field(default_factory=dict)  # cache, by metric

    def merge(self, other: Bin) -> None:
        """Add another bin's counts and values."""
        self.ledger.merge(other.ledger)
        self.failed += other.failed
        self.violations += other.violations
        for metric, histogram in other.histograms.items():
            self.record(metric, histogram)

    def record(self, metric: str, histogram: Histogram) -> None:
        """Add the values of a metric."""
        self.histograms.setdefault(metric, Histogram()).merge(histogram)
        self._percentiles.pop(metric, None)

    def percentiles(self, metric: str) -> list[float | None]:
        """The SERIES_PERCENTILES of a metric, rounded to 0.001; None without values."""
        percentiles = self._percentiles.get(metric)
        if percentiles is None:
            histogram = self.histograms.get(metric, Histogram())
            values = (histogram.percentile(metrics.PERCENTILES[name]) for name in SERIES_PERCENTILES)
            percentiles = [None if value is None else round(value, 3) for value in values]
            self._percentiles[metric] = percentiles
        return percentiles


class TimeBins:
    """At most MOST_BINS bins of equal length, from the second in which the test began.

    When more would be needed, neighbours are merged and each bin is twice as long (1, 2, 4 … s), so a test of
    hours takes as much memory as one of ten minutes.
    """

    def __init__(self) -> None:
        self.bin_s = 1
        self._from_s: int | None = None
        self._bins: dict[int, Bin] = {}

    def begin(self, second: int) -> None:
        """The first bin starts at this epoch second. Anything earlier counts in it too."""
        self._from_s = second

    def at(self, second: int) -> Bin:
        """The bin of an epoch second."""
        if self._from_s is None:
            self._from_s = second
        index = max(0, second - self._from_s) // self.bin_s
        while index >= MOST_BINS:
            self._double_bin_length()
            index //= 2
        return self._bins.setdefault(index, Bin())

    def _double_bin_length(self) -> None:
        self.bin_s *= 2
        shorter, self._bins = self._bins, {}
        for index, shorter_bin in shorter.items():
            self._bins.setdefault(index // 2, Bin()).merge(shorter_bin)

    def document(self, complete_until: float) -> dict[str, Any]:
        """The bins that end by this epoch second, as `series` of the snapshot (harness.load.stats.live)."""
        from_s = self._from_s or 0
        count = max(self._bins, default=-1) + 1
        if math.isfinite(complete_until):
            count = max(0, min(count, (int(complete_until) - from_s) // self.bin_s))
        empty = Bin()
        bins = [self._bins.get(index, empty) for index in range(count)]
        open_now, in_flight = 0, []
        for each in bins:
            open_now += each.ledger.opened
            in_flight.append(max(open_now, 0))
        return {
            "from_s": from_s,
            "bin_s": self.bin_s,
            "t_s": [index * self.bin_s for index in range(count)],
            **{
                metric: _by_percentile([each.percentiles(metric) for each in bins])
                for metric in SERIES_METRICS
            },
            "in_flight": in_flight,
            "arrivals": [each.ledger.scheduled for each in bins],
            "completions": [each.ledger.ended for each in bins],
            "dropped": [each.ledger["dropped"] for each in bins],
            "failed": [each.failed for each in bins],
            "violations": [each.violations for each in bins],
        }


def _by_percentile(rows: list[list[float | None]]) -> dict[str, list[float | None]]:
    return {name: [row[index] for row in rows] for index, name in enumerate(SERIES_PERCENTILES)}
