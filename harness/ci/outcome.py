"""The outcome of a test, shared by all CI artifacts, so that what they show as failed agrees with the exit code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from harness.contract.finding import Verdict
from harness.contract.requirements import CATALOGUE, Level
from harness.contract.verdicts import fails
from harness.exit_codes import ABORTED, INTERRUPTED, NOT_TESTED
from harness.gate.comparison import Comparison
from harness.gate.console import format_change_interval, format_interval, format_value
from harness.gate.report import GateReport, GateRow
from harness.results.manifest import target_address
from harness.results.reader import Results
from harness.results.records import CheckRecord, ViolationRecord
from harness.results.summary import summarize

Group = Literal["test", "gate", "baseline", "conformance"]
CaseResult = Literal["passed", "failed", "error", "skipped"]
OutcomeStatus = Literal[
    "passed",
    "failed",
    "inconclusive",
    "not measured",
    "nothing tested",
    "aborted",
    "interrupted",
    "incomplete",
]

CONFORMANCE_ROW = "conformance"
"""The gate's row that sums up the conformance verdicts. Each requirement has a case, so this row has none."""

TEST_CASE = "test completed"

_MAX_LOCATIONS = 2
"""Locations shown per check; the results file contains all."""

_EVIDENCE_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class Case:
    """One test case: the test itself, a gate row, a comparison with the baseline, or a requirement.

    verdict: for example "fail" or "passed". message: one sentence. text: details, on several lines.
    duration_s: None if not timed. warns: not red, but shown as a warning.
    """

    group: Group
    name: str
    result: CaseResult
    verdict: str
    message: str
    text: str = ""
    duration_s: float | None = None
    warns: bool = False

    @property
    def red(self) -> bool:
        """Whether it causes an exit code other than 0."""
        return self.result in ("failed", "error")


@dataclass(frozen=True, slots=True)
class ViolationCount:
    """The violations of a requirement under load: their count and the first example."""

    requirement: str
    count: int
    journey: str
    detail: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a test came to.

    results, report: None if not kept or not written. summary: see harness.results.summary.summarize. problems: the
    reasons for an exit code that differs from the gate's. At least one case is red exactly if `exit_code` is not 0.
    """

    results: Path | None
    report: Path | None
    manifest: Mapping[str, Any]
    summary: Mapping[str, Any]
    gate: GateReport
    checks: tuple[CheckRecord, ...]
    violated: tuple[ViolationCount, ...]
    exit_code: int
    problems: tuple[str, ...]
    cases: tuple[Case, ...]

    @property
    def status(self) -> OutcomeStatus:
        """The overall verdict. "passed" only if the exit code is 0 and the gate passed."""
        if self.exit_code == INTERRUPTED:
            return "interrupted"
        if self.exit_code == ABORTED:
            return "aborted"
        gate = self.gate.outcome
        if self.exit_code == NOT_TESTED and gate != "nothing tested":
            return "incomplete"
        return "failed" if gate == "passed" and self.exit_code else gate

    @property
    def target(self) -> str:
        """The URL under test; empty if unknown."""
        return target_address(self.manifest)

    @property
    def ttft_p95_ms(self) -> float | None:
        """None if not measured, or if the harness was saturated, so that the load was lower than requested."""
        if self.summary["harness"]["saturated"]:
            return None
        value: float | None = self.summary["metrics"]["ttft_ms"]["p95"]
        return value


def outcome_of(
    results: Results,
    gate: GateReport,
    exit_code: int,
    *,
    problems: tuple[str, ...] = (),
    report: Path | None = None,
    strict: bool = False,
    kept: bool = True,
) -> Outcome:
    """The outcome of the test in a results file. Raises ResultsError.

    exit_code: the command's. strict: warnings and inconclusive MUSTs are red too. kept: False if the results file is
    temporary.
    """
    checks = tuple(results.checks())
    violated = tuple(_violated(results))
    cases = [
        *(gate_case(row) for row in gate.rows if row.name != CONFORMANCE_ROW),
        *(
            comparison_case(comparison, unsure=gate.comparisons_inconclusive)
            for comparison in gate.comparisons
        ),
        *_requirement_cases(results, gate, checks, violated, strict=strict),
    ]
    return Outcome(
        results=results.path if kept else None,
        report=report,
        manifest=results.manifest,
        summary=summarize(results),
        gate=gate,
        checks=checks,
        violated=violated,
        exit_code=exit_code,
        problems=problems,
        cases=(test_case(gate, exit_code, problems, cases), *cases),
    )


def test_case(gate: GateReport, exit_code: int, problems: tuple[str, ...], cases: list[Case]) -> Case:
    """The case of the test itself. It is red for every reason that no other case covers."""
    if gate.outcome == "nothing tested":
        problems = (*problems, "nothing was tested")
    if exit_code and not problems and not any(case.red for case in cases):
        problems = (f"the command ended with exit code {exit_code}",)
    if exit_code and problems:
        return Case("test", TEST_CASE, "error", "incomplete", "; ".join(problems))
    if gate.saturation:
        message = f"the harness was saturated: {'; '.join(gate.saturation)}"
        return Case("test", TEST_CASE, "passed", "saturated", message, warns=True)
    return Case("test", TEST_CASE, "passed", "completed", "the test ran to its end")


def gate_case(row: GateRow) -> Case:
    """The case of a row of the gate."""
    limit = f"limit: {'at least' if row.at_least else 'at most'} {format_value(row.name, row.limit)}"
    message = f"{row.name} is {format_value(row.name, row.value)}; {limit}"
    if row.value is None:
        message = f"{row.name} was not measured; {limit}"
    elif row.interval is not None:
        message += f" (95% interval: {format_interval(row)})"
    if row.detail:
        message += f": {row.detail}"
    result: CaseResult = row.verdict if row.verdict in ("passed", "failed") else "error"
    return Case("gate", row.name, result, row.verdict, message)


def comparison_case(comparison: Comparison, *, unsure: bool) -> Case:
    """The case of a comparison. unsure: whether inconclusive comparisons make the gate inconclusive."""
    key, verdict = comparison.key, comparison.verdict
    now, before = format_value(key, comparison.value), format_value(key, comparison.baseline)
    message = f"{key} is {now}, and was {before} in the baseline"
    if comparison.low is not None and comparison.high is not None:
        message += f": changed by {format_change_interval(comparison)}"
    if comparison.detail:
        message += f"; {comparison.detail}"
    results: dict[str, CaseResult] = {"worse": "failed", "inconclusive": "error" if unsure else "skipped"}
    result = results.get(verdict, "passed")
    return Case("baseline", key, result, verdict, message, warns=result == "skipped")


def _violated(results: Results) -> Iterator[ViolationCount]:
    counts = {name: count for name, count in results.violation_counts().items() if count}
    examples: dict[str, ViolationRecord] = {}
    for example in results.violations():
        examples.setdefault(example.requirement, example)
    for name in sorted(counts):
        first = examples.get(name)
        yield ViolationCount(
            name,
            counts[name],
            first.journey if first else "",
            first.detail if first else "no example was stored",
        )


def _requirement_cases(
    results: Results,
    gate: GateReport,
    checks: tuple[CheckRecord, ...],
    violated: tuple[ViolationCount, ...],
    *,
    strict: bool,
) -> Iterator[Case]:
    """One case per requirement that the suite checked or that was violated under load."""
    under_load = {violations.requirement: violations for violations in violated}
    missed = any(row.name.rpartition(".")[2] == "violations" and row.verdict == "failed" for row in gate.rows)
    for check in checks:
        case = requirement_case(results, check, strict=strict)
        violations = under_load.pop(check.id, None)
        yield case if violations is None else _with_violations(case, violations, missed=missed)
    for violations in under_load.values():
        row = CATALOGUE.get(violations.requirement)
        case = Case("conformance", violations.requirement, "passed", "violated", row.text if row else "")
        yield _with_violations(case, violations, missed=missed)


def requirement_case(results: Results, check: CheckRecord, *, strict: bool = False) -> Case:
    """The case of a requirement that the suite checked. strict: see `outcome_of`."""
    row = CATALOGUE.get(check.id)
    verdict, level = Verdict(check.verdict), Level(check.level)
    # A requirement without a test in this run was deselected by the user, so it gives no warning.
    result: CaseResult = "passed" if verdict is Verdict.PASS else "skipped"
    if fails(verdict, level, strict=strict and check.tested):
        result = "failed" if verdict in (Verdict.FAIL, Verdict.WARN) else "error"
    lines = [f"{check.level}: {row.text}" if row else check.level]
    if row:
        lines += [f"Why: {row.why}", f"How to fix it: {row.fix}", f"Source: {row.source}"]
    if result != "passed":
        lines += _evidence(results, check)
    return Case(
        group="conformance",
        name=check.id,
        result=result,
        verdict=check.verdict,
        message=check.detail or str(verdict),
        text="\n".join(lines),
        duration_s=check.duration_s,
        warns=result == "skipped"
        and check.tested
        and verdict in (Verdict.WARN, Verdict.INCONCLUSIVE, Verdict.KNOWN),
    )


def _with_violations(case: Case, violations: ViolationCount, *, missed: bool) -> Case:
    """The case of a requirement, with its violations under load.

    missed: whether the gate missed an objective on violations. If not, they are allowed, and the case only warns.
    """
    times = "once" if violations.count == 1 else f"{violations.count} times"
    message = (
        f"violated {times} under load, first in {violations.journey or 'a journey'}: {violations.detail}"
    )
    if case.red:
        return replace(case, message=f"{case.message}; {message}")
    if case.result != "passed":
        message = f"{message}; in the suite {case.verdict}: {case.message}"
    if missed:
        return replace(case, result="failed", verdict="violated", message=message, warns=False)
    return replace(case, result="skipped", verdict="violated", message=message, warns=True)


def _evidence(results: Results, check: CheckRecord) -> Iterator[str]:
    """The first locations of a verdict, each with the curl command that repeats its request."""
    for place in check.evidence[:_MAX_LOCATIONS]:
        if not place.get("exchange"):
            continue
        row = results.exchange(place["exchange"])
        document = row.document
        yield ""
        yield f"{row.scenario}/{row.label}: status {document.get('status')}, {document.get('ending')}"
        for event in document.get("events", ()):
            if event.get("index") == place.get("event"):
                yield _shorten(f"event {event['index']} at {event['at_ms']:.1f} ms: {event.get('data')}")
        if place.get("note"):
            yield _shorten(str(place["note"]))
        yield _shorten(str(document.get("curl", "")))


def _shorten(text: str) -> str:
    return text if len(text) <= _EVIDENCE_CHARS else f"{text[:_EVIDENCE_CHARS]}… ({len(text)} characters)"
