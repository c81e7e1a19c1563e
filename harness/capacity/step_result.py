"""The verdict on one run of a capacity search, with its numbers.

The verdicts are those of the gate. A run has no verdict ("saturated") if the harness could not produce the load, or if
a limit is within the harness's own error. What the server misses by more than that error, it misses in any case.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from harness.capacity.record import CapacityStep
from harness.capacity.search import TrialVerdict
from harness.formatting import counted
from harness.gate.console import format_value
from harness.gate.evaluate import evaluate
from harness.gate.objective import Objective
from harness.gate.report import GateRow
from harness.results import metrics
from harness.results.ledger import TERMINAL, Ledger
from harness.results.reader import Results
from harness.results.saturation import saturation_reasons


def measure(
    results: Results, objectives: Sequence[Objective], number: int, rate: float, step_s: float
) -> CapacityStep:
    """The step in a results file. step_s: measured seconds. Raises ResultsError."""
    verdict, why = _verdict(results, objectives)
    measured = [objective.percentile[0] for objective in objectives if objective.percentile]
    step = CapacityStep(
        number=number,
        rate=rate,
        verdict=verdict,
        why=why,
        values={objective.name: objective.value(results) for objective in objectives},
        percentiles={metric: _percentiles(results, metric) for metric in dict.fromkeys(measured)},
        goodput=metrics.goodput(results),
        streams=results.ledger().scheduled,
        saturation=tuple(saturation_reasons(results)),
    )
    return _with_flow(step, results.ledger_by_second(), results.measured_from, step_s)


def invalid_step(number: int, rate: float, why: str) -> CapacityStep:
    """The step of a run without usable results."""
    return CapacityStep(number=number, rate=rate, verdict="invalid", why=why)


def _percentiles(results: Results, metric: str) -> dict[str, float | None]:
    histogram = results.histogram(metric)
    return {word: histogram.percentile(percent) for word, percent in metrics.PERCENTILES.items()}


def _verdict(results: Results, objectives: Sequence[Objective]) -> tuple[TrialVerdict, str]:
    rows = {row.name: row for row in evaluate(results, objectives).rows}
    unsound = list(_unsound(rows, results.ledger()))
    if unsound:
        return "invalid", "; ".join(unsound)
    missed = [
        _describe(rows[objective.name], objective)
        for objective in objectives
        if rows[objective.name].verdict == "failed"
    ]
    if "load" in rows:
        missed.append(rows["load"].detail)
    if missed:
        return "failed", "; ".join(missed)
    busy = saturation_reasons(results)
    dropped = results.ledger()["dropped"]
    if dropped:
        busy.append(f"{counted(dropped, 'arrival')} dropped because max_in_flight streams were open")
    if not busy:
        names = [objective.name for objective in objectives]
        busy = [f"{name}: {rows[name].detail}" for name in names if rows[name].verdict == "inconclusive"]
    if busy:
        return "saturated", "; ".join(busy)
    unknown = [row for row in rows.values() if row.verdict in ("not measured", "inconclusive")]
    if unknown:
        return "invalid", "; ".join(f"{row.name}: {row.detail or row.verdict}" for row in unknown)
    return "passed", ""


def _unsound(rows: Mapping[str, GateRow], ledger: Ledger) -> Iterator[str]:
    """Why the measurements of this run are unusable."""
    if not ledger.scheduled:
        yield "nothing was sent"
    elif rows["ledger"].verdict != "passed":
        yield f"the ledger does not add up: {rows['ledger'].detail}"
    for name in ("lost", "load"):
        if name in rows and rows[name].verdict == "inconclusive":
            yield rows[name].detail


def _describe(row: GateRow, objective: Objective) -> str:
    beyond = "below" if objective.at_least else "over"
    return f"{row.name} {format_value(row.name, row.value)}, {beyond} {objective.limit_text}"


def _with_flow(
    step: CapacityStep, ledgers: Mapping[int, Ledger], measured_from: int | None, step_s: float
) -> CapacityStep:
    """The step with the numbers of completed and open streams."""
    if not ledgers:
        return step
    # Whole seconds with arrivals in all of them: the schedule started within the second before, or in the warm-up.
    first = measured_from or min(ledgers) + 1
    seconds = max(1, int(step_s) - 1)
    window = [ledger for second, ledger in ledgers.items() if first <= second < first + seconds]
    open_before = sum(ledger.opened for second, ledger in ledgers.items() if second < first)
    return replace(
        step,
        completed_per_s=sum(ledger[outcome] for ledger in window for outcome in TERMINAL) / seconds,
        open_before=max(0, open_before),
        open_after=max(0, open_before + sum(ledger.opened for ledger in window)),
        flow_s=seconds,
    )
