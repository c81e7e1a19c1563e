"""A results file as the plain values that the page's template prints; every number comes from results or gate."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from harness.capacity.record import MANIFEST_KEY
from harness.gate.evaluate import evaluate
from harness.gate.objective import SHARES, Objective, parse_objectives
from harness.gate.report import GateReport, GateRow
from harness.reports.capacity_section import CapacityView, capacity_view
from harness.reports.chart_style import Chart
from harness.reports.conformance_section import (
    CheckView,
    ExchangeGroup,
    ExchangeIndex,
    Matrix,
    matrix,
    policies,
)
from harness.reports.exchange_view import SizeBudget
from harness.reports.harness_error_section import LagView, lag_view
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
from harness.results.manifest import target_address
from harness.results.metrics import summary
from harness.results.reader import Results
from harness.results.schema import ResultsError

from .text import NOTHING, bounded, count, counted, duration, milliseconds, percent

SEVERAL = 4
"""From this many limits over the limit on, percent are no measure for people."""

FACTS_SHOWN = 200
"""Rows of one table of settings or machine facts."""

_IN_DOUBT = {
    "lost": "what workers measured",
    "load": "the load",
    "dropped": "the load",
    "harness": "the load",
    "conformance": "conformance",
}
"""The gate's own rows where nobody can judge them."""

_BUILT_IN = {
    "ledger": "streams unaccounted for",
    "lost": "streams lost with workers that died",
    "dropped": "arrivals that never began",
    "harness": "streams that a fault of the harness kept from being judged",
    "load": "load got as far as the end of a run",
    "conformance": "conformance checks that failed",
}
"""The gate's own rows, which hold without being asked for."""


@dataclass(frozen=True, slots=True)
class Headline:
    """The verdict. tone: "good", "bad", "warn" or "none"; why: one sentence; notes: what limits it."""

    tone: str
    word: str
    why: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ObjectiveView:
    """One row of the gate. label: what it is, for rows that are no objective's key; empty for those.

    interval: both ends of the value's confidence interval. used: the value as a share of its limit, at most 1,
    for the bar; None without one.
    """

    name: str
    label: str
    value: str
    interval: str
    limit: str
    headroom: str
    verdict: str
    detail: str
    used: float | None


@dataclass(frozen=True, slots=True)
class Facts:
    """A titled list of names and values."""

    title: str
    rows: tuple[tuple[str, str], ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class ReportPage:
    """Everything the template prints."""

    target: str
    started: str
    took: str
    headline: Headline
    objectives: tuple[ObjectiveView, ...]
    has_objectives: bool
    capacity: CapacityView | None
    matrix: Matrix | None
    policies: tuple[CheckView, ...]
    charts: tuple[Chart, ...]
    rates: tuple[RateView, ...]
    warmup: str
    metrics: tuple[MetricView, ...]
    journeys: tuple[JourneyView, ...]
    ledger: LedgerView | None
    violations: tuple[ViolationView, ...]
    lag: LagView
    facts: tuple[Facts, ...]
    exchanges: tuple[ExchangeGroup, ...]
    unlisted: int


def page(results: Results) -> ReportPage:
    """The page of one results file. Raises ResultsError."""
    manifest = results.manifest
    objectives = _objectives(results, manifest)
    gate = evaluate(results, objectives, intervals=True)
    numbers = summary(results)
    budget = SizeBudget()
    shelf = ExchangeIndex(results, budget)
    ledger = ledger_view(results)
    lag = lag_view(results, numbers)
    capacity = capacity_view(results)
    # Evidence gets room in this order: failed checks, violations, and at last every exchange.
    conformance = matrix(results, shelf)
    return ReportPage(
        target=target_address(manifest),
        started=moment_of(manifest.get("started_at")),
        took=took_of(manifest),
        headline=_headline(gate, manifest, _tested(numbers, ledger), lag, numbers["ledger"]["dropped"])
        if capacity is None
        else Headline(capacity.tone, capacity.word, capacity.sentences[0], capacity.sentences[1:]),
        # The runs of a search are held to them one by one, in files of their own.
        objectives=tuple(_objective(row) for row in gate.rows) if capacity is None else (),
        has_objectives=bool(objectives),
        capacity=capacity,
        matrix=conformance,
        policies=policies(conformance),
        violations=tuple(violation_rows(results, shelf, budget)),
        charts=tuple(charts(results, objectives)),
        rates=tuple(rate_rows(numbers)),
        warmup=warmup_note(numbers),
        metrics=tuple(metric_rows(numbers)),
        journeys=tuple(journey_rows(results)),
        ledger=ledger,
        lag=lag,
        facts=tuple(_facts(manifest)),
        exchanges=tuple(shelf.groups()),
        unlisted=shelf.unlisted,
    )


def _objectives(results: Results, manifest: Mapping[str, Any]) -> tuple[Objective, ...]:
    settings = manifest.get("settings")
    limits = settings.get("objectives") if isinstance(settings, dict) else None
    try:
        return parse_objectives(limits if isinstance(limits, dict) else {})
    except ValueError as problem:
        raise ResultsError(
            f"{results.path}: its objectives cannot be judged by this version: {problem}"
        ) from None


def _headline(
    gate: GateReport, manifest: Mapping[str, Any], tested: str, lag: LagView, dropped: int
) -> Headline:
    word, tone = {
        "passed": ("Passed", "good"),
        "failed": ("Failed", "bad"),
        "inconclusive": ("Inconclusive", "warn"),
        "not measured": ("Incomplete", "bad"),
        "nothing tested": ("Nothing was tested", "none"),
    }[gate.outcome]
    notes = []
    state = manifest.get("state")
    if state == "interrupted":
        notes.append("The test was interrupted: this covers only what came before.")
    elif state != "finished":
        notes.append(
            "The test never wrote its end: it is still running, or it was killed. This is what it left."
        )
    if dropped:
        notes.append(
            f"{counted(dropped, 'arrival')} never began, so the server had less load than was planned."
        )
    if lag.saturated:
        notes.append("The harness itself was saturated, so latencies here are not only the server's.")
    if notes and gate.outcome == "passed":
        word, tone = f"{word}, with a reservation", "warn"
    return Headline(tone, word, " ".join([_why(gate), tested]), tuple(notes))


def _why(gate: GateReport) -> str:
    if gate.outcome == "nothing tested":
        return (
            "No check came to a verdict on the server and no stream was answered with a run, so nothing here "
            "speaks for the server."
        )
    said = [_said(row) for row in gate.rows if row.verdict not in ("passed", "inconclusive")]
    said += _in_doubt(gate)
    if said:
        sentence = bounded("; ".join(said), 700)
        return f"{sentence[0].upper()}{sentence[1:]}."
    return f"{'The one limit was' if len(gate.rows) == 1 else f'All {len(gate.rows)} limits were'} held."


def _said(row: GateRow) -> str:
    """A row that did not hold, as a clause."""
    if row.verdict == "not measured":
        return row.detail or f"`{row.name}` was not measured"
    if row.name == "conformance":
        return f"conformance failed in {row.detail}"
    if row.name == "ledger":
        return f"the ledger does not add up: {row.detail}"
    beyond = "below" if row.at_least else "over"
    return f"`{row.name}` is {_valued(row.name, row.value)}, {beyond} its limit of {_amount(row)}"


def _in_doubt(gate: GateReport) -> list[str]:
    """The rows that nobody can judge, as a clause for each cause."""
    causes: dict[str, list[str]] = {}
    for row in gate.rows:
        if row.verdict == "inconclusive":
            name = _IN_DOUBT.get(row.name, f"`{row.name}`")
            causes.setdefault(row.detail, []).append(name)
    said = [f"{', '.join(names)} cannot be judged: {cause}" for cause, names in causes.items()]
    return [*said, *gate.saturation] if said else []


def _tested(numbers: Mapping[str, Any], ledger: LedgerView | None) -> str:
    """What the verdict rests on."""
    tally = ", ".join(f"{count(times)} {word}" for word, times in numbers["checks"].items() if times)
    parts = [f"Conformance: {tally}."] if tally else []
    if ledger is not None:
        parts.append(f"Load: {counted(ledger.scheduled, 'stream')}, {count(ledger.failed)} of them failed.")
    return " ".join(parts)


def _valued(name: str, value: float | None) -> str:
    """A value of the gate's row of that name, which a journey's name may stand before."""
    if value is None:
        return NOTHING
    if name.endswith("_ms"):
        return f"{milliseconds(value)} ms"
    return percent(value) if name.rpartition(".")[2] in SHARES else f"{value:,.6g}"


def _limit(row: GateRow) -> str:
    return f"at least {_amount(row)}" if row.at_least else _amount(row)


def _amount(row: GateRow) -> str:
    """As it was written: 800 ms, not 800.0."""
    return f"{row.limit:,.10g} ms" if row.name.endswith("_ms") else _valued(row.name, row.limit)


def _objective(row: GateRow) -> ObjectiveView:
    # Of a lower limit nothing is used up.
    used = None if row.value is None or not row.limit or row.at_least else min(row.value / row.limit, 1.0)
    return ObjectiveView(
        row.name,
        _BUILT_IN.get(row.name, ""),
        _valued(row.name, row.value),
        NOTHING if row.interval is None else " to ".join(_valued(row.name, end) for end in row.interval),
        _limit(row),
        _headroom(row),
        row.verdict,
        row.detail,
        used,
    )


def _headroom(row: GateRow) -> str:
    if row.value is None or row.headroom is None:
        return NOTHING
    if row.headroom >= 0:
        return f"{percent(row.headroom)} to spare"
    if row.headroom > -SEVERAL:
        return f"{percent(-row.headroom)} {'short' if row.at_least else 'over'}"
    return f"{count(round(1 - row.headroom))} times the limit"


def moment_of(value: Any) -> str:
    """An ISO 8601 moment as people read it; anything else as it stands."""
    try:
        return f"{datetime.fromisoformat(value):%-d %B %Y, %H:%M:%S %Z}"
    except (TypeError, ValueError):
        return "" if value is None else str(value)


def took_of(manifest: Mapping[str, Any]) -> str:
    """How long a test took; empty where its manifest does not say."""
    try:
        began, ended = (datetime.fromisoformat(manifest[key]) for key in ("started_at", "ended_at"))
        return duration((ended - began).total_seconds() * 1000)
    except (KeyError, TypeError, ValueError):
        return ""


def _facts(manifest: Mapping[str, Any]) -> Iterator[Facts]:
    """Every key of the manifest: the well-known ones first, whatever else there is at the end."""
    test = ("command", "state", "started_at", "ended_at")
    yield _fact_table("Test", {key: manifest[key] for key in test if key in manifest})
    for key in ("target", "versions", "machine", "settings"):
        yield _fact_table(key.capitalize(), manifest.get(key, {}))
    shown = {*test, "target", "versions", "machine", "settings", MANIFEST_KEY}
    rest = {key: value for key, value in manifest.items() if key not in shown}
    if rest:
        yield _fact_table("Other", rest)


def _fact_table(title: str, value: Any) -> Facts:
    rows = list(facts_of("", value))
    return Facts(title, tuple(rows[:FACTS_SHOWN]), max(len(rows) - FACTS_SHOWN, 0))


def facts_of(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Names, joined by points below `name`, and values of whatever a manifest holds there."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from facts_of(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, str):
        yield name, value
    elif isinstance(value, list) and name.endswith("command") and all(isinstance(one, str) for one in value):
        yield name, " ".join(value)
    else:
        yield name, json.dumps(value, ensure_ascii=False)
