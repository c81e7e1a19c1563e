"""The headline of a page: the verdict, the reasons for it, and its limitations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.contract.requirements import CATALOGUE
from harness.gate.console import compared_tests
from harness.gate.report import GateReport, GateRow
from harness.reports.baseline_section import NO_BASELINE
from harness.reports.comparison_sentences import changes_sentence
from harness.reports.harness_error_section import HarnessErrorView
from harness.reports.load_section import REASON_LIMIT, LedgerView
from harness.reports.objectives_section import limit_text, value_text
from harness.results.breakage import SHOWN, Breakage, breakages
from harness.results.reader import Results
from harness.results.records import tally

from .text import agree, bounded, count, counted, visible

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
    "saturated": "the load",
    "harness": "the load",
    "restart": "the restart",
    "conformance": "conformance",
}
"""What a built-in row of the gate is about."""


@dataclass(frozen=True, slots=True)
class BreakageView:
    """One thing that broke. anchor: where the page has more about it. text: of the requirement; empty for an ending."""

    name: str
    is_requirement: bool
    text: str
    counts: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Headline:
    """The verdict. tone: "good", "bad", "warn" or "none". summary: the reasons. notes: limitations.

    tested: what was tested, in sentences. broken: what broke most often, under the title broken_title. more: a sentence
    about the rest of what broke.
    """

    tone: str
    title: str
    summary: str
    notes: tuple[str, ...]
    tested: tuple[str, ...] = ()
    broken: tuple[BreakageView, ...] = ()
    broken_title: str = ""
    more: str = ""


def headline(
    gate: GateReport,
    results: Results,
    ledger: LedgerView | None,
    harness_error: HarnessErrorView,
) -> Headline:
    """The headline of one test's page. Raises ResultsError."""
    title, tone = _TITLES[gate.outcome]
    dropped = results.ledger()["dropped"]
    notes = tuple(_notes(results.manifest, dropped, saturated=harness_error.saturated))
    if notes and gate.outcome == "passed":
        title, tone = f"{title} with reservations", "warn"
    broken = breakages(results)
    return Headline(
        tone,
        title,
        _reasons(gate, has_load=ledger is not None),
        notes,
        tuple(_tested(results, ledger)),
        tuple(_broken(results, broken[:SHOWN])),
        _broken_title(broken, passed=gate.outcome == "passed"),
        _more(broken),
    )


def _broken_title(broken: Sequence[Breakage], *, passed: bool) -> str:
    if not broken:
        return ""
    what = "What failed within the limits" if passed else "What broke"
    return f"{what}, most often" if len(broken) > SHOWN else what


def _broken(results: Results, broken: Iterable[Breakage]) -> Iterator[BreakageView]:
    checked = {check.id for check in results.checks() if check.tested}
    for breakage in broken:
        known = CATALOGUE.get(breakage.name) if breakage.is_requirement else None
        anchor = "violations" if breakage.is_requirement else "ledger"
        yield BreakageView(
            bounded(visible(breakage.name), REASON_LIMIT),
            breakage.is_requirement,
            known.text if known else "",
            breakage.counts,
            # The anchor of a check is its id if the catalogue has it.
            breakage.name if known and breakage.name in checked else anchor,
        )


def _more(broken: Sequence[Breakage]) -> str:
    rest = broken[SHOWN:]
    requirements = sum(breakage.is_requirement for breakage in rest)
    endings = len(rest) - requirements
    parts = [counted(requirements, "more requirement")] if requirements else []
    parts += (
        [counted(endings, "more reason", "more reasons") + " for which streams failed"] if endings else []
    )
    return f"And {' and '.join(parts)}, below." if parts else ""


def _notes(manifest: Mapping[str, Any], dropped: int, *, saturated: bool) -> Iterator[str]:
    state = manifest.get("state")
    if state == "interrupted":
        yield "The test was interrupted. This report covers the part before the interruption."
    elif state == "aborted":
        reason = str(manifest.get("load_aborted") or "the load was aborted")
        yield f"{reason[:1].upper()}{reason[1:]}. This report covers the part before that."
    elif state != "finished":
        yield (
            "The results file does not record an end: the test is still running or was killed. This report covers "
            "what was recorded."
        )
    if dropped:
        yield f"{_dropped(dropped)}, so the load was lower than requested."
    if saturated:
        yield "The harness was saturated, so the load was lower than requested."


def _dropped(dropped: int) -> str:
    return f"{counted(dropped, 'arrival')} {agree(dropped, 'was', 'were')} dropped"


def _reasons(gate: GateReport, *, has_load: bool) -> str:
    if gate.outcome == "nothing tested":
        return (
            "No check reached a verdict about the server and no request started a run, so this report says nothing "
            "about the server."
        )
    missed = [row for row in gate.rows if row.verdict not in ("passed", "inconclusive")]
    # A server that breaks a requirement comes first: its latencies may be those of a broken stream.
    clauses = [_missed(row) for row in sorted(missed, key=lambda row: row.name != "conformance")]
    worse = changes_sentence(gate.comparisons, "worse")
    clauses += [f"worse than the baseline: {worse}"] if worse else []
    clauses += _inconclusive(gate)
    if gate.comparisons_inconclusive:
        clauses.append("the comparison with the baseline is inconclusive")
    if clauses:
        sentence = bounded("; ".join(clauses), REASONS_LIMIT)
        return f"{sentence[0].upper()}{sentence[1:]}."
    return " ".join(_all_met(gate, has_load=has_load))


def _all_met(gate: GateReport, *, has_load: bool) -> Iterator[str]:
    """What passed, in sentences."""
    rows = len(gate.rows)
    if not has_load and [row.name for row in gate.rows] == ["conformance"]:
        yield "No requirement failed."
    elif rows:
        yield f"{'The only limit was' if rows == 1 else f'All {rows} limits were'} met."
    if gate.comparisons:
        yield f"Nothing is worse than the baseline ({compared_tests(gate.comparisons)})."
    elif has_load:
        yield NO_BASELINE


def _missed(row: GateRow) -> str:
    """Why a row failed or was not measured, as a clause."""
    if row.verdict == "not measured":
        return row.detail or f"`{row.name}` was not measured"
    if row.name == "conformance":
        names = [_check_name(name) for name in row.detail.split(", ")]
        rest = len(names) - SHOWN
        return f"conformance failed in {', '.join(names[:SHOWN])}{f' and {rest} more' if rest > 0 else ''}"
    if row.name == "ledger":
        return f"the ledger does not add up: {row.detail}"
    side = "below" if row.at_least else "above"
    return f"`{row.name}` is {value_text(row.name, row.value)}, {side} its limit of {limit_text(row)}"


def _check_name(name: str) -> str:
    """A check of the gate's row as code, with its verdict unless that is a plain "fail"."""
    requirement, _, verdict = name.partition(" ")
    return f"`{requirement}`" if verdict == "(fail)" else f"`{requirement}` {verdict}"


def _inconclusive(gate: GateReport) -> list[str]:
    """One clause per cause of inconclusive rows."""
    causes: dict[str, list[str]] = {}
    for row in gate.rows:
        if row.verdict == "inconclusive":
            subject = _SUBJECTS.get(row.name, f"`{row.name}`")
            causes.setdefault(row.detail, []).append(subject)
    return [f"{', '.join(subjects)} cannot be evaluated: {cause}" for cause, subjects in causes.items()]


def _tested(results: Results, ledger: LedgerView | None) -> Iterator[str]:
    """What was tested, in sentences, each with what it counts."""
    checks = [check for check in results.checks() if check.tested]
    if checks:
        yield f"Conformance: {tally((check.verdict for check in checks), results.tests)}."
    if ledger is not None:
        yield f"Load: {counted(ledger.scheduled, 'stream')} scheduled, {count(ledger.failed)} failed."
