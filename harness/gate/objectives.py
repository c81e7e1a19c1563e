"""The gate: what a results file is held to, and whether it holds; what was not measured is never green."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, Self

from harness.gate.baseline import Comparison, compare
from harness.results import metrics
from harness.results.ledger import TERMINAL
from harness.results.store import Results

RowVerdict = Literal["held", "missed", "not measured"]
Outcome = Literal["held", "missed", "not measured", "nothing tested"]

_PERCENTILE_KEYS = {
    f"{metric.removesuffix('_ms')}_{word}_ms": (metric, word)
    for metric in metrics.METRICS
    for word in metrics.PERCENTILES
}
KEYS = (*_PERCENTILE_KEYS, "error_rate", "violations")
"""Every objective that can be set."""

_FAILING_VERDICTS = ("fail", "error", "stale")


@dataclass(frozen=True, slots=True)
class Objective:
    """An upper limit: in ms for a percentile of a metric, a share for error_rate, a count for violations."""

    key: str
    limit: float

    @classmethod
    def parse(cls, key: str, limit: float) -> Self:
        """The objective of that key, such as ttft_p95_ms, stall_max_ms, error_rate or violations.

        Raises ValueError for a key that is not of KEYS, naming the nearest, and for a limit that is no
        finite number from 0 up.
        """
        if key not in KEYS:
            near = get_close_matches(key.lower(), KEYS, n=1, cutoff=0)[0]
            raise ValueError(f"objective {key!r} is unknown; did you mean {near!r}?")
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit < math.inf:
            raise ValueError(f"objective {key}: the limit must be a number from 0 up, not {limit!r}")
        return cls(key, float(limit))

    @property
    def percentile(self) -> tuple[str, str] | None:
        """Metric and percentile word, ("ttft_ms", "p95"); None for error_rate and violations."""
        return _PERCENTILE_KEYS.get(self.key)

    def value(self, results: Results) -> float | None:
        """What the results say of it, in the limit's unit; None when it was not measured."""
        if self.percentile is not None:
            metric, word = self.percentile
            return results.histogram(metric).percentile(metrics.PERCENTILES[word])
        if self.key == "error_rate":
            return metrics.error_rate(results)
        return float(sum(metrics.violations(results).values()))


@dataclass(frozen=True, slots=True)
class GateRow:
    """One thing that was held against a limit. detail says in words what the number does not."""

    name: str
    value: float | None
    limit: float
    verdict: RowVerdict
    detail: str = ""

    @property
    def headroom(self) -> float | None:
        """How far the value is below its limit, as a share of the limit: 0.25 is a quarter to spare, below 0
        is missed. None when nothing was measured or the limit is 0.
        """
        return None if self.value is None or self.limit == 0 else 1 - self.value / self.limit


@dataclass(frozen=True, slots=True)
class GateReport:
    """The gate's rows, the comparisons with a baseline where there was one, and what follows from them."""

    rows: tuple[GateRow, ...]
    comparisons: tuple[Comparison, ...]
    tested: bool

    @property
    def outcome(self) -> Outcome:
        """The whole in a word: "held" only when something was tested and every row held."""
        verdicts = {row.verdict for row in self.rows}
        if not self.tested:
            return "nothing tested"
        if "missed" in verdicts or any(comparison.verdict == "worse" for comparison in self.comparisons):
            return "missed"
        return "not measured" if "not measured" in verdicts else "held"

    @property
    def exit_code(self) -> int:
        """0 held, 1 missed or an objective not measured, 2 nothing tested."""
        return {"held": 0, "missed": 1, "not measured": 1, "nothing tested": 2}[self.outcome]


def parse_objectives(limits: Mapping[str, float]) -> tuple[Objective, ...]:
    """Objectives from keys and limits, as the settings hold them. Raises ValueError as Objective.parse."""
    return tuple(Objective.parse(key, limit) for key, limit in limits.items())


def judge(results: Results, objectives: Iterable[Objective], baseline: Results | None = None) -> GateReport:
    """Hold a results file against objectives, and against an earlier results file where one is given.

    Besides the objectives it always holds the ledger's equation, that a load got as far as the end of a
    run, and the conformance verdicts. Of the objectives, percentiles are compared with the baseline.
    """
    objectives = tuple(objectives)
    rows = [_row(objective.key, objective.value(results), objective.limit) for objective in objectives]
    rows += [*_load_rows(results), *_conformance_rows(results)]
    comparisons = (
        ()
        if baseline is None
        else tuple(
            compare(results, baseline, objective.key, *objective.percentile)
            for objective in objectives
            if objective.percentile is not None
        )
    )
    return GateReport(tuple(rows), comparisons, results.tested)


def _row(name: str, value: float | None, limit: float, detail: str = "") -> GateRow:
    if value is None:
        return GateRow(name, None, limit, "not measured", detail)
    return GateRow(name, value, limit, "held" if value <= limit else "missed", detail)


def _load_rows(results: Results) -> Iterator[GateRow]:
    ledger = results.ledger()
    counts = ledger.as_dict()
    if not any(counts.values()):
        return
    accounted = ledger.scheduled - ledger.missing
    yield _row(
        "ledger",
        float(abs(ledger.missing)),
        0.0,
        f"{ledger.scheduled} streams scheduled, {accounted} accounted for",
    )
    # Otherwise a load that was refused throughout would be green beside a conformance suite that passed.
    if not any(counts[outcome] for outcome in TERMINAL):
        yield GateRow("load", None, 0.0, "not measured", "no stream of the load reached the end of its run")


def _conformance_rows(results: Results) -> Iterator[GateRow]:
    checks = results.checks()
    if checks:
        failing = [check for check in checks if check.verdict in _FAILING_VERDICTS]
        detail = ", ".join(f"{check.id} ({check.verdict})" for check in failing)
        yield _row("conformance", float(len(failing)), 0.0, detail)
