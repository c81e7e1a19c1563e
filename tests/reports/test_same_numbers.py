"""Terminal, page, Markdown and JSON count the same things, and say what they count."""

import re
from collections import Counter
from pathlib import Path

import pytest

from harness.ci.markdown import markdown
from harness.ci.outcome import outcome_of
from harness.contract.requirements import CATALOGUE
from harness.gate.evaluate import evaluate
from harness.reports.conformance_section import MEANINGS
from harness.reports.html import write_report
from harness.results.reader import Results
from harness.results.records import RuleResultRecord
from harness.results.summary import summarize
from harness.results.writer import ResultsWriter
from harness.suite.stored_verdicts import stored_checks
from harness.suite.terminal_report import LineWriter, write_summary
from harness.terminal.result_document import verdict_document

from . import samples
from .pagecheck import checked


@pytest.fixture
def failing(path: Path) -> Path:
    """A load and a suite with failures, and two tests for each requirement."""
    samples.failing(path)
    with ResultsWriter(path) as writer:
        writer.add_rule_results(
            RuleResultRecord(
                test=f"{name}-{number}", requirement=name, verdict="pass", detail="", evidence={}
            )
            for name in CATALOGUE
            for number in range(2)
        )
    return path


def test_requirements_are_counted_alike_everywhere(failing: Path, tmp_path: Path) -> None:
    page = checked(write_report(failing, tmp_path / "r.html").read_text(encoding="utf-8"))
    with Results(failing) as results:
        tests = results.tests
        counts = dict(Counter(check.verdict for check in results.checks()))
        outcome = outcome_of(results, evaluate(results, ()), 1)
        summary = summarize(results)
        lines: list[str] = []
        write_summary(LineWriter(lambda line, _: lines.append(line)), stored_checks(results), tests)
    assert tests == 2 * len(CATALOGUE)
    total = sum(counts.values())
    parts = [f"{counts[verdict]} {verdict}" for verdict in summary["checks"] if verdict in counts]
    text = f"{total} requirements: {', '.join(parts)}"
    in_full = f"{text} (decided by {tests} tests)"
    assert in_full in lines
    assert page.text.count(in_full) == 2  # headline and section
    assert text in markdown(outcome)
    document = verdict_document("check", outcome, 1)
    assert document["conformance"]["counts"] == counts
    assert {verdict: count for verdict, count in summary["checks"].items() if count} == counts
    for verdict, meaning in MEANINGS.items():
        assert (f" {counts.get(verdict)} {verdict}: {meaning} " in page.text) is (verdict in counts)
    table = [line.split() for line in lines[2 : lines.index(in_full)]]  # below the title and the head
    numbers = [int(cell) for row in table for cell in row[1:] if cell.isdigit()]
    assert sum(numbers) == total


def test_streams_and_violations_are_counted_alike_everywhere(failing: Path, tmp_path: Path) -> None:
    page = checked(write_report(failing, tmp_path / "r.html").read_text(encoding="utf-8"))
    with Results(failing) as results:
        summary = summarize(results)
        outcome = outcome_of(results, evaluate(results, ()), 1)
        failed = results.failures()
        violations = results.violation_counts()
    scheduled = summary["ledger"]["scheduled"]
    assert f"Load: {scheduled:,} streams scheduled, {failed:,} failed." in page.text
    assert f"{failed:,} streams failed:" in page.text
    assert f"{scheduled:,} streams scheduled under load." in markdown(outcome)
    document = verdict_document("check", outcome, 1)
    assert document["summary"]["ledger"]["scheduled"] == scheduled
    assert {row["requirement"]: row["count"] for row in document["violations"]} == violations
    for requirement, count in violations.items():
        assert f"{count:,} \u00d7 {requirement} " in page.text
        assert re.search(rf"{re.escape(requirement)} {count:,} streams under load", page.text)
