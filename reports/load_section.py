"""The results of the load: charts, metrics, journeys, ledger, violations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from harness.contract.requirements import CATALOGUE
from harness.gate.objective import Objective
from harness.reports.chart_style import Chart, LimitLine, TimeMarks, bin_width_s
from harness.reports.conformance_section import UNKNOWN_REQUIREMENT
from harness.reports.exchange_index import ExchangeIndex, ExchangeLink
from harness.reports.exchange_view import ExchangeView, SizeBudget, exchange_view, is_exchange, pretty
from harness.reports.trace_link import trace_url_of
from harness.results.journeys import with_parents
from harness.results.ledger import OUTCOMES, Ledger
from harness.results.metrics import (
    ERROR_RATE_FORMULA,
    GOODPUT_FORMULA,
    METRICS,
    PERCENTILES,
    RUN_STREAM,
    RUN_STREAMS,
    SESSION_SUCCESS_FORMULA,
    goodput,
)
from harness.results.reader import Results
from harness.results.records import EXAMPLES_PER_REQUIREMENT, ViolationRecord
from harness.results.restart_cost import RestartCost

from .charts import TrafficSecond, over_time, percentile_curve, traffic
from .heatmap import heat_map
from .server_charts import server_charts
from .text import agree, bounded, count, counted, duration, milliseconds, percent, visible
from .waterfall import waterfall

CURVES = ("ttft_ms", "inter_token_ms", "stall_ms", "duration_ms")
"""Metrics in the chart of percentiles."""

WATERFALL = 10
"""Runs in the waterfall chart."""

REASONS_SHOWN = 12
REASON_LIMIT = 240
"""Characters of one failure reason."""

EXAMPLES_SHOWN = 5
"""Examples of each violated requirement."""


@dataclass(frozen=True, slots=True)
class MetricView:
    """One metric. cells: its percentiles, in ms unless the label names another unit."""

    label: str
    formula: str
    count: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RateView:
    """One share of streams or runs, with the counts behind it."""

    label: str
    formula: str
    value: str
    counts: str


@dataclass(frozen=True, slots=True)
class JourneyView:
    """One journey. cells: as JOURNEY_COLUMNS."""

    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LedgerView:
    """The ledger as an equation, and why streams failed.

    scheduled: the left side. terms: labels and counts of the right side. reasons: failure reasons and how often.
    """

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
    """One recorded violation. other: evidence that is not an exchange, as JSON."""

    at: str
    journey: str
    detail: str
    exchanges: tuple[ExchangeView, ...]
    links: tuple[ExchangeLink, ...]
    other: str


@dataclass(frozen=True, slots=True)
class ViolationView:
    """One requirement that streams under load violated. fix: what to change in the server; empty if unknown."""

    id: str
    requirement: str
    fix: str
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
    ("cancel p95", "cancel_ms"),
)
"""Columns of the table of journeys: head, and the metric of those that are a latency in ms."""

PERCENTILE_COLUMNS = tuple("p99.9" if name == "p999" else name for name in PERCENTILES)


def charts(results: Results, objectives: Sequence[Objective]) -> Iterator[Chart]:
    """The charts that have data."""
    curves = [(METRICS[name].label, results.histogram(name)) for name in CURVES]
    measured = [(label, histogram) for label, histogram in curves if histogram.count]
    if measured:
        yield percentile_curve(measured, [limit for name in CURVES for limit in _limits(objectives, name)])
    seconds = _seconds(results)
    ends = [results.seconds_of(metric) for metric in ("ttft_ms", "inter_token_ms")]
    all_seconds = [*seconds, *(second for pair in ends if pair for second in pair)]
    if not all_seconds:
        return
    span = min(all_seconds), max(all_seconds)
    ttft, itl = (
        results.histograms_by_second(metric, part="whole", width_s=bin_width_s(*span), first=span[0])
        for metric in ("ttft_ms", "inter_token_ms")
    )
    marks = TimeMarks.of(span, results.measured_from, RestartCost.in_manifest(results.manifest))
    if ttft:
        label, limits = METRICS["ttft_ms"].label, _limits(objectives, "ttft_ms")
        yield over_time(label, ttft, span, limits, marks)
        yield from server_charts(results.scrapes(), span, marks)
        counted_in = "in which its stream was due"
        yield heat_map(label, "heat-ttft", ttft, span, limits, marks, counted_in=counted_in)
    if itl:
        label, limits = METRICS["inter_token_ms"].label, _limits(objectives, "inter_token_ms")
        counted_in = "in which the token arrived"
        yield heat_map(label, "heat-itl", itl, span, limits, marks, counted_in=counted_in)
    if seconds:
        yield traffic(seconds, span, marks)
    yield from _waterfall(results, span[0])


def _limits(objectives: Sequence[Objective], metric: str) -> list[LimitLine]:
    """The objectives for a percentile of the metric, except those for one journey: the charts show all journeys."""
    return [
        LimitLine(objective.name, PERCENTILES[objective.percentile[1]], objective.limit)
        for objective in objectives
        if objective.journey is None
        and objective.percentile is not None
        and objective.percentile[0] == metric
        and objective.limit > 0
    ]


def _waterfall(results: Results, first_second: int) -> Iterator[Chart]:
    rows = results.longest_streams(WATERFALL)
    if not rows:
        return
    kept, seen = results.sample()
    scope = (
        f"Taken from the {count(kept)} of {counted(seen, 'stream')} that the results file keeps, a random sample that "
        "prefers failed streams."
        if kept < seen
        else "Warm-up is excluded."
    )
    yield waterfall(
        rows,
        first_second,
        f"The runs with the longest duration, from when they were due to their terminal event. {scope} Streams "
        "without a terminal event have no duration; the ledger counts them. The thin line is as long as the run's "
        "largest gap between tokens. It starts at the first token, because the position of the gap is not recorded.",
        trace_url_of(results.manifest),
    )


def _seconds(results: Results) -> dict[int, TrafficSecond]:
    failures = results.failures_by_second()
    ledgers = results.ledger_by_second()
    seconds = {}
    in_flight = 0
    for second in sorted({*ledgers, *failures}):
        ledger = ledgers.get(second, Ledger())
        in_flight += ledger.opened
        seconds[second] = TrafficSecond(
            ledger.scheduled, ledger.ended, failures.get(second, 0), max(in_flight, 0)
        )
    return seconds


def metric_rows(summary: Mapping[str, Any]) -> Iterator[MetricView]:
    """The metrics of the summary, in its order."""
    for name, numbers in summary["metrics"].items():
        metric = METRICS[name]
        yield MetricView(
            metric.label if metric.unit == "ms" else f"{metric.label}, {metric.unit}",
            metric.formula,
            count(numbers["count"]),
            tuple(milliseconds(numbers[name]) for name in PERCENTILES),
        )


def rate_rows(summary: Mapping[str, Any]) -> Iterator[RateView]:
    """The shares of the summary, without those that were not counted."""
    streams, runs = summary["streams"], summary["goodput"]
    if streams["judged"]:
        counts = f"{count(streams['failed'])} of {counted(streams['judged'], 'stream')}"
        yield RateView("Error rate", ERROR_RATE_FORMULA, percent(streams["error_rate"]), counts)
    if runs["runs"]:
        counts = f"{count(runs['good'])} of {counted(runs['runs'], RUN_STREAM, RUN_STREAMS)}"
        yield RateView("Goodput", GOODPUT_FORMULA, percent(runs["share"]), counts)
    sessions = summary["sessions"]
    if sessions["judged"]:
        counts = f"{count(sessions['succeeded'])} of {counted(sessions['judged'], 'session')}"
        yield RateView("Session success", SESSION_SUCCESS_FORMULA, percent(sessions["share"]), counts)


def warmup_note(summary: Mapping[str, Any]) -> str:
    """What was excluded as warm-up, in sentences; empty if there was no warm-up."""
    warmup = summary["warmup"]
    if warmup is None:
        return ""
    seconds = warmup["seconds"]
    length = f"first {duration(seconds * 1000)}" if isinstance(seconds, int | float) else "first seconds"
    streams, ttft = warmup["streams"], warmup["metrics"]["ttft_ms"]
    note = (
        f"Warm-up: the {length}, in which {counted(streams['judged'], 'stream')} "
        f"{agree(streams['judged'], 'was', 'were')} due and {count(streams['failed'])} failed. Warm-up streams appear "
        "in the ledger and in the shaded part of the charts, and their violations count. All other numbers exclude "
        "them."
    )
    if not ttft["count"]:
        return note
    return f"{note} Their TTFT: p50 {duration(ttft['p50'])}, p99 {duration(ttft['p99'])}."


def journey_rows(results: Results) -> Iterator[JourneyView]:
    """One row per journey, and one for each step of a journey of several."""
    for name in with_parents(results.journeys()):
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
            percentile = PERCENTILES[head.rpartition(" ")[2]]
            cells.append(milliseconds(histograms[metric].percentile(percentile)))
        yield JourneyView(name, tuple(cells))


def ledger_view(results: Results) -> LedgerView | None:
    """The ledger; None if nothing was scheduled."""
    ledger = results.ledger()
    counts = ledger.as_dict()
    if not any(counts.values()):
        return None
    missing = ledger.missing
    if ledger.adds_up:
        sentence = "The ledger adds up: every scheduled stream is accounted for."
    elif missing > 0:
        sentence = (
            f"The ledger does not add up: {counted(missing, 'scheduled stream')} {agree(missing, 'is', 'are')} "
            "unaccounted for."
        )
    else:
        sentence = f"The ledger does not add up: {counted(-missing, 'stream')} ended without being scheduled."
    failures = results.failures()
    reasons, note = _reasons(results, failures) if failures else ((), "")
    return LedgerView(
        ledger.scheduled,
        tuple((outcome, counts[outcome]) for outcome in OUTCOMES[1:]),
        ledger.adds_up,
        sentence,
        (*_ledger_notes(ledger), *_restart_notes(results)),
        failures,
        reasons,
        note,
    )


def _ledger_notes(ledger: Ledger) -> Iterator[str]:
    abandoned, dropped, lost = ledger["abandoned"], ledger["dropped"], ledger["lost"]
    if abandoned:
        yield (
            f"The harness ended {counted(abandoned, 'stream')} ({agree(abandoned, 'it is', 'they are')} abandoned): a "
            "journey such as resume cuts streams on purpose, and a user may stop during the test."
        )
    if dropped:
        yield (
            f"{counted(dropped, 'arrival')} {agree(dropped, 'was', 'were')} dropped because the maximum number of "
            "streams was in flight, so the load was lower than requested."
        )
    if lost:
        yield (
            f"{counted(lost, 'stream')} {agree(lost, 'was', 'were')} open in workers that died. Streams that these "
            "workers started after their last report are unknown and not counted."
        )


def _restart_notes(results: Results) -> Iterator[str]:
    """What a restart of the server cost, in sentences."""
    cost = RestartCost.in_manifest(results.manifest)
    if cost is not None:
        yield from (f"{visible(sentence[:1].upper() + sentence[1:])}." for sentence in cost.sentences())


def _reasons(results: Results, failures: int) -> tuple[tuple[tuple[str, str], ...], str]:
    """Failure reasons, the most frequent first, and a sentence about those not shown."""
    top, different = results.failure_reasons(REASONS_SHOWN)
    shown = tuple(
        (f"{row.journey}, {row.step}: {bounded(visible(row.reason), REASON_LIMIT)}", count(row.rows))
        for row in top
    )
    kept, seen = results.sample()
    further = counted(different - len(top), "further reason")
    if kept < seen:
        note = f"Counted in a sample of {count(kept)} of {counted(seen, 'stream')}"
        return shown, f"{note}; {further} not shown." if different > len(top) else f"{note}."
    hidden = failures - sum(row.rows for row in top)
    if hidden <= 0:
        return shown, ""
    return shown, f"Not shown: {counted(hidden, 'more failed stream')}, with {further}."


def violation_rows(results: Results, index: ExchangeIndex, budget: SizeBudget) -> Iterator[ViolationView]:
    """The requirements that streams under load violated, the most frequent first."""
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
            known.text if known else UNKNOWN_REQUIREMENT,
            known.fix if known else "",
            count(times),
            _examples_note(len(shown), len(kept)),
            tuple(_example(row, index, budget) for row in shown),
        )


def _examples_note(shown: int, kept: int) -> str:
    if not kept:
        return "No example was recorded."
    if shown < kept:
        return (
            f"The first {shown} of {kept} recorded examples; at most {EXAMPLES_PER_REQUIREMENT} are recorded per "
            "requirement."
        )
    return f"{counted(shown, 'recorded example')}:"


def _example(row: ViolationRecord, index: ExchangeIndex, budget: SizeBudget) -> ExampleView:
    parts = row.evidence if isinstance(row.evidence, list) else [row.evidence]
    exchanges, links, others = [], [], []
    for part in parts:
        inner = part.get("exchange", part) if isinstance(part, dict) else part
        link = index.link(inner) if isinstance(inner, str) else None
        if is_exchange(inner):
            exchanges.append(budget.truncate(exchange_view(inner, trace_url=index.trace_url)))
        elif link is not None:
            links.append(link)
        elif part is not None:
            others.append(part)
    other = pretty(others[0] if len(others) == 1 else others) if others else ""
    return ExampleView(utc_time(row.at_ns), row.journey, row.detail, tuple(exchanges), tuple(links), other)


def utc_time(epoch_ns: int) -> str:
    """A time in UTC with milliseconds; the plain number if it is outside the calendar's range."""
    try:
        at = datetime.fromtimestamp(epoch_ns / 1e9, UTC)
    except (OverflowError, OSError, ValueError):
        return f"{epoch_ns} ns"
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} UTC"
