"""What a restart of the server cost, from the streams of all processes of a load."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from harness.load.restarts.moment import RESTART, RestartMoment
from harness.load.stats.stats_batch import StatsBatch
from harness.results.restart_cost import RestartCost

_MOST_CANDIDATES = 20_000


class RestartAccount:
    """Adds up batches.

    The first good run is the one that ended first of those that were sent after the first lost connection, and ended
    with `done` and without a violation.
    """

    def __init__(self, moment: RestartMoment) -> None:
        self._moment = moment
        self._counts: Counter[str] = Counter()
        self._lost_at_ns: int | None = None
        self._good: list[
            tuple[int, int]
        ] = []  # sent, ended: epoch ns, of runs that may be the first good one

    @property
    def begun_ns(self) -> int | None:
        """When the restart began, epoch ns; None while it has not."""
        return self._moment.begun_ns()

    def add(self, batch: StatsBatch) -> None:
        """Take one process's batch."""
        begun_ns = self.begun_ns
        self._counts.update(batch.restart)
        if batch.lost_at:
            self._lost_at_ns = min(*batch.lost_at, self._lost_at_ns or min(batch.lost_at))
        if begun_ns is None:
            return
        before = self._first_good()
        for row in batch.rows:
            if (
                row.outcome == "done"
                and row.journey != RESTART
                and row.duration_ms is not None
                and row.reason is None
                and row.sent_ns is not None
                and row.sent_ns >= begun_ns
            ):
                ended_ns = row.intended_ns + round(row.duration_ms * 1e6)
                if before is None or ended_ns < before:
                    self._good.append((row.sent_ns, ended_ns))
        del self._good[:-_MOST_CANDIDATES]

    def _first_good(self) -> int | None:
        """When the first good run ended, epoch ns; None as long as there is none, or no connection was lost."""
        if self._lost_at_ns is None:
            return None
        return min((ended for sent, ended in self._good if sent >= self._lost_at_ns), default=None)

    def cost(self, how: str, command_s: float | None, problem: str | None) -> RestartCost | None:
        """What the restart cost; None if there was none. how, command_s, problem: see RestartCost."""
        begun_ns = self.begun_ns
        if begun_ns is None:
            return None
        cost = RestartCost.of(self._counts, at_ns=begun_ns, how=how, command_s=command_s, problem=problem)
        first_good_ns = self._first_good()
        return replace(
            cost,
            lost_after_ms=None if self._lost_at_ns is None else (self._lost_at_ns - begun_ns) / 1e6,
            first_good_ms=None if first_good_ns is None else (first_good_ns - begun_ns) / 1e6,
        )
