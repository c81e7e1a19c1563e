"""The report page of one results file, as plain values for the template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.gate.evaluate import evaluate
from harness.gate.objective import Objective, parse_objectives
from harness.gate.report import GateReport
from harness.reports.baseline_section import BaselineView, baseline_view
from harness.reports.capacity_section import CapacityView, capacity_view
from harness.reports.chart_style import Chart
from harness.reports.conformance_section import CheckView, ConformanceMatrix, matrix, policies
from harness.reports.exchange_index import ExchangeGroup, ExchangeIndex
from harness.reports.exchange_view import SizeBudget
from harness.reports.harness_error_section import HarnessErrorView, harness_error_view
from harness.reports.headline import Headline, headline
from harness.reports.load_section import (
    JourneyView,
    LedgerView,
    MetricView,
    RateView,
    ViolationView,
    charts,
    journey_rows,
    ledger_view,
    metric_rows,
    rate_rows,
    violation_rows,
    warmup_note,
)
from harness.reports.objectives_section import ObjectiveView, metric_text, objective_view
from harness.reports.setup_section import FactTable, elapsed_time, fact_tables, start_time
from harness.results.histogram import accuracy
from harness.results.manifest import target_address
from harness.results.metrics import METRICS
from harness.results.reader import Results
from harness.results.schema import ResultsError
from harness.results.summary import summarize


@dataclass(frozen=True, slots=True)
class ReportPage:
    """Everything the template prints."""

    target: str
    started: str
    took: str
    headline: Headline
    objectives: tuple[ObjectiveView, ...]
    has_objectives: bool
    baseline: BaselineView
    capacity: CapacityView | None
    matrix: ConformanceMatrix | None
    policies: tuple[CheckView, ...]
    charts: tuple[Chart, ...]
    rates: tuple[RateView, ...]
    warmup: str
    metrics: tuple[MetricView, ...]
    accuracy: str
    journeys: tuple[JourneyView, ...]
    ledger: LedgerView | None
    violations: tuple[ViolationView, ...]
    harness_error: HarnessErrorView
    facts: tuple[FactTable, ...]
    exchanges: tuple[ExchangeGroup, ...]
    unlisted: int


def page(results: Results, gate: GateReport | None = None) -> ReportPage:
    """The report page of a results file. gate: see `write_report`. Raises ResultsError."""
    manifest = results.manifest
    objectives = _objectives(results, manifest)
    gate = gate or evaluate(results, objectives, intervals=True)
    numbers = summarize(results)
    metrics = {objective.name: metric_text(objective) for objective in objectives}
    budget = SizeBudget()
    index = ExchangeIndex(results, budget)
    ledger = ledger_view(results)
    harness_error = harness_error_view(results, numbers)
    capacity = capacity_view(results)
    # The order decides who gets space: failed checks first, then violations, then the list of all exchanges.
    conformance = matrix(results, index)
    violations = tuple(violation_rows(results, index, budget))
    return ReportPage(
        target=target_address(manifest),
        started=start_time(manifest),
        took=elapsed_time(manifest),
        headline=headline(gate, results, ledger, harness_error)
        if capacity is None
        else Headline(capacity.tone, capacity.answer, " ".join(capacity.sentences), ()),
        # A capacity search evaluates its objectives per run, in the results file of each run.
        objectives=tuple(objective_view(row, metrics.get(row.name, "")) for row in gate.rows)
        if capacity is None
        else (),
        has_objectives=bool(objectives),
        baseline=baseline_view(gate),
        capacity=capacity,
        matrix=conformance,
        policies=policies(conformance),
        violations=violations,
        charts=tuple(charts(results, objectives)),
        rates=tuple(rate_rows(numbers)),
        warmup=warmup_note(numbers),
        metrics=tuple(metric_rows(numbers)),
        accuracy=accuracy(max(results.histogram(name).relative_error for name in METRICS)),
        journeys=tuple(journey_rows(results)),
        ledger=ledger,
        harness_error=harness_error,
        facts=tuple(fact_tables(manifest)),
        exchanges=tuple(index.groups()),
        unlisted=index.unlisted,
    )


def _objectives(results: Results, manifest: Mapping[str, Any]) -> tuple[Objective, ...]:
    settings = manifest.get("settings")
    limits = settings.get("objectives") if isinstance(settings, dict) else None
    try:
        return parse_objectives(limits if isinstance(limits, dict) else {})
    except ValueError as problem:
        raise ResultsError(
            f"{results.path}: this version cannot evaluate the file's objectives: {problem}"
        ) from None
