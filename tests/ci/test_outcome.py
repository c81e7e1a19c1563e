"""The cases and the overall verdict agree with the exit code."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from harness.ci.outcome import TEST_CASE, Case, outcome_of
from harness.gate.comparison import Comparison
from harness.gate.report import GateReport, GateRow
from harness.results.reader import Results
from tests.ci.samples import check, sample_outcome

OBJECTIVES = {"ttft_p95_ms": 800, "error_rate": 0.1, "violations": 0}


def case(outcome, name: str) -> Case:
    (one,) = [case for case in outcome.cases if case.name == name]
    return one


def test_a_passed_test(tmp_path: Path) -> None:
    outcome = sample_outcome(
        tmp_path, checks=[check("framing.utf8", "pass")], ttft_ms=[100] * 50, objectives=OBJECTIVES
    )
    assert outcome.status == "passed"
    assert outcome.target == "https://agent.example.com/agent/workflow-actions"
    assert outcome.ttft_p95_ms == pytest.approx(100, rel=0.02)
    assert {(case.group, case.name, case.result) for case in outcome.cases} == {
        ("test", TEST_CASE, "passed"),
        ("gate", "ttft_p95_ms", "passed"),
        ("gate", "error_rate", "passed"),
        ("gate", "violations", "passed"),
        ("gate", "ledger", "passed"),
        ("conformance", "framing.utf8", "passed"),
    }


def test_each_verdict_has_one_result(tmp_path: Path) -> None:
    verdicts = {
        "framing.utf8": ("fail", "failed", False),
        "framing.bom": ("error", "error", False),
        "framing.blank-line": ("stale", "error", False),
        "headers.no-cache": ("warn", "skipped", True),
        "ids.unique": ("known", "skipped", True),
        "terminal.exactly-one": ("inconclusive", "skipped", True),
        "resume.start": ("info", "skipped", False),
        "headers.incremental": ("not applicable", "skipped", False),
        "headers.charset": ("pass", "passed", False),
    }
    outcome = sample_outcome(
        tmp_path, checks=[check(name, verdict) for name, (verdict, *_) in verdicts.items()]
    )
    assert outcome.exit_code == 1
    for name, (verdict, result, warns) in verdicts.items():
        one = case(outcome, name)
        assert (one.verdict, one.result, one.warns) == (verdict, result, warns), name


def test_under_strict_a_warning_and_an_undecided_must_are_red(tmp_path: Path) -> None:
    checks = [
        check("headers.no-cache", "warn"),
        check("terminal.exactly-one", "inconclusive"),
        check("framing.utf8", "inconclusive", "not tested", duration_s=0.0),
    ]
    outcome = sample_outcome(tmp_path, checks=checks, strict=True, exit_code=1)
    assert case(outcome, "headers.no-cache").result == "failed"
    assert case(outcome, "terminal.exactly-one").result == "error"
    assert case(outcome, "framing.utf8").result == "skipped"
    assert not case(outcome, "framing.utf8").warns
    assert outcome.gate.outcome == "passed"
    assert outcome.status == "failed"


def test_a_failure_shows_the_requirement_and_its_location(tmp_path: Path) -> None:
    place = {"exchange": "cut/run", "event": 2, "note": "here"}
    outcome = sample_outcome(
        tmp_path, checks=[check("framing.utf8", "fail", "a lone 0x80", evidence=[place] * 5)]
    )
    lines = case(outcome, "framing.utf8").text.splitlines()
    assert lines[0].startswith("MUST: The stream is strict UTF-8")
    assert lines.count("cut/run: status 200, complete") == 2
    assert 'event 2 at 81.2 ms: {"type": "done"}' in lines
    assert "curl -N https://agent.example.com/agent/workflow-actions" in lines


@pytest.mark.parametrize(
    ("row", "result"),
    [
        (GateRow("ttft_p95_ms", 900.0, 800.0, "failed"), "failed"),
        (GateRow("ttft_p95_ms", 700.0, 800.0, "passed"), "passed"),
        (GateRow("ttft_p95_ms", 700.0, 800.0, "inconclusive", "the harness was saturated"), "error"),
        (GateRow("ttft_p95_ms", None, 800.0, "not measured"), "error"),
    ],
)
def test_a_row_of_the_gate(tmp_path: Path, row: GateRow, result: str) -> None:
    gate = GateReport((row,), (), tested=True)
    sample_outcome(tmp_path, ttft_ms=[1.0])
    with Results(tmp_path / "results.sqlite") as results:
        outcome = outcome_of(results, gate, gate.exit_code)
    one = case(outcome, "ttft_p95_ms")
    assert one.result == result
    assert "at most 800.00 ms" in one.message
    assert row.detail in one.message


@pytest.mark.parametrize(
    ("verdict", "result", "warns"),
    [
        ("better", "passed", False),
        ("same", "passed", False),
        ("worse", "failed", False),
        ("inconclusive", "skipped", True),
    ],
)
def test_a_comparison_with_the_baseline(tmp_path: Path, verdict, result: str, warns: bool) -> None:
    row = Comparison("ttft_p50_ms", 220.0, 200.0, 0.1, 0.08, 0.123, verdict)
    gate = GateReport((), (row,), tested=True)
    one = of_gate(tmp_path, gate, "ttft_p50_ms")
    assert (one.result, one.warns) == (result, warns)
    assert "+8.0% to +12.3%" in one.message


@pytest.mark.parametrize("strictly", [False, True])
def test_inconclusive_comparisons_fail_when_the_gate_does(tmp_path: Path, strictly: bool) -> None:
    unknown = Comparison("ttft_p50_ms", 220.0, 200.0, 0.1, None, None, "inconclusive", "too few")
    known = replace(unknown, key="ttft_p95_ms", low=-0.01, high=0.01, verdict="same")
    alone = GateReport((), (unknown,), tested=True)
    assert of_gate(tmp_path, alone, "ttft_p50_ms").result == "error"
    among = GateReport((), (unknown, known), tested=True, inconclusive_fails=strictly)
    one = of_gate(tmp_path, among, "ttft_p50_ms")
    assert (one.result, one.warns) == (("error", False) if strictly else ("skipped", True))


def of_gate(folder: Path, gate: GateReport, name: str) -> Case:
    """A case of a passed test with this gate. Some case must be red exactly if the gate fails."""
    sample_outcome(folder, ttft_ms=[1.0])
    with Results(folder / "results.sqlite") as results:
        outcome = outcome_of(results, gate, gate.exit_code)
    assert any(one.red for one in outcome.cases) == (gate.exit_code != 0)
    return case(outcome, name)


def test_violations_under_load_are_red_where_the_gate_missed_them(tmp_path: Path) -> None:
    checks = [check("framing.utf8", "pass"), check("ids.unique", "pass")]
    outcome = sample_outcome(
        tmp_path,
        checks=checks,
        ttft_ms=[1.0],
        violated={"framing.utf8": ["first", "second"], "ids.strictly-increase": ["only"]},
        objectives={"violations": 0},
    )
    assert case(outcome, "framing.utf8").result == "failed"
    assert case(outcome, "framing.utf8").message == "violated 2 times under load, first in fresh: first"
    assert case(outcome, "ids.strictly-increase").result == "failed"
    assert case(outcome, "ids.unique").result == "passed"


def test_violations_under_load_that_are_allowed_are_a_warning(tmp_path: Path) -> None:
    outcome = sample_outcome(
        tmp_path,
        checks=[check("framing.utf8", "pass")],
        ttft_ms=[1.0],
        violated={"framing.utf8": ["first"]},
        objectives={"violations": 5},
    )
    one = case(outcome, "framing.utf8")
    assert (outcome.status, one.result, one.warns, one.verdict) == ("passed", "skipped", True, "violated")
    assert one.message == "violated once under load, first in fresh: first"


def test_a_failure_in_suite_and_load_mentions_both(tmp_path: Path) -> None:
    outcome = sample_outcome(
        tmp_path,
        checks=[check("framing.utf8", "fail", "in the suite")],
        ttft_ms=[1.0],
        violated={"framing.utf8": ["under load"]},
    )
    assert "in the suite; violated once under load" in case(outcome, "framing.utf8").message


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({}, "passed"),
        ({"objectives": {"ttft_p50_ms": 1}}, "failed"),
        ({"objectives": {"resume_p50_ms": 1}}, "not measured"),
        ({"objectives": {"ttft_p50_ms": 1}, "lag_ms": 500.0}, "inconclusive"),
        ({"exit_code": 130, "problems": ("interrupted",)}, "interrupted"),
        ({"exit_code": 3, "problems": ("the load was aborted",)}, "aborted"),
        ({"exit_code": 2, "problems": ("a part could not be done",)}, "incomplete"),
        ({"exit_code": 1, "problems": ("the load was killed",)}, "failed"),
    ],
)
def test_the_overall_verdict(tmp_path: Path, given: dict, status: str) -> None:
    outcome = sample_outcome(tmp_path, ttft_ms=[100.0] * 20, **given)
    assert outcome.status == status
    assert any(case.red for case in outcome.cases) is (status != "passed")


def test_nothing_tested_does_not_pass(tmp_path: Path) -> None:
    outcome = sample_outcome(tmp_path)
    assert (outcome.exit_code, outcome.status) == (2, "nothing tested")
    assert case(outcome, TEST_CASE).result == "error"
    assert "nothing was tested" in case(outcome, TEST_CASE).message


def test_latencies_of_a_saturated_harness_are_not_reported_as_the_servers(tmp_path: Path) -> None:
    outcome = sample_outcome(tmp_path, ttft_ms=[100.0], lag_ms=500.0)
    assert outcome.status == "inconclusive"
    assert outcome.ttft_p95_ms is None
    assert case(outcome, TEST_CASE).warns
    assert "behind its schedule" in case(outcome, TEST_CASE).message


def test_a_case_is_red_exactly_if_the_exit_code_is_not_0(tmp_path: Path) -> None:
    verdicts = ("pass", "fail", "warn", "inconclusive", "error", "known", "stale")
    seen = set()
    for verdict, limit, violated, allowed in product(verdicts, (1, 200), (0, 1), (0, 5)):
        outcome = sample_outcome(
            tmp_path,
            checks=[check("framing.utf8", verdict)],
            ttft_ms=[100.0],
            violated={"framing.utf8": ["x"]} if violated else {},
            objectives={"ttft_p50_ms": limit, "violations": allowed},
        )
        assert any(case.red for case in outcome.cases) == (outcome.exit_code != 0)
        assert (outcome.status == "passed") == (outcome.exit_code == 0)
        seen.add(outcome.exit_code)
    assert seen == {0, 1}


def test_an_unexplained_exit_code_fails_the_test_case(tmp_path: Path) -> None:
    outcome = sample_outcome(tmp_path, ttft_ms=[100.0], exit_code=1)
    assert case(outcome, TEST_CASE).result == "error"
    assert "exit code 1" in case(outcome, TEST_CASE).message
    assert replace(outcome, exit_code=0).status == "passed"
