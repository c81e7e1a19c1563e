"""The headline of a page: the verdict, the reasons for it, and its limitations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.gate.report import GateReport, GateRow
from harness.reports.harness_error_section import HarnessErrorView
from harness.reports.load_section import LedgerView
from harness.reports.objectives_section import limit_text, value_text

from .text import agree, bounded, count, counted

REASONS_LIMIT = 700
"""Characters of the sentence that says why the gate did not pass."""

_TITLES = {
    "passed": ("Passed", "good"),
    "failed": ("Failed", "bad"),
    "inconclusive": ("Inconclusive", "warn"),
    "not measured": ("Incomplete", "bad"),
    "nothing tested": ("Nothing tested", "none"),
}

_SUBJECTS = {
    "lost": "the workers' results",
    "load": "the load",
    "dropped": "the load",
    "harness": "the load",
    "conformance": "conformance",
}
"""What a built-in row of the gate is about."""


@dataclass(frozen=True, slots=True)
class Headline:
    """The verdict. tone: "good", "bad", "warn" or "none". summary: the reasons. notes: limitations."""

    tone: str
    title: str
    summary: str
    notes: tuple[str, ...]


def headline(
    gate: GateReport,
    manifest: Mapping[str, Any],
    numbers: Mapping[str, Any],
    ledger: LedgerView | None,
    harness_error: HarnessErrorView,
) -> Headline:
    """The headline of one test's page. numbers: as `summarize` returns them."""
    title, tone = _TITLES[gate.outcome]
    notes = tuple(_notes(manifest, numbers["ledger"]["dropped"], saturated=harness_error.saturated))
    if notes and gate.outcome == "passed":
        title, tone = f"{title} with reservations", "warn"
    return Headline(tone, title, " ".join([_reasons(gate), *_tested(numbers, ledger)]), notes)


def _notes(manifest: Mapping[str, Any], dropped: int, *, saturated: bool) -> Iterator[str]:
    state = manifest.get("state")
    if state == "interrupted":
        yield "The test was interrupted. This report covers the part before the interruption."
    elif state != "finished":
        yield (
            "The results file does not record an end: the test is still running or was killed. This report covers "
            "what was recorded."
        )
    if dropped:
        yield f"{_dropped(dropped)}, so the load was lower than requested."
    if saturated:
        yield "The harness was saturated, so latencies here may include its own delays."


def _dropped(dropped: int) -> str:
    return f"{counted(dropped, 'arrival')} {agree(dropped, 'was', 'were')} dropped"


def _reasons(gate: GateReport) -> str:
    if gate.outcome == "nothing tested":
        return (
            "No check reached a verdict about the server and no request started a run, so this report says nothing "
            "about the server."
        )
    clauses = [_missed(row) for row in gate.rows if row.verdict not in ("passed", "inconclusive")]
    clauses += _inconclusive(gate)
    if clauses:
        sentence = bounded("; ".join(clauses), REASONS_LIMIT)
        return f"{sentence[0].upper()}{sentence[1:]}."
    rows = len(gate.rows)
    return f"{'The only limit was' if rows == 1 else f'All {rows} limits were'} met."


def _missed(row: GateRow) -> str:
    """Why a row failed or was not measured, as a clause."""
    if row.verdict == "not measured":
        return row.detail or f"`{row.name}` was not measured"
    if row.name == "conformance":
        return f"conformance failed in {row.detail}"
    if row.name == "ledger":
        return f"the ledger does not add up: {row.detail}"
    side = "below" if row.at_least else "above"
    return f"`{row.name}` is {value_text(row.name, row.value)}, {side} its limit of {limit_text(row)}"


def _inconclusive(gate: GateReport) -> list[str]:
    """One clause per cause of inconclusive rows."""
    causes: dict[str, list[str]] = {}
    for row in gate.rows:
        if row.verdict == "inconclusive":
            subject = _SUBJECTS.get(row.name, f"`{row.name}`")
            causes.setdefault(row.detail, []).append(subject)
    clauses = [f"{', '.join(subjects)} cannot be evaluated: {cause}" for cause, subjects in causes.items()]
    return [*clauses, *gate.saturation] if clauses else []


def _tested(numbers: Mapping[str, Any], ledger: LedgerView | None) -> Iterator[str]:
    """What was tested, in sentences."""
    tally = ", ".join(f"{count(times)} {verdict}" for verdict, times in numbers["checks"].items() if times)
    if tally:
        yield f"Conformance: {tally}."
    if ledger is not None:
        yield f"Load: {counted(ledger.scheduled, 'stream')}, {count(ledger.failed)} failed."
