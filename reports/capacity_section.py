"""A search for the capacity, as the page shows it: the answer, every run, and the knee in a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.capacity.record import MANIFEST_KEY, CapacityStep, Record
from harness.gate.objective import Objective
from harness.reports.chart_style import Chart
from harness.reports.rate_chart import RatePoint, against_rate
from harness.results.metrics import METRICS
from harness.results.reader import Results
from harness.results.schema import ResultsError

from .text import NOTHING, bounded, count, duration, milliseconds, percent

STEP_TAIL = ("goodput", "completed/s", "streams", "took", "results")
"""The last heads of the table of runs, after the objectives."""

_MARKS = {"passed": "passed", "failed": "failed"}
_TONES = {"found": "good", "above": "warn", "below": "bad"}


@dataclass(frozen=True, slots=True)
class StepView:
    """One run. verdict: as a chip; cells: as the view's heads; why: what missed, or why nothing was said."""

    number: str
    rate: str
    verdict: str
    cells: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class CapacityView:
    """A search. word, tone: the answer for the headline; sentences: the answer, and what it rests on."""

    word: str
    tone: str
    sentences: tuple[str, ...]
    how: str
    heads: tuple[str, ...]
    steps: tuple[StepView, ...]
    charts: tuple[Chart, ...]


def capacity_view(results: Results) -> CapacityView | None:
    """The search that a results file tells of; None when it is of none. Raises ResultsError."""
    document = results.manifest.get(MANIFEST_KEY)
    if document is None:
        return None
    try:
        record = Record.of(document)
        objectives = record.limits()
    except ValueError as problem:
        raise ResultsError(f"{results.path}: its search for the capacity cannot be read: {problem}") from None
    answer = record.answer
    found = answer is not None and answer.outcome == "found" and answer.limit is not None
    return CapacityView(
        word=f"{answer.limit:.3g} arrivals per second" if answer and found else "No limit was found",
        tone=_TONES.get(answer.outcome, "warn") if answer else "none",
        sentences=record.sentences(),
        how=_how(record),
        heads=(*(one.name for one in objectives), *STEP_TAIL),
        steps=tuple(_step(step, objectives) for step in record.steps),
        charts=tuple(_charts(record, objectives)),
    )


def _how(record: Record) -> str:
    limits = ", ".join(f"`{one.expression}`" for one in record.limits())
    warmup = f", after {duration(record.warmup_s * 1000)} that do not count" if record.warmup_s else ""
    return (
        f"Held to: {limits}. The rate was doubled until a run missed and then halved in; {record.plan.repeats} runs "
        f"that agree make an end of the interval. {record.arrivals.capitalize()} arrivals, "
        f"{duration(record.step_s * 1000)} at each rate{warmup}."
    )


def _step(step: CapacityStep, objectives: tuple[Objective, ...]) -> StepView:
    completed = NOTHING if step.completed_per_s is None else f"{step.completed_per_s:.3g}"
    return StepView(
        number=count(step.number),
        rate=f"{step.rate:g}",
        verdict=_chip(step),
        cells=(
            *(_value(one.name, step.values.get(one.name)) for one in objectives),
            percent(step.goodput),
            completed,
            count(step.streams),
            duration(step.duration_s * 1000),
            step.folder,
        ),
        why=bounded(step.why, 400),
    )


def _chip(step: CapacityStep) -> str:
    return {"saturated": "inconclusive", "invalid": "inconclusive"}.get(step.verdict, step.verdict)


def _value(key: str, value: float | None) -> str:
    if value is None:
        return NOTHING
    if key.endswith("_ms"):
        return f"{milliseconds(value)} ms"
    return percent(value) if key in ("error_rate", "goodput") else f"{value:,.6g}"


def _charts(record: Record, objectives: tuple[Objective, ...]) -> Iterator[Chart]:
    """One for each latency that has an objective; where there is none, one of goodput."""
    if not record.steps:
        return
    answer = record.answer
    interval = (answer.low, answer.high) if answer else (None, None)
    said = record.sentences()[0]
    latencies = [one for one in objectives if one.percentile]
    for one in latencies:
        label = f"{METRICS[one.percentile[0]].label} {one.percentile[1]}" if one.percentile else ""
        points = [_point(step, step.values.get(one.name)) for step in record.steps]
        yield against_rate(label, f"capacity-{one.name.replace('_', '-')}", points, one.limit, interval, said)
    if not latencies:
        points = [_point(step, None) for step in record.steps]
        yield against_rate("", "capacity-goodput", points, None, interval, said)


def _point(step: CapacityStep, value: float | None) -> RatePoint:
    return RatePoint(step.rate, value, step.goodput, _MARKS.get(step.verdict, "open"))
