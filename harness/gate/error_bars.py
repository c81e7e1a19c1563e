"""How far the value of an objective can be off because of the harness: its error bar.

A verdict needs the whole error bar on one side of the limit. If the harness was saturated, the load was lower than
requested: under the full load, the server could only have been slower, so nothing limits the bar on that side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from harness.gate.goodput import journey_limits, limits_of, run_limits
from harness.gate.objective import GOODPUT, SESSION_SUCCESS, Objective, recorded_objectives
from harness.results import metrics
from harness.results.journeys import belongs
from harness.results.measurement_error import ErrorBounds, PercentileError, percentile_bounds
from harness.results.metrics import ShareName
from harness.results.reader import Results
from harness.results.saturation import saturation_reasons

STOOD_STILL_MS = 1000.0
"""If the harness paused for this long, it may have caused time-outs and refused connections itself."""


class ErrorBars:
    """The error bars of one test's values. Raises ResultsError.

    objectives: all that apply to the test; goodput depends on the others.
    """

    def __init__(self, results: Results, objectives: Iterable[Objective] = ()) -> None:
        self._results = results
        self._objectives = tuple(objectives)
        self.saturation = tuple(saturation_reasons(results))

    def of(self, objective: Objective) -> ErrorBounds | None:
        """Between which values the objective's value is, in its unit; None if it has no error or was not measured."""
        if objective.percentile is not None:
            metric, percentile = objective.percentile
            if metric in metrics.HARNESS_METRICS:
                return None
            percent = metrics.PERCENTILES[percentile]
            bounds = percentile_bounds(self._results, metric, percent, objective.journey)
            return ErrorBounds(bounds.low, math.inf) if bounds and self.saturation else bounds
        if objective.key == "error_rate":
            return self._error_rate(objective.journey)
        if objective.key == SESSION_SUCCESS:
            return self._session_success(objective.journey)
        return self._goodput(objective.journey) if objective.key == GOODPUT else None

    def _error_rate(self, journey: str | None) -> ErrorBounds | None:
        counts = self._results.rate_counts(journey)
        if not counts.judged:
            return None
        certain = max(0, counts.failed - self._doubtful(journey))
        return ErrorBounds(certain / counts.judged, counts.failed / counts.judged)

    def _goodput(self, journey: str | None) -> ErrorBounds | None:
        counts = self._results.rate_counts(journey)
        if not counts.runs:
            return None
        journeys = [name for name in self._results.journeys() if belongs(name, journey)]
        most = counts.good + self._doubtful(journey) + sum(self._late(name) for name in journeys)
        least = 0 if self.saturation else counts.good
        return ErrorBounds(least / counts.runs, min(1.0, most / counts.runs))

    def _session_success(self, journey: str | None) -> ErrorBounds | None:
        counts = self._results.rate_counts(journey)
        if not counts.sessions:
            return None
        most = counts.sessions_succeeded + self._doubtful(journey)
        return ErrorBounds(counts.sessions_succeeded / counts.sessions, min(1.0, most / counts.sessions))

    def _late(self, journey: str) -> int:
        """The most runs of a journey that missed a per-run limit only because of the harness's delays."""
        limits = limits_of(journey, run_limits(self._objectives), journey_limits(self._objectives))
        late = 0
        for metric, limit_ms in limits.items():
            error = PercentileError(self._results, metric, journey)
            late += error.above(limit_ms) - error.certainly_above(limit_ms)
        return max(0, late)

    def _doubtful(self, journey: str | None) -> int:
        """The most streams that timed out or found no connection because the harness paused.

        It cannot make streams succeed or corrupt what the server sends.
        """
        longest_ms = max(
            self._results.histogram(name).max or 0.0 for name in ("hub_delay_ms", "receive_lag_ms")
        )
        if longest_ms < STOOD_STILL_MS and not self.saturation:
            return 0
        ledger = self._results.ledger(journey)
        return ledger["timed out"] + ledger["refused"]


def share_bounds(results: Results, share: ShareName, journey: str | None = None) -> ErrorBounds | None:
    """The error bar of a share in one file; None if it was not measured. Raises ResultsError.

    Good runs are those of the objectives with which the file was made.
    """
    return ErrorBars(results, recorded_objectives(results)).of(Objective(share, 0.0, journey))
