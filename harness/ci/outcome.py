"""One account of a test for everything that a CI shows: what each artifact says is red is what the exit code says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from harness.contract.finding import Verdict
from harness.contract.requirements import CATALOGUE, Level
from harness.contract.verdicts import fails
from harness.exit_codes import INTERRUPTED
from harness.gate.comparison import Comparison
from harness.gate.console import change_said, interval_said, quantity
from harness.gate.report import GateReport, GateRow
from harness.results import metrics
from harness.results.manifest import target_address
from harness.results.reader import Results
from harness.results.records import CheckRecord, ViolationRecord

Group = Literal["test", "gate", "baseline", "conformance"]
CaseResult = Literal["passed", "failed", "error", "skipped"]
Word = Literal[
    "passed", "failed", "inconclusive", "not measured", "nothing tested", "interrupted", "incomplete"
]

CONFORMANCE_ROW = "conformance"
"""The gate's row for all conformance verdicts; their requirements are cases of their own."""

TEST_CASE = "the test was carried out"

_UNTESTED = 2
_PLACES = 2
"""So many of a check's places are shown; the results file has all."""

_PROOF_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that was decided, or was to be.

    word: the verdict in its own words, "fail" or "passed". message: one sentence. text: what more there is to say,
    in lines. duration_s: None where nothing was timed. warns: it is not red, and yet somebody should look.
    """

    group: Group
    name: str
    result: CaseResult
    word: str
    message: str
    text: str = ""
    duration_s: float | None = None
    warns: bool = False

    @property
    def red(self) -> bool:
        """Whether it is among the reasons for an exit code other than 0."""
        return self.result in ("failed", "error")


@dataclass(frozen=True, slots=True)
class ViolationCount:
    """A requirement that streams under load violated: how often, and the first example."""

    requirement: str
    count: int
    journey: str
    detail: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """A test as a CI is told of it.

    results, report: None when they were not kept, or not made. numbers: harness.results.metrics.summary.
    problems: what made the exit code other than the gate would. A case of `cases` is red exactly if `exit_code` is
    not 0.
    """

    results: Path | None
    report: Path | None
    manifest: Mapping[str, Any]
    numbers: Mapping[str, Any]
    gate: GateReport
    checks: tuple[CheckRecord, ...]
    violated: tuple[ViolationCount, ...]
    exit_code: int
    problems: tuple[str, ...]
    cases: tuple[Case, ...]

    @property
    def status(self) -> Word:
        """The whole in a word. "passed" only with the exit code 0 and a gate that held."""
        if self.exit_code == INTERRUPTED:
            return "interrupted"
        outcome = self.gate.outcome
        if self.exit_code == _UNTESTED and outcome != "nothing tested":
            return "incomplete"
        if outcome == "passed":
            return "failed" if self.exit_code else "passed"
        return "failed" if outcome == "failed" else outcome

    @property
    def target(self) -> str:
        """The URL that was tested; empty where the file does not say."""
        return target_address(self.manifest)

    @property
    def ttft_p95_ms(self) -> float | None:
        """None also where the harness was saturated: then the number is not the server's."""
        if self.numbers["harness"]["saturated"]:
            return None
        value: float | None = self.numbers["metrics"]["ttft_ms"]["p95"]
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
    """The account of a results file. Raises ResultsError.

    gate: how it stands to its objectives. exit_code: the command's. strict: warnings and inconclusive MUSTs are
    red too, as under --strict. kept: whether the results file stays where it is.
    """
    checks = tuple(results.checks())
    violated = tuple(_violated(results))
    cases = [
        *(_gate_case(row) for row in gate.rows if row.name != CONFORMANCE_ROW),
        *(_comparison_case(one, unsure=gate.unsure) for one in gate.comparisons),
        *_requirement_cases(results, gate, checks, violated, strict=strict),
    ]
    return Outcome(
        results=results.path if kept else None,
        report=report,
        manifest=results.manifest,
        numbers=metrics.summary(results),
        gate=gate,
        checks=checks,
        violated=violated,
        exit_code=exit_code,
        problems=problems,
        cases=(_test_case(gate, exit_code, problems, cases), *cases),
    )


def _test_case(gate: GateReport, exit_code: int, problems: tuple[str, ...], cases: list[Case]) -> Case:
    """Whether the test was done at all. It is red for every reason that no other case gives."""
    if gate.outcome == "nothing tested":
        problems = (*problems, "nothing was tested")
    if exit_code and not problems and not any(case.red for case in cases):
        problems = (f"the command ended with exit code {exit_code}",)
    if exit_code and problems:
        return Case("test", TEST_CASE, "error", "not carried out", "; ".join(problems))
    if gate.saturation:
        said = f"latencies are not the server's alone, as the harness was saturated: {'; '.join(gate.saturation)}"
        return Case("test", TEST_CASE, "passed", "saturated", said, warns=True)
    return Case("test", TEST_CASE, "passed", "carried out", "to its end")


def _gate_case(row: GateRow) -> Case:
    limit = f"{'at least' if row.at_least else 'at most'} {quantity(row.name, row.limit)}"
    said = f"{row.name} is {quantity(row.name, row.value)}, to be {limit}"
    if row.value is None:
        said = f"{row.name} was not measured, to be {limit}"
    elif row.interval is not None:
        said = f"{said} (95% interval: {interval_said(row)})"
    message = f"{said}: {row.detail}" if row.detail else said
    results: dict[str, CaseResult] = {"passed": "passed", "failed": "failed"}
    return Case("gate", row.name, results.get(row.verdict, "error"), row.verdict, message)


def _comparison_case(comparison: Comparison, *, unsure: bool) -> Case:
    """unsure: whether the gate holds it against a test that comparisons are inconclusive."""
    key, verdict = comparison.key, comparison.verdict
    now, before = quantity(key, comparison.value), quantity(key, comparison.baseline)
    message = f"{key} is {now}, and was {before} in the baseline"
    if comparison.low is not None and comparison.high is not None:
        low, high = (change_said(comparison, end) for end in (comparison.low, comparison.high))
        message += f": a difference of {low} to {high}"
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
            first.detail if first else "no example was kept",
        )


def _requirement_cases(
    results: Results,
    gate: GateReport,
    checks: tuple[CheckRecord, ...],
    violated: tuple[ViolationCount, ...],
    *,
    strict: bool,
) -> Iterator[Case]:
    """One for each requirement, whether the suite or the load decided it."""
    under_load = {one.requirement: one for one in violated}
    missed = any(row.name.rpartition(".")[2] == "violations" and row.verdict == "failed" for row in gate.rows)
    for check in checks:
        case = _check_case(results, check, strict=strict)
        found = under_load.pop(check.id, None)
        yield case if found is None else _with_load(case, found, missed=missed)
    for found in under_load.values():
        row = CATALOGUE.get(found.requirement)
        case = Case("conformance", found.requirement, "passed", "violated", row.text if row else "")
        yield _with_load(case, found, missed=missed)


def _check_case(results: Results, check: CheckRecord, *, strict: bool) -> Case:
    row = CATALOGUE.get(check.id)
    verdict, level = Verdict(check.verdict), Level(check.level)
    # A requirement that no check was run of is not decided by choice; there is nothing to look at.
    untested = verdict is Verdict.INCONCLUSIVE and not check.duration_s
    result: CaseResult = "passed" if verdict is Verdict.PASS else "skipped"
    if fails(verdict, level, strict=strict and not untested):
        result = "failed" if verdict in (Verdict.FAIL, Verdict.WARN) else "error"
    said = check.detail or str(verdict)
    lines = (
        [f"{check.level}: {row.text}", f"Why: {row.why}", f"Source: {row.source}"] if row else [check.level]
    )
    if result != "passed":
        lines += _proof(results, check)
    return Case(
        group="conformance",
        name=check.id,
        result=result,
        word=check.verdict,
        message=said,
        text="\n".join(lines),
        duration_s=check.duration_s,
        warns=result == "skipped"
        and not untested
        and verdict in (Verdict.WARN, Verdict.INCONCLUSIVE, Verdict.KNOWN),
    )


def _with_load(case: Case, found: ViolationCount, *, missed: bool) -> Case:
    """The case of a requirement that streams under load violated.

    missed: the gate was held to violations, and missed. Otherwise they are allowed, and a word of warning.
    """
    times = "once" if found.count == 1 else f"{found.count} times"
    said = f"violated {times} under load, first in {found.journey or 'a journey'}: {found.detail}"
    if case.red:
        return replace(case, message=f"{case.message}; {said}")
    message = said if case.result == "passed" else f"{said}; in the suite {case.word}: {case.message}"
    if missed:
        return replace(case, result="failed", word="violated", message=message, warns=False)
    return replace(case, result="skipped", word="violated", message=message, warns=True)


def _proof(results: Results, check: CheckRecord) -> Iterator[str]:
    """The first places that a verdict points at, and the commands that repeat them."""
    for place in check.evidence[:_PLACES]:
        if not place.get("exchange"):
            continue
        row = results.exchange(place["exchange"])
        document = row.document
        yield ""
        yield f"{row.scenario}/{row.label}: status {document.get('status')}, {document.get('ending')}"
        for event in document.get("events", ()):
            if event.get("index") == place.get("event"):
                yield _bounded(f"event {event['index']} at {event['at_ms']:.1f} ms: {event.get('data')}")
        if place.get("note"):
            yield _bounded(str(place["note"]))
        yield _bounded(str(document.get("curl", "")))


def _bounded(text: str) -> str:
    return text if len(text) <= _PROOF_CHARS else f"{text[:_PROOF_CHARS]}… ({len(text)} characters)"
