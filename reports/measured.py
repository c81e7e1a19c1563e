"""What the load measured, as the page shows it: charts, metrics, journeys, ledger, violations, the harness's lag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from harness.contract.requirements import CATALOGUE
from harness.gate.objectives import Objective
from harness.results.ledger import OUTCOMES, Ledger
from harness.results.metrics import METRICS, PERCENTILES, SATURATION_LAG_MS
from harness.results.store import EXAMPLES_PER_REQUIREMENT, Results, ViolationRow

from .charts import Chart, Second, over_time, percentile_curve, traffic
from .evidence import Budget, ExchangeView, exchange_view, is_exchange, pretty
from .matrix import Shelf
from .text import bounded, count, counted, milliseconds, visible

CURVES = ("ttft_ms", "inter_token_ms", "duration_ms")
LAGS = ("receive_lag_ms", "schedule_lag_ms")
REASONS_SHOWN = 12
REASONS_KEPT = 2_000
"""Distinct reasons that are counted apart; a server that makes each of its errors unique fills no memory."""

EXAMPLES_SHOWN = 5

_STAMPS = {
    "kernel": "Arrivals are the kernel's receive stamps, so latencies do not depend on how busy the harness was.",
    "user": "Arrivals were read off the harness's own clock, as the kernel gave no stamps: each latency may be "
    "too long by the time the harness took to look.",
    "mixed": "Some arrivals are the kernel's receive stamps and some were read off the harness's own clock; the "
    "latter may be too long by the time the harness took to look.",
}


@dataclass(frozen=True, slots=True)
class MetricView:
    """One metric's row; cells: its percentiles in ms."""

    label: str
    formula: str
    count: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JourneyView:
    """One journey's row; cells as JOURNEY_COLUMNS."""

    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LedgerView:
    """The equation: left side, terms, whether they add up; and why streams failed."""

    scheduled: int
    terms: tuple[tuple[str, int], ...]
    adds_up: bool
    sentence: str
    failed: int
    reasons: tuple[tuple[str, str], ...]
    reasons_note: str


@dataclass(frozen=True, slots=True)
class ExampleView:
    """One violation as it happened. other: evidence that is no exchange."""

    at: str
    journey: str
    detail: str
    exchanges: tuple[ExchangeView, ...]
    links: tuple[tuple[str, str], ...]
    other: str


@dataclass(frozen=True, slots=True)
class ViolationView:
    """One requirement that streams under load violated."""

    id: str
    requirement: str
    count: str
    note: str
    examples: tuple[ExampleView, ...]


@dataclass(frozen=True, slots=True)
class LagView:
    """The measurement's own error. rows: which lag, how many values, and percentiles in ms."""

    saturated: bool
    measured: bool
    sentence: str
    stamps: str
    coalesced: str
    rows: tuple[tuple[str, ...], ...]


JOURNEY_COLUMNS = (
    ("streams", ""),
    ("failed", ""),
    ("violations", ""),
    ("TTFT p50", "ttft_ms"),
    ("TTFT p95", "ttft_ms"),
    ("TTFT p99", "ttft_ms"),
    ("duration p95", "duration_ms"),
    ("resume p95", "resume_ms"),
    ("conflict p95", "conflict_ms"),
)
"""Heads of the table by journey, and the metric behind each that is a latency in ms."""

PERCENTILE_HEADS = tuple("p99.9" if word == "p999" else word for word in PERCENTILES)


def charts(results: Results, objectives: Sequence[Objective]) -> Iterator[Chart]:
    """The charts for which there are numbers."""
    curves = [(METRICS[name].label, results.histogram(name)) for name in CURVES]
    measured = [(label, histogram) for label, histogram in curves if histogram.count]
    if measured:
        yield percentile_curve(measured)
    ttft = results.histograms_by_second("ttft_ms")
    seconds = _seconds(results)
    every = [*ttft, *seconds]
    if not every:
        return
    span = min(every), max(every)
    if ttft:
        limits = [
            (one.key, one.limit) for one in objectives if one.percentile and one.percentile[0] == "ttft_ms"
        ]
        yield over_time(METRICS["ttft_ms"].label, ttft, span, limits)
    if seconds:
        yield traffic(seconds, span)


def _seconds(results: Results) -> dict[int, Second]:
    failures = results.failures_by_second()
    ledgers = results.ledger_by_second()
    seconds = {}
    in_flight = 0
    for second in sorted({*ledgers, *failures}):
        ledger = ledgers.get(second, Ledger())
        in_flight += ledger.scheduled - ledger.ended
        seconds[second] = Second(ledger.scheduled, ledger.ended, failures.get(second, 0), max(in_flight, 0))
    return seconds


def metric_rows(summary: Mapping[str, Any]) -> Iterator[MetricView]:
    """The summary's metrics, in its order."""
    for name, numbers in summary["metrics"].items():
        metric = METRICS[name]
        yield MetricView(
            metric.label,
            metric.formula,
            count(numbers["count"]),
            tuple(milliseconds(numbers[word]) for word in PERCENTILES),
        )


def journey_rows(results: Results) -> Iterator[JourneyView]:
    """One row a journey."""
    for name in results.journeys():
        cells = [
            count(results.ledger(name).scheduled),
            count(results.failures(name)),
            count(sum(results.violation_counts(name).values())),
        ]
        latencies = JOURNEY_COLUMNS[len(cells) :]
        histograms = {
            metric: results.histogram(metric, name) for metric in {metric for _, metric in latencies}
        }
        for head, metric in latencies:
            percent = PERCENTILES[head.rpartition(" ")[2]]
            cells.append(milliseconds(histograms[metric].percentile(percent)))
        yield JourneyView(name, tuple(cells))


def ledger_view(results: Results) -> LedgerView | None:
    """The ledger; None when nothing was ever scheduled."""
    ledger = results.ledger()
    counts = ledger.as_dict()
    if not any(counts.values()):
        return None
    if ledger.adds_up:
        sentence = "It adds up: every stream that was scheduled is accounted for."
    elif ledger.missing > 0:
        sentence = f"It does not add up: of {counted(ledger.missing, 'scheduled stream')} nothing is known."
    else:
        sentence = (
            f"It does not add up: {counted(-ledger.missing, 'stream')} ended that nobody had scheduled."
        )
    failures = results.failures()
    reasons, note = _reasons(results, failures) if failures else ((), "")
    return LedgerView(
        ledger.scheduled,
        tuple((word, counts[word]) for word in OUTCOMES[1:]),
        ledger.adds_up,
        sentence,
        failures,
        reasons,
        note,
    )


def _reasons(results: Results, failures: int) -> tuple[tuple[tuple[str, str], ...], str]:
    """Why streams failed, the most frequent first, and a sentence about what is not shown."""
    found: Counter[str] = Counter()
    for run in results.runs():
        if run.reason is not None:
            reason = f"{run.journey}, {run.step}: {bounded(visible(run.reason), 240)}"
            found[reason if reason in found or len(found) < REASONS_KEPT else ""] += 1
    uncounted = found.pop("", 0)
    top = found.most_common(REASONS_SHOWN)
    hidden = failures - sum(times for _, times in top)
    note = ""
    if hidden > 0:
        kinds = counted(len(found) - len(top), "further reason") if not uncounted else "many further reasons"
        note = f"{counted(hidden, 'more failed stream')} not shown here, for {kinds}."
    return tuple((reason, count(times)) for reason, times in top), note


def violation_rows(results: Results, shelf: Shelf, budget: Budget) -> Iterator[ViolationView]:
    """The requirements that streams under load violated, the most often violated first."""
    examples: dict[str, list[ViolationRow]] = {}
    for row in results.violations():
        examples.setdefault(row.requirement, []).append(row)
    counts = {**dict.fromkeys(examples, 0), **results.violation_counts()}
    for requirement, times in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        kept = examples.get(requirement, [])
        shown = kept[:EXAMPLES_SHOWN]
        known = CATALOGUE.get(requirement)
        yield ViolationView(
            requirement,
            known.text if known else "not in this version's catalogue",
            count(times),
            _examples_note(len(shown), len(kept)),
            tuple(_example(row, shelf, budget) for row in shown),
        )


def _examples_note(shown: int, kept: int) -> str:
    if not kept:
        return "No example was kept."
    if shown < kept:
        return f"The first {shown} examples; the results file keeps {kept}, and at most {EXAMPLES_PER_REQUIREMENT}."
    return f"The first {counted(shown, 'example')}:"


def _example(row: ViolationRow, shelf: Shelf, budget: Budget) -> ExampleView:
    parts = row.evidence if isinstance(row.evidence, list) else [row.evidence]
    exchanges, links, others = [], [], []
    for part in parts:
        inner = part.get("exchange", part) if isinstance(part, dict) else part
        place = shelf.place(inner) if isinstance(inner, str) else None
        if is_exchange(inner):
            exchanges.append(budget.fit(exchange_view(inner)))
        elif place is not None:
            links.append(place)
        elif part is not None:
            others.append(part)
    other = pretty(others[0] if len(others) == 1 else others) if others else ""
    return ExampleView(moment(row.at_ns), row.journey, row.detail, tuple(exchanges), tuple(links), other)


def moment(epoch_ns: int) -> str:
    """A moment as UTC to the millisecond; as the bare number where it is no moment of our calendar."""
    try:
        at = datetime.fromtimestamp(epoch_ns / 1e9, UTC)
    except (OverflowError, OSError, ValueError):
        return f"{epoch_ns} ns"
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC"


def lag_view(results: Results, summary: Mapping[str, Any]) -> LagView:
    """How far the harness's own numbers may be off."""
    harness = summary["harness"]
    rows = []
    for name in LAGS:
        histogram = results.histogram(name)
        if histogram.count:
            cells = (milliseconds(histogram.percentile(percent)) for percent in PERCENTILES.values())
            rows.append((METRICS[name].label, METRICS[name].formula, count(histogram.count), *cells))
    limit = f"{SATURATION_LAG_MS:g} ms"
    if not rows:
        sentence = "The harness's own lag was not measured in this run."
    elif harness["saturated"]:
        sentence = (
            f"The harness was saturated: the p99 of a lag of its own is over {limit}, so it was too busy to keep "
            "its schedule or to read in time. Lower the load or give it more processes before blaming the server."
        )
    else:
        sentence = f"The harness kept up: the p99 of each lag of its own is within {limit}."
    return LagView(
        bool(harness["saturated"]),
        bool(rows),
        sentence,
        _STAMPS.get(str(harness["receive_stamp"]), "The file does not say where arrival times come from."),
        _coalesced(results.manifest),
        tuple(rows),
    )


def _coalesced(manifest: Mapping[str, Any]) -> str:
    """Tokens whose own arrival nobody saw, in a sentence; empty when there are none."""
    together, tokens = manifest.get("coalesced_tokens"), manifest.get("tokens")
    if not isinstance(together, int) or not isinstance(tokens, int) or not together:
        return ""
    return (
        f"{count(together)} of {counted(tokens, 'token')} came in one read with the token before; they share its "
        "arrival, and no gap was made up for them."
    )
