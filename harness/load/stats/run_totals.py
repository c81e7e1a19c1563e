"""The counts of a whole load test, summed over processes."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping

from harness.load.stats.stats_batch import StatsBatch
from harness.results.journeys import belongs
from harness.results.ledger import Ledger
from harness.results.rate_counts import RateCounts


class RunTotals:
    """Sums of StatsBatch counters.

    measured_from: rates count streams due from this epoch second on; infinity while the warm-up is unknown.
    open: streams in flight by journey, by process, as last reported.
    """

    def __init__(self, measured_from: float = -math.inf) -> None:
        self.measured_from = measured_from
        self.open: dict[str, Mapping[str, int]] = {}
        self.failures = 0
        self.warnings: Counter[str] = Counter()  # by requirement
        self.faults: Counter[str] = Counter()  # by reason
        self.totals: Counter[str] = Counter()
        self.violations: Counter[tuple[str, str]] = Counter()  # by requirement, journey
        self._ledgers: defaultdict[str, Ledger] = defaultdict(Ledger)  # by journey
        self._rate_counts: Counter[tuple[str, str]] = Counter()  # by journey, counter

    def add(self, batch: StatsBatch, worker: str) -> None:
        """Add one process's batch."""
        for (_, journey, outcome), count in batch.ledger.items():
            self._ledgers[journey].add(outcome, count)
        for (second, journey, counter), count in batch.rate_counts.items():
            if second >= self.measured_from:
                self._rate_counts[journey, counter] += count
        self.failures += batch.failures.total()
        self.violations.update(batch.violations)
        self.warnings.update(batch.warnings)
        self.faults.update(batch.faults)
        self.totals.update(batch.totals)
        if batch.open is not None:
            self.open[worker] = batch.open

    @property
    def journeys(self) -> set[str]:
        """The journeys in the ledger."""
        return set(self._ledgers)

    def ledger(self, journey: str | None = None) -> Ledger:
        """The ledger of one journey or all, warm-up included, without the streams that are in flight."""
        total = Ledger()
        for name, ledger in self._ledgers.items():
            if belongs(name, journey):
                total.merge(ledger)
        return total

    def ledger_with_open(self, journey: str | None = None) -> Ledger:
        """The same ledger, with the streams that each process last reported as open counted as in flight."""
        total = self.ledger(journey)
        for counts in self.open.values():
            for name, count in counts.items():
                if belongs(name, journey):
                    total.add("in flight", count)
        return total

    def rate_counts(self, journey: str | None = None) -> RateCounts:
        """What error rate and goodput are computed from, without warm-up, of one journey or all."""
        counts: Counter[str] = Counter()
        for (name, counter), count in self._rate_counts.items():
            if belongs(name, journey):
                counts[counter] += count
        return RateCounts.of(counts)

    def violation_counts(self, journey: str | None = None) -> dict[str, int]:
        """Violations by requirement, of one journey or all, sorted by requirement."""
        counts: Counter[str] = Counter()
        for (requirement, name), count in sorted(self.violations.items()):
            if belongs(name, journey):
                counts[requirement] += count
        return dict(counts)
