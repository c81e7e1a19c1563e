"""Watches a running load for the conditions that abort it, over the batches of all processes.

A condition "METRIC > LIMIT for T" is checked about once a second. Its value is that of the last T / 2 seconds, rounded
up to whole intervals of the workers' reports, and the load is aborted when the limit has been passed at every check
for T: a burst shorter than T / 3 aborts nothing. Violations are counted over the last T, and one too many aborts the
load at once.

What the workers report counts at the time of the report. Streams that began in the window and have not
ended count as neither failed nor bad: at the start of a load the first streams to end are often those that fail.
The warm-up does not count.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from harness.gate.abort_condition import AbortCondition
from harness.gate.objective import GOODPUT, SESSION_SUCCESS
from harness.load.stats.stats_batch import StatsBatch
from harness.results import metrics
from harness.results.histogram import Histogram
from harness.results.journeys import belongs

REPORT_EVERY_S = 3.0
"""The interval of the reports of Locust's workers: in a multiple of it, all report equally often."""

_FORGET_AFTER_S = 10.0
"""Without any value for so long, and for the condition's time, the limit does not count as passed any more."""

_BINS = 60
"""Bins of a window at most; more would take time at every check."""


def span_s(condition: AbortCondition) -> float:
    """The time over which the value of a condition is measured."""
    return math.ceil(condition.window_s / 2 / REPORT_EVERY_S) * REPORT_EVERY_S


@dataclass(slots=True)
class _WindowPart:
    """What was reported in a short time, of the streams of one condition."""

    since_s: float
    rates: Counter[str] = field(default_factory=Counter)  # by counter of harness.results.rate_counts
    opened: int = 0  # streams that began less those that ended
    violations: int = 0
    values: Histogram = field(default_factory=Histogram)

    def merge(self, other: _WindowPart) -> None:
        self.rates.update(other.rates)
        self.opened += other.opened
        self.violations += other.violations
        self.values.merge(other.values)


class _ConditionState:
    """One condition, with what was reported in its window."""

    def __init__(self, condition: AbortCondition) -> None:
        self.condition = condition
        self._parts: deque[_WindowPart] = deque()
        self._span_s = span_s(condition)
        self._began_s: float | None = None  # the first report
        self._passed_since_s: float | None = None
        self._known_at_s = -math.inf  # the last check with a value

    def add(self, batch: StatsBatch, now_s: float, measured_from: float) -> None:
        """Count a batch."""
        self._part_at(now_s).merge(_part_of(batch, self.condition, now_s, measured_from))

    def _part_at(self, now_s: float) -> _WindowPart:
        if self._began_s is None:
            self._began_s = now_s
        if not self._parts or now_s - self._parts[-1].since_s >= self.condition.window_s / _BINS:
            self._parts.append(_WindowPart(now_s))
        return self._parts[-1]

    def check(self, now_s: float) -> float | None:
        """The value that aborts the load; None if it continues."""
        condition = self.condition
        while self._parts and self._parts[0].since_s <= now_s - max(condition.window_s, self._span_s):
            self._parts.popleft()
        if condition.objective.key == "violations":
            recent = [part for part in self._parts if part.since_s > now_s - condition.window_s]
            count = float(sum(part.violations for part in recent))
            return count if condition.is_met_by(count) else None
        if self._began_s is None or now_s - self._began_s < self._span_s - 1:
            return None  # not all workers have reported
        value = self._value(now_s - self._span_s)
        if value is None:
            if now_s - self._known_at_s > max(condition.window_s, _FORGET_AFTER_S):
                self._passed_since_s = None
            return None
        self._known_at_s = now_s
        if not condition.is_met_by(value):
            self._passed_since_s = None
            return None
        if self._passed_since_s is None:
            at_the_start = now_s - self._began_s < self._span_s
            self._passed_since_s = self._began_s if at_the_start else now_s
        return value if now_s - self._passed_since_s >= condition.window_s else None

    def _value(self, after_s: float) -> float | None:
        """The value of what was reported after this time; None if nothing was."""
        total = _WindowPart(after_s)
        for part in self._parts:
            if part.since_s > after_s:
                total.merge(part)
        objective, rates, unended = self.condition.objective, total.rates, max(0, total.opened)
        if objective.percentile is not None:
            return total.values.percentile(metrics.PERCENTILES[objective.percentile[1]])
        if objective.key == GOODPUT:
            return (rates["good"] + unended) / (rates["runs"] + unended) if rates["runs"] else None
        if objective.key == SESSION_SUCCESS:
            succeeded, sessions = rates["sessions_succeeded"] + unended, rates["sessions"] + unended
            return succeeded / sessions if rates["sessions"] else None
        return rates["failed"] / (rates["judged"] + unended) if rates["judged"] else None


def _part_of(batch: StatsBatch, condition: AbortCondition, now_s: float, measured_from: float) -> _WindowPart:
    """What a batch says about the streams of a condition."""
    journey = condition.objective.journey
    part = _WindowPart(now_s)
    for (second, name, counter), count in batch.rate_counts.items():
        if belongs(name, journey) and second >= measured_from:
            part.rates[counter] += count
    for (second, name, outcome), count in batch.ledger.items():
        if belongs(name, journey) and second >= measured_from:
            part.opened += count if outcome == "scheduled" else -count
    for (_, name), count in batch.violations.items():
        if belongs(name, journey):
            part.violations += count
    if condition.objective.percentile is not None:
        for (metric, name, second), histogram in batch.histograms.items():
            if (
                metric == condition.objective.percentile[0]
                and belongs(name, journey)
                and second >= measured_from
            ):
                part.values.merge(histogram)
    return part


class AbortWatch:
    """A listener of the recorder (harness.load.stats.recorder.Listener).

    sentence: why the load must be aborted; None while it may go on. It may be read from any thread.
    has_warmup: whether there is a warm-up: nothing counts until `started` tells its end.
    """

    def __init__(
        self,
        conditions: Iterable[AbortCondition],
        *,
        has_warmup: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sentence: str | None = None
        self._states = [_ConditionState(condition) for condition in conditions]
        self._measured_from = math.inf if has_warmup else -math.inf
        self._clock = clock

    def started(self, start_wall_ns: int, measured_from: int | None) -> None:  # noqa: ARG002 - of a listener
        """The load begins."""
        self._measured_from = -math.inf if measured_from is None else measured_from

    def add(self, batch: StatsBatch, worker: str) -> None:  # noqa: ARG002 - all processes count together
        """Count one process's batch."""
        now_s = self._clock()
        for state in self._states:
            state.add(batch, now_s, self._measured_from)

    def flush(self) -> None:
        """Check every condition."""
        now_s = self._clock()
        for state in self._states:
            value = state.check(now_s)
            if value is not None and self.sentence is None:
                self.sentence = _sentence(state.condition, value)

    def close(self, state: str, lost: Sequence[str]) -> None:
        """The test has ended."""


def _sentence(condition: AbortCondition, value: float) -> str:
    objective, window_s = condition.objective, condition.window_s
    if objective.key == "violations":
        found = f"there were {value:,.0f} within {window_s:g} s"
    else:
        shown = f"{value:.1%}" if objective.percentile is None else f"{value:,.1f} ms"
        found = (
            f"{objective.name} was {shown} over {span_s(condition):g} s, beyond the limit for {window_s:g} s"
        )
    return f"the load was aborted by the condition {condition.expression!r}: {found}"
