"""The numbers of a load test while it runs, kept by the process that writes the results.

The web page and the terminal show them. They come from the same StatsBatches and the same metric functions as the
results file, so both agree at the end of the test.

The snapshot (`LiveStats.snapshot`; the file of ``--harness-live`` holds it as JSON, replaced atomically about once
a second and at the end) has these keys:

- ``version``: of this format, 1. ``run``: the test's id, different for every test; None before the first.
- ``state``: "ready" (no test yet), "running", "stopping" (waiting for the last streams and the workers' final
  batches), then "finished" or "interrupted". A final state is published only after every worker's final batch has
  been merged. ``results``: path of the results file, or None.
- ``problem``: why a test could not start or its results cannot be written; else None.
- ``target``: URL. ``plan``: description of the load. ``users``: of a closed loop, else None.
- ``started_s``: epoch s, None before. ``elapsed_s``. ``left_s``: until the end is due; None if unknown.
- ``warming_up``: whether streams due now are left out of metrics and rates. ``measured_from_s``: the first epoch
  second that counts, None without warm-up. ``restarted_s``: when a restart of the server began, epoch s; else None.
- ``objectives``: a list of {"key", "name", "expression", "limit", "at_least", "metric", "word", "journey"};
  metric and word are set for percentiles only; journey None means all journeys.
- A journey of several steps is among the journeys, in front of its steps.
- ``metrics``: {metric: {"label", "unit", "formula", "all": D, "journeys": {journey: D}}}, in the order of
  harness.results.metrics.METRICS, without metrics that have no values; D is {"count", "p50", "p90", "p95", "p99",
  "p999", "max"}.
- ``rates``: {"all": R, "journeys": {journey: R}}; R is {"judged", "failed", "error_rate", "runs", "good",
  "goodput", "sessions", "sessions_succeeded", "session_success"}, shares from 0 to 1 or None.
- ``violations``: {requirement: {"count", "journeys": {journey: count}}}, most frequent first.
  ``warnings``: {requirement: count}.
- ``ledger``: {"counts": {outcome: count}, "adds_up", "missing", "journeys": {journey: {outcome: count}}}. During
  the test, "in flight" is the number of streams that each process had open at its last report.
- ``in_flight``: of all journeys. ``workers``: those that have reported. ``workers_lost``.
- ``harness``: the measurement error, like "harness" in summary.json: "lag_ms", "schedule_lag_ms",
  "arrival_error_ms", "hub_delay_ms", "processes", "saturated" and "why", a list of sentences, and "faults":
  {"streams", "reasons", "sentence"}, of the streams that ended in a harness fault.
- ``series``: lists with one entry per bin: ``t_s`` (start of the bin, seconds since ``from_s``), ``ttft_ms`` and
  ``inter_token_ms`` ({"p50", "p95", "p99"}, None without values), ``in_flight`` (at the end of the bin),
  ``arrivals``, ``completions``, ``dropped``, ``failed``, ``violations`` (counts). ``bin_s``: length of a bin;
  ``from_s``: epoch s of the first. A bin appears once every process has reported it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from harness.gate.objective import Objective
from harness.load.stats.run_totals import RunTotals
from harness.load.stats.stats_batch import StatsBatch
from harness.load.stats.time_bins import SERIES_METRICS, TimeBins
from harness.results import metrics
from harness.results.histogram import Histogram
from harness.results.journeys import belongs, with_parents
from harness.results.ledger import Ledger
from harness.results.rate_counts import RateCounts
from harness.results.saturation import ERROR_METRICS, MASTER, ProcessSeconds, measurement_error_of
from harness.run_clock import RUN_CLOCK

VERSION = 1

_SILENT_S = 10
"""A process whose last report is this much older than the newest no longer delays the series."""

SnapshotDocument = dict[str, Any]


class LiveStats:
    """One load test. All calls come from one thread; `stopping`, `users`, `problem` and
    `restarted_s` may be set from any.

    It also offers the reading methods of harness.results.reader.Results that the metrics export needs.

    publish: called with each new snapshot. plan: description of an open loop. users: of a closed loop.
    has_warmup: whether there is a warm-up: nothing counts until `started` tells its end.
    lasts_s: from the start of the load to its planned end; None if unknown.
    """

    def __init__(
        self,
        run: str | None,
        publish: Callable[[SnapshotDocument], None],
        *,
        target: str = "",
        plan: str = "",
        users: int | None = None,
        results: Path | None = None,
        objectives: Iterable[Objective] = (),
        has_warmup: bool = False,
        lasts_s: float | None = None,
        clock: Callable[[], float] = RUN_CLOCK.now_s,
    ) -> None:
        self.stopping = False
        self.users = users
        self.problem: str | None = None
        self.restarted_s: float | None = None
        self._plan = plan
        self._publish = publish
        self._clock = clock
        self._constants = {
            "version": VERSION,
            "run": run,
            "results": None if results is None else str(results),
            "target": target,
            "objectives": [_objective(objective) for objective in objectives],
        }
        self._state = "ready" if run is None else "running"
        self._started_s: float | None = None
        self._lasts_s = lasts_s
        self._ended_s: float | None = None
        self._totals = RunTotals(measured_from=math.inf if has_warmup else -math.inf)
        self._histograms: dict[str, dict[str, Histogram]] = {}  # metric, journey
        self._hub_delays: dict[str, Histogram] = {}  # worker
        self._process_seconds: dict[str, ProcessSeconds] = {}  # worker
        self._reported_until: dict[str, int] = {}  # worker, epoch s
        self._lost: list[str] = []
        self._bins = TimeBins()

    def started(self, start_wall_ns: int, measured_from: int | None) -> None:
        """The load begins at this moment, epoch ns. measured_from: the first epoch second that counts, or None."""
        self._started_s = start_wall_ns / 1e9
        self._totals.measured_from = -math.inf if measured_from is None else measured_from
        self._bins.begin(start_wall_ns // 1_000_000_000)

    def add(self, batch: StatsBatch, worker: str) -> None:
        """Merge one process's batch."""
        self._totals.add(batch, worker)
        for (second, _, outcome), count in batch.ledger.items():
            self._bins.at(second).ledger.add(outcome, count)
        for (second, _), count in batch.failures.items():
            self._bins.at(second).failed += count
        for second, count in batch.violated_at.items():
            self._bins.at(second).violations += count
        for (metric, journey, second), histogram in batch.histograms.items():
            self._record(metric, journey, second, worker, histogram)
        for row in batch.processes:
            if row.second >= self._totals.measured_from:
                self._process_seconds.setdefault(worker, ProcessSeconds()).add(row)
            if worker != MASTER:
                self._reported_until[worker] = max(self._reported_until.get(worker, 0), row.second + 1)

    def _record(self, metric: str, journey: str, second: int, worker: str, histogram: Histogram) -> None:
        if metric in SERIES_METRICS:
            self._bins.at(second).record(metric, histogram)
        if second >= self._totals.measured_from:
            self._histograms.setdefault(metric, {}).setdefault(journey, Histogram()).merge(histogram)
            if metric == "hub_delay_ms":
                self._hub_delays.setdefault(worker, Histogram()).merge(histogram)

    def flush(self) -> None:
        """Publish a snapshot."""
        self._publish(self.snapshot())

    def close(self, state: str, lost: Iterable[str]) -> None:
        """Publish the final snapshot; every batch has been added. state: "finished" or "interrupted"."""
        self._state = state
        self._lost = list(lost)
        self._ended_s = self._clock()
        self.flush()

    def histogram(self, metric: str, journey: str | None = None) -> Histogram:
        """One metric without warm-up, of one journey or all."""
        total = Histogram()
        for name, histogram in self._histograms.get(metric, {}).items():
            if belongs(name, journey):
                total.merge(histogram)
        return total

    def rate_counts(self, journey: str | None = None) -> RateCounts:
        """What error rate and goodput are computed from, without warm-up, of one journey or all."""
        return self._totals.rate_counts(journey)

    def ledger(self, journey: str | None = None) -> Ledger:
        """The ledger of one journey or all, warm-up included; open streams count as in flight."""
        return self._totals.ledger_with_open(journey)

    def journeys(self) -> list[str]:
        """The journeys that have streams or values, sorted."""
        measured = {name for journeys in self._histograms.values() for name in journeys if name}
        return sorted(self._totals.journeys | measured)

    def metrics(self) -> list[str]:
        """The metrics that have values, sorted."""
        return sorted(self._histograms)

    def violation_counts(self, journey: str | None = None) -> dict[str, int]:
        """Violations by requirement, of one journey or all."""
        return self._totals.violation_counts(journey)

    def snapshot(self) -> SnapshotDocument:
        """The document that the module's docstring describes."""
        state = "stopping" if self.stopping and self._state == "running" else self._state
        now_s = self._clock() if self._ended_s is None else self._ended_s
        measured_from = self._totals.measured_from
        ledger = self.ledger()
        journeys = with_parents(self.journeys())
        return {
            **self._constants,
            "state": state,
            "problem": self.problem,
            "plan": self._plan or ("" if self.users is None else f"{self.users} users"),
            "users": self.users,
            "started_s": self._started_s,
            "elapsed_s": 0.0 if self._started_s is None else max(0.0, now_s - self._started_s),
            "left_s": self._left_s(state, now_s),
            "warming_up": now_s < measured_from and state == "running",
            "measured_from_s": int(measured_from) if math.isfinite(measured_from) else None,
            "restarted_s": self.restarted_s,
            "metrics": self._distributions(),
            "rates": {"all": self._rates(None), "journeys": {name: self._rates(name) for name in journeys}},
            "violations": self._violations_by_requirement(),
            "warnings": dict(self._totals.warnings.most_common()),
            "ledger": {
                "counts": ledger.as_dict(),
                "adds_up": ledger.adds_up,
                "missing": ledger.missing,
                "journeys": {name: self.ledger(name).as_dict() for name in journeys},
            },
            "in_flight": ledger["in flight"],
            "workers": sorted(self._reported_until),
            "workers_lost": self._lost,
            "harness": self._measurement_error(),
            "series": self._bins.document(self._complete_until()),
        }

    def _left_s(self, state: str, now_s: float) -> float | None:
        if state != "running" or self._lasts_s is None or self._started_s is None:
            return None
        return max(0.0, self._started_s + self._lasts_s - now_s)

    def _distributions(self) -> SnapshotDocument:
        return {
            name: {
                "label": metrics.METRICS[name].label,
                "unit": metrics.METRICS[name].unit,
                "formula": metrics.METRICS[name].formula,
                "all": metrics.distribution(self.histogram(name)),
                "journeys": {
                    journey: metrics.distribution(self.histogram(name, journey))
                    for journey in with_parents(sorted(self._histograms[name]))
                    if journey
                },
            }
            for name in metrics.METRICS
            if name in self._histograms
        }

    def _rates(self, journey: str | None) -> SnapshotDocument:
        counts = self.rate_counts(journey)
        return {
            "judged": counts.judged,
            "failed": counts.failed,
            "error_rate": counts.error_rate,
            "runs": counts.runs,
            "good": counts.good,
            "goodput": counts.goodput,
            "sessions": counts.sessions,
            "sessions_succeeded": counts.sessions_succeeded,
            "session_success": counts.session_success,
        }

    def _violations_by_requirement(self) -> SnapshotDocument:
        by_requirement: dict[str, Counter[str]] = {}
        for (requirement, journey), count in sorted(self._totals.violations.items()):
            by_requirement.setdefault(requirement, Counter())[journey] += count
        return {
            requirement: {"count": journeys.total(), "journeys": dict(journeys)}
            for requirement, journeys in sorted(by_requirement.items(), key=lambda item: -item[1].total())
        }

    def _measurement_error(self) -> SnapshotDocument:
        totals = self._totals.totals
        return measurement_error_of(
            {name: self.histogram(name) for name in ERROR_METRICS},
            dict(sorted(self._hub_delays.items())),
            [
                seconds.usage(worker, self._hub_delays.get(worker, Histogram()))
                for worker, seconds in sorted(self._process_seconds.items())
            ],
            receive_stamp(totals["reads_stamped"], totals["reads_unstamped"]),
            self._totals.faults,
        )

    def _complete_until(self) -> float:
        """The epoch second up to which every process has reported; infinity after the end."""
        if self._ended_s is not None:
            return math.inf
        newest = max(self._reported_until.values(), default=0)
        return min(
            (until for until in self._reported_until.values() if until > newest - _SILENT_S), default=0
        )


def receive_stamp(stamped: int, unstamped: int) -> str | None:
    """The source of arrival times: "kernel", "user" or "mixed"; None without reads.

    stamped, unstamped: reads with and without a kernel timestamp.
    """
    if not stamped and not unstamped:
        return None
    return "mixed" if stamped and unstamped else "kernel" if stamped else "user"


def implementation_used(native: int, python: int) -> str | None:
    """What did the work: "native" (an extension in C), "python" or "mixed"; None if there was none.

    native, python: work done by either: reads, or tokens taken.
    """
    if not native and not python:
        return None
    return "mixed" if native and python else "native" if native else "python"


def _objective(objective: Objective) -> SnapshotDocument:
    metric, percentile = objective.percentile or (None, None)
    return {
        "key": objective.key,
        "name": objective.name,
        "expression": objective.expression,
        "limit": objective.limit,
        "at_least": objective.at_least,
        "metric": metric,
        "word": percentile,
        "journey": objective.journey,
    }
