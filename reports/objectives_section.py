"""The rows of the gate: objectives and built-in checks with value, limit and verdict."""

from __future__ import annotations

from dataclasses import dataclass

from harness.gate.console import MULTIPLES_FROM
from harness.gate.objective import SHARES, Objective
from harness.gate.report import GateRow
from harness.results.metrics import METRICS

from .text import NOTHING, count, milliseconds, percent

NOT_CERTAIN = "not certain"
"""Replaces the headroom if the limit lies within the value's interval."""

_BUILT_IN = {
    "ledger": "Streams unaccounted for",
    "lost": "Streams lost with workers that died",
    "dropped": "Arrivals dropped",
    "saturated": "Reasons why the load was lower than requested",
    "harness": "Streams not judged because of a harness fault",
    "restart": "Restart of the server",
    "load": "Streams under load that reached the end of a run",
    "conformance": "Conformance checks that failed",
}
"""Labels of the rows that the gate checks without an objective."""


@dataclass(frozen=True, slots=True)
class ObjectiveView:
    """One row of the gate. label: of a built-in check, empty for an objective. metric: what an objective limits.

    interval: both ends of the value's confidence interval. used: the value as a share of its limit, at most 1,
    for the bar; None if there is no such share.
    """

    name: str
    label: str
    metric: str
    value: str
    interval: str
    limit: str
    headroom: str
    verdict: str
    detail: str
    used: float | None

    @property
    def has_interval(self) -> bool:
        return self.interval != NOTHING


def objective_view(row: GateRow, metric: str) -> ObjectiveView:
    """One row of the gate as the page shows it. metric: see `metric_text`; empty for a built-in check."""
    limit = limit_text(row)
    # A lower bound is not used up, and a share of the limit that is not certain is not drawn.
    used = None if row.headroom is None or row.at_least else min(1 - row.headroom, 1.0)
    return ObjectiveView(
        row.name,
        _BUILT_IN.get(row.name, ""),
        metric,
        value_text(row.name, row.value),
        NOTHING if row.interval is None else " to ".join(value_text(row.name, end) for end in row.interval),
        f"at least {limit}" if row.at_least else limit,
        _headroom(row),
        row.verdict,
        row.detail,
        used,
    )


def metric_text(objective: Objective) -> str:
    """The percentile and metric that an objective limits, written out; empty if its key says it already."""
    if objective.percentile is None:
        return ""
    metric, percentile = objective.percentile
    return f"{METRICS[metric].label}, {'p99.9' if percentile == 'p999' else percentile}"


def value_text(name: str, value: float | None) -> str:
    """A value with its unit. name: of its row, with or without a journey in front."""
    if value is None:
        return NOTHING
    if name.endswith("_ms"):
        return f"{milliseconds(value)} ms"
    return percent(value) if name.rpartition(".")[2] in SHARES else f"{value:,.6g}"


def limit_text(row: GateRow) -> str:
    """The limit with its unit, as precise as the user wrote it: 800 ms, not 800.0 ms."""
    return f"{row.limit:,.10g} ms" if row.name.endswith("_ms") else value_text(row.name, row.limit)


def _headroom(row: GateRow) -> str:
    """The distance to the limit in words that agree with the verdict: one state, one wording."""
    if row.limit_in_interval and row.verdict in ("passed", "failed"):
        return NOT_CERTAIN
    if row.headroom is None:
        return NOTHING
    if row.headroom >= 0:
        return f"{percent(row.headroom)} to spare"
    if row.headroom > -MULTIPLES_FROM:
        return f"{percent(-row.headroom)} {'short' if row.at_least else 'over'}"
    return f"{count(round(1 - row.headroom))} times the limit"
