"""A capacity search: the answer, a table of every run, and latency and goodput by arrival rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.capacity.record import MANIFEST_KEY, CapacityStep, Record
from harness.gate.objective import Objective
from harness.reports.chart_style import Chart
from harness.reports.objectives_section import value_text
from harness.reports.rate_chart import RatePoint, rate_chart
from harness.results.metrics import METRICS
from harness.results.reader import Results
from harness.results.schema import ResultsError

from .text import NOTHING, bounded, count, counted, duration, percent

STEP_COLUMNS = ("goodput", "completed/s", "streams", "took", "results")
"""The last columns of the table of runs, after the objectives."""

REASON_LIMIT = 400
"""Characters of the reason shown for one run."""

_VERDICTS = {"saturated": "inconclusive", "invalid": "inconclusive"}
"""What the page shows for verdicts of a search that a gate does not have."""

_TONES = {"found": "good", "above": "warn", "below": "bad"}


@dataclass(frozen=True, slots=True)
class CapacityStepView:
    """One run of the search. cells: as the view's columns. reason: the missed objective, or why there is no verdict."""

    number: str
    rate: str
    verdict: str
    cells: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class CapacityView:
    """A search. answer, tone: for the headline. sentences: the answer and its basis. method: how it was found."""

    answer: str
    tone: str
    sentences: tuple[str, ...]
    method: str
    columns: tuple[str, ...]
    steps: tuple[CapacityStepView, ...]
    charts: tuple[Chart, ...]


def capacity_view(results: Results) -> CapacityView | None:
    """The capacity search in a results file; None if the file is not of a search. Raises ResultsError."""
    document = results.manifest.get(MANIFEST_KEY)
    if document is None:
        return None
    try:
        record = Record.of(document)
        objectives = record.limits()
    except ValueError as problem:
        raise ResultsError(f"{results.path}: its capacity search cannot be read: {problem}") from None
    result = record.answer
    answer = "No limit found"
    if result is not None and result.outcome == "found" and result.limit is not None:
        answer = f"{result.limit:.3g} arrivals per second"
    return CapacityView(
        answer=answer,
        tone=_TONES.get(result.outcome, "warn") if result else "none",
        sentences=record.sentences(),
        method=_method(record, objectives),
        columns=(*(objective.name for objective in objectives), *STEP_COLUMNS),
        steps=tuple(_step(step, objectives) for step in record.steps),
        charts=tuple(_charts(record, objectives)),
    )


def _method(record: Record, objectives: tuple[Objective, ...]) -> str:
    limits = ", ".join(f"`{objective.expression}`" for objective in objectives)
    warmup = f" after {duration(record.warmup_s * 1000)} of warm-up" if record.warmup_s else ""
    return (
        f"Objectives: {limits}. The search doubles the rate until a run misses an objective, then bisects; "
        f"each end of the interval needs {counted(record.plan.repeats, 'agreeing run')}. "
        f"{record.arrivals.capitalize()} arrivals, {duration(record.step_s * 1000)} per run{warmup}."
    )


def _step(step: CapacityStep, objectives: tuple[Objective, ...]) -> CapacityStepView:
    completed = NOTHING if step.completed_per_s is None else f"{step.completed_per_s:.3g}"
    return CapacityStepView(
        number=count(step.number),
        rate=f"{step.rate:g}",
        verdict=_verdict(step),
        cells=(
            *(value_text(objective.name, step.values.get(objective.name)) for objective in objectives),
            percent(step.goodput),
            completed,
            count(step.streams),
            duration(step.duration_s * 1000),
            step.folder,
        ),
        reason=bounded(step.why, REASON_LIMIT),
    )


def _verdict(step: CapacityStep) -> str:
    return _VERDICTS.get(step.verdict, step.verdict)


def _charts(record: Record, objectives: tuple[Objective, ...]) -> Iterator[Chart]:
    """A chart for each latency that has an objective, or one of goodput if none has."""
    if not record.steps:
        return
    answer = record.answer
    interval = (answer.low, answer.high) if answer else (None, None)
    answer_sentence = record.sentences()[0]
    latencies = [objective for objective in objectives if objective.percentile]
    for objective in latencies:
        metric, percentile = objective.percentile or ("", "")
        yield rate_chart(
            f"{METRICS[metric].label} {percentile}",
            f"capacity-{objective.name.replace('_', '-')}",
            [_point(step, step.values.get(objective.name)) for step in record.steps],
            objective.limit,
            interval,
            answer_sentence,
        )
    if not latencies:
        points = [_point(step, None) for step in record.steps]
        yield rate_chart("", "capacity-goodput", points, None, interval, answer_sentence)


def _point(step: CapacityStep, value: float | None) -> RatePoint:
    return RatePoint(step.rate, value, step.goodput, _verdict(step))
