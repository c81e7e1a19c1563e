"""What one run says: were the objectives held at its rate, and by what numbers.

The gate's verdicts, with one thing more. A search goes beyond what the server can do, and there the harness
may be saturated as well; then the gate leaves a latency undecided. But the harness can have made it longer
by its own lag at most, and what misses its limit by more than that was missed by the server.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from harness.capacity.record import CapacityStep
from harness.capacity.search import TrialVerdict
from harness.gate.console import quantity
from harness.gate.evaluate import evaluate
from harness.gate.objective import Objective
from harness.gate.report import GateRow
from harness.results import metrics
from harness.results.histogram import RELATIVE_ERROR
from harness.results.ledger import TERMINAL, Ledger
from harness.results.reader import Results


def measure(
    results: Results, objectives: Sequence[Objective], number: int, rate: float, step_s: float
) -> CapacityStep:
    """The step that a load's results file tells of. step_s: how long arrivals counted. Raises ResultsError."""
    verdict, why = _verdict(results, objectives)
    measured = [one.percentile[0] for one in objectives if one.percentile]
    step = CapacityStep(
        number=number,
        rate=rate,
        verdict=verdict,
        why=why,
        values={one.name: one.value(results) for one in objectives},
        percentiles={metric: _percentiles(results, metric) for metric in dict.fromkeys(measured)},
        goodput=metrics.goodput(results),
        streams=results.ledger().scheduled,
        saturation=tuple(metrics.saturation(results)),
    )
    return _with_flow(step, results.ledger_by_second(), results.measured_from, step_s)


def void(number: int, rate: float, why: str) -> CapacityStep:
    """The step of a run that left nothing to measure."""
    return CapacityStep(number=number, rate=rate, verdict="invalid", why=why)


def _percentiles(results: Results, metric: str) -> dict[str, float | None]:
    histogram = results.histogram(metric)
    return {word: histogram.percentile(percent) for word, percent in metrics.PERCENTILES.items()}


def _verdict(results: Results, objectives: Sequence[Objective]) -> tuple[TrialVerdict, str]:
    rows = {row.name: row for row in evaluate(results, objectives).rows}
    unsound = list(_unsound(rows, results.ledger()))
    if unsound:
        return "invalid", "; ".join(unsound)
    missed = [_said(rows[one.name], one) for one in objectives if _is_missed(rows[one.name], one, results)]
    if "load" in rows:
        missed.append(rows["load"].detail)
    if missed:
        return "failed", "; ".join(missed)
    busy = metrics.saturation(results)
    dropped = results.ledger()["dropped"]
    if dropped:
        busy.append(f"{dropped} arrivals never began, as many as allowed were in flight")
    if busy:
        return "saturated", "; ".join(busy)
    unknown = [row for row in rows.values() if row.verdict in ("not measured", "inconclusive")]
    if unknown:
        return "invalid", "; ".join(f"{row.name}: {row.detail or row.verdict}" for row in unknown)
    return "passed", ""


def _unsound(rows: Mapping[str, GateRow], ledger: Ledger) -> Iterator[str]:
    """Why nothing that this run measured can be built upon."""
    if not ledger.scheduled:
        yield "nothing was sent"
    elif rows["ledger"].verdict != "passed":
        yield f"the ledger does not add up: {rows['ledger'].detail}"
    for name in ("lost", "load"):
        if name in rows and rows[name].verdict == "inconclusive":
            yield rows[name].detail


def _is_missed(row: GateRow, objective: Objective, results: Results) -> bool:
    if row.verdict != "inconclusive" or row.value is None:
        return row.verdict == "failed"
    if objective.percentile is None or objective.percentile[0] in metrics.HARNESS_METRICS:
        return False
    # Of values that each became longer by `lag_ms` at most, so did every percentile.
    lag_ms = sum(results.histogram(name).max or 0.0 for name in ("schedule_lag_ms", "receive_lag_ms"))
    return row.value * (1 - RELATIVE_ERROR) - lag_ms > objective.limit


def _said(row: GateRow, objective: Objective) -> str:
    beyond = "below" if objective.at_least else "over"
    return f"{row.name} {quantity(row.name, row.value)}, {beyond} {objective.limit_said}"


def _with_flow(
    step: CapacityStep, ledgers: Mapping[int, Ledger], measured_from: int | None, step_s: float
) -> CapacityStep:
    """The step with how many streams were completed, and how many were open."""
    if not ledgers:
        return step
    # Whole seconds, all of them with arrivals: the schedule began in the second before, or in mid-warm-up.
    first = measured_from or min(ledgers) + 1
    seconds = max(1, int(step_s) - 1)
    within = [ledger for at, ledger in ledgers.items() if first <= at < first + seconds]
    open_before = sum(_opened(ledger) for at, ledger in ledgers.items() if at < first)
    return replace(
        step,
        completed_per_s=sum(ledger[word] for ledger in within for word in TERMINAL) / seconds,
        open_before=max(0, open_before),
        open_after=max(0, open_before + sum(map(_opened, within))),
        flow_s=seconds,
    )


def _opened(ledger: Ledger) -> int:
    """By how many more streams were open at the end of this second than at its beginning."""
    return ledger.scheduled - ledger.ended - ledger["dropped"] - ledger["lost"]
