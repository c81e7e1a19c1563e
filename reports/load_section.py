"""What the load measured, as the page shows it: charts, metrics, journeys, ledger, violations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from harness.contract.requirements import CATALOGUE
from harness.gate.objective import Objective
from harness.reports.chart_style import Chart, Limit, bin_width_s
from harness.reports.conformance_section import ExchangeIndex
from harness.reports.exchange_view import ExchangeView, SizeBudget, exchange_view, is_exchange, pretty
from harness.results.ledger import OUTCOMES, Ledger
from harness.results.metrics import (
    ERROR_RATE_FORMULA,
    GOODPUT_FORMULA,
    METRICS,
    PERCENTILES,
    goodput,
)
from harness.results.reader import Results
from harness.results.records import EXAMPLES_PER_REQUIREMENT, ViolationRecord

from .charts import Second, over_time, percentile_curve, traffic
from .heatmap import heat_map
from .text import bounded, count, counted, duration, milliseconds, percent, visible
from .waterfall import waterfall

CURVES = ("ttft_ms", "inter_token_ms", "stall_ms", "duration_ms")
"""Metrics whose percentiles are drawn over each other."""

WATERFALL = 10
"""Runs that are drawn one by one."""

REASONS_SHOWN = 12
EXAMPLES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class MetricView:
    """One metric's row; cells: its percentiles, in ms where its label names no unit."""

    label: str
    formula: str
    count: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RateView:
    """A share: what it is, and of how many."""

    label: str
    formula: str
    value: str
    counts: str


@dataclass(frozen=True, slots=True)
class JourneyView:
    """One journey's row; cells as JOURNEY_COLUMNS."""

    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LedgerView:
    """The equation: left side, terms, whether they add up; what else is to be known; and why streams failed."""

    scheduled: int
    terms: tuple[tuple[str, int], ...]
    adds_up: bool
    sentence: str
    notes: tuple[str, ...]
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


JOURNEY_COLUMNS = (
    ("streams", ""),
    ("failed", ""),
    ("violations", ""),
    ("goodput", ""),
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
        yield percentile_curve(measured, [one for name in CURVES for one in _limits(objectives, name)])
    seconds = _seconds(results)
    ends = [results.seconds_of(metric) for metric in ("ttft_ms", "inter_token_ms")]
    every = [*seconds, *(second for pair in ends if pair for second in pair)]
    if not every:
        return
    span = min(every), max(every)
    ttft, itl = (
        results.histograms_by_second(metric, part="whole", width_s=bin_width_s(*span), first=span[0])
        for metric in ("ttft_ms", "inter_token_ms")
    )
    warmup_s = max(0, (results.measured_from or span[0]) - span[0])
    if ttft:
        label, limits = METRICS["ttft_ms"].label, _limits(objectives, "ttft_ms")
        yield over_time(label, ttft, span, limits, warmup_s=warmup_s)
        when = "in which its stream was due"
        yield heat_map(label, "heat-ttft", ttft, span, limits, warmup_s=warmup_s, when=when)
    if itl:
        label, limits = METRICS["inter_token_ms"].label, _limits(objectives, "inter_token_ms")
        when = "in which its token came"
        yield heat_map(label, "heat-itl", itl, span, limits, warmup_s=warmup_s, when=when)
    if seconds:
        yield traffic(seconds, span, warmup_s=warmup_s)
    yield from _waterfall(results, span[0])


def _limits(objectives: Sequence[Objective], metric: str) -> list[Limit]:
    """The objectives that limit a percentile of the metric. Those of one journey are not: the pictures are of all."""
    return [
        Limit(one.name, PERCENTILES[one.percentile[1]], one.limit)
        for one in objectives
        if one.journey is None
        and one.percentile is not None
        and one.percentile[0] == metric
        and one.limit > 0
    ]


def _waterfall(results: Results, first_second: int) -> Iterator[Chart]:
    rows = results.longest_streams(WATERFALL)
    if not rows:
        return
    kept, seen = results.sample()
    among = (
        f"the file keeps {count(kept)} of {counted(seen, 'stream')}, a random sample that prefers failed ones, "
        "and these are the longest in it"
        if kept < seen
        else "warm-up left out"
    )
    yield waterfall(
        rows,
        first_second,
        f"Worst is what took longest from the moment it was due to its terminal event ({among}). A stream that "
        "never got one has no length and is not here, but in the ledger. Of the gaps between tokens the file has "
        "the largest: the thin line shows its length, not when it was.",
    )


def _seconds(results: Results) -> dict[int, Second]:
    failures = results.failures_by_second()
    ledgers = results.ledger_by_second()
    seconds = {}
    in_flight = 0
    for second in sorted({*ledgers, *failures}):
        ledger = ledgers.get(second, Ledger())
        in_flight += ledger.opened
        seconds[second] = Second(ledger.scheduled, ledger.ended, failures.get(second, 0), max(in_flight, 0))
    return seconds


def metric_rows(summary: Mapping[str, Any]) -> Iterator[MetricView]:
    """The summary's metrics, in its order."""
    for name, numbers in summary["metrics"].items():
        metric = METRICS[name]
        yield MetricView(
            metric.label if metric.unit == "ms" else f"{metric.label}, {metric.unit}",
            metric.formula,
            count(numbers["count"]),
            tuple(milliseconds(numbers[word]) for word in PERCENTILES),
        )


def rate_rows(summary: Mapping[str, Any]) -> Iterator[RateView]:
    """The summary's shares of streams and runs; what nobody counted is left out."""
    streams, runs = summary["streams"], summary["goodput"]
    if streams["judged"]:
        counts = f"{count(streams['failed'])} of {counted(streams['judged'], 'stream')}"
        yield RateView("Error rate", ERROR_RATE_FORMULA, percent(streams["error_rate"]), counts)
    if runs["runs"]:
        counts = f"{count(runs['good'])} of {counted(runs['runs'], 'run')}"
        yield RateView("Goodput", GOODPUT_FORMULA, percent(runs["share"]), counts)


def warmup_note(summary: Mapping[str, Any]) -> str:
    """What was left out as warm-up, in a sentence or two; empty without one."""
    warmup = summary["warmup"]
    if warmup is None:
        return ""
    long = duration(warmup["seconds"] * 1000) if isinstance(warmup["seconds"], int | float) else "seconds"
    streams, ttft = warmup["streams"], warmup["metrics"]["ttft_ms"]
    said = (
        f"The first {long} were warm-up. {counted(streams['judged'], 'stream')} that were due in it, "
        f"{count(streams['failed'])} of them failed, stand in the ledger and in the charts' shaded part, and what "
        "they violated counts; all other numbers leave them out."
    )
    if not ttft["count"]:
        return said
    return f"{said} Their TTFT: p50 {duration(ttft['p50'])}, p99 {duration(ttft['p99'])}."


def journey_rows(results: Results) -> Iterator[JourneyView]:
    """One row a journey."""
    for name in results.journeys():
        cells = [
            count(results.ledger(name).scheduled),
            count(results.failures(name)),
            count(sum(results.violation_counts(name).values())),
            percent(goodput(results, name)),
        ]
        latencies = JOURNEY_COLUMNS[len(cells) :]
        histograms = {
            metric: results.histogram(metric, name) for metric in {metric for _, metric in latencies}
        }
        for head, metric in latencies:
            word = head.rpartition(" ")[2]
            cells.append(milliseconds(histograms[metric].percentile(PERCENTILES[word])))
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
        tuple(_ledger_notes(ledger)),
        failures,
        reasons,
        note,
    )


def _ledger_notes(ledger: Ledger) -> Iterator[str]:
    if ledger["dropped"]:
        yield (
            f"{counted(ledger['dropped'], 'arrival')} never began: as many streams as allowed were in flight "
            "already, so the server was given less load than was planned."
        )
    if ledger["lost"]:
        yield (
            f"{counted(ledger['lost'], 'stream')} were open in workers that died. What these began after they last "
            "told of themselves is not known and stands nowhere."
        )


def _reasons(results: Results, failures: int) -> tuple[tuple[tuple[str, str], ...], str]:
    """Why streams failed, the most frequent first, and a sentence about what is not shown."""
    top, different = results.failure_reasons(REASONS_SHOWN)
    shown = tuple(
        (f"{one.journey}, {one.step}: {bounded(visible(one.reason), 240)}", count(one.rows)) for one in top
    )
    kept, seen = results.sample()
    further = different - len(top)
    if kept < seen:
        note = f"Counted in a sample of {count(kept)} of {counted(seen, 'stream')}"
        return shown, f"{note}; {counted(further, 'further reason')} not shown." if further else f"{note}."
    hidden = failures - sum(one.rows for one in top)
    if hidden <= 0:
        return shown, ""
    return (
        shown,
        f"{counted(hidden, 'more failed stream')} not shown here, for {counted(further, 'further reason')}.",
    )


def violation_rows(results: Results, shelf: ExchangeIndex, budget: SizeBudget) -> Iterator[ViolationView]:
    """The requirements that streams under load violated, the most often violated first."""
    examples: dict[str, list[ViolationRecord]] = {}
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


def _example(row: ViolationRecord, shelf: ExchangeIndex, budget: SizeBudget) -> ExampleView:
    parts = row.evidence if isinstance(row.evidence, list) else [row.evidence]
    exchanges, links, others = [], [], []
    for part in parts:
        inner = part.get("exchange", part) if isinstance(part, dict) else part
        place = shelf.place(inner) if isinstance(inner, str) else None
        if is_exchange(inner):
            exchanges.append(budget.truncate(exchange_view(inner)))
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
