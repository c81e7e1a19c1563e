"""What is red, and what the whole is called: the same in every artifact as in the exit code."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from harness.ci.outcome import TEST_CASE, Case, outcome_of
from harness.gate.comparison import Comparison
from harness.gate.report import GateReport, GateRow
from harness.results.reader import Results
from tests.ci.samples import account, check

OBJECTIVES = {"ttft_p95_ms": 800, "error_rate": 0.1, "violations": 0}


def case(found, name: str) -> Case:
    (one,) = [case for case in found.cases if case.name == name]
    return one


def test_a_test_that_held(tmp_path: Path) -> None:
    found = account(
        tmp_path, checks=[check("framing.utf8", "pass")], ttft_ms=[100] * 50, objectives=OBJECTIVES
    )
    assert found.status == "passed"
    assert found.target == "https://agent.example.com/agent/workflow-actions"
    assert found.ttft_p95_ms == pytest.approx(100, rel=0.02)
    assert {(case.group, case.name, case.result) for case in found.cases} == {
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
    found = account(tmp_path, checks=[check(name, verdict) for name, (verdict, *_) in verdicts.items()])
    assert found.exit_code == 1
    for name, (verdict, result, warns) in verdicts.items():
        one = case(found, name)
        assert (one.word, one.result, one.warns) == (verdict, result, warns), name


def test_under_strict_a_warning_and_an_undecided_must_are_red(tmp_path: Path) -> None:
    checks = [
        check("headers.no-cache", "warn"),
        check("terminal.exactly-one", "inconclusive"),
        check("framing.utf8", "inconclusive", "no check of it was run", duration_s=0.0),
    ]
    found = account(tmp_path, checks=checks, strict=True, exit_code=1)
    assert case(found, "headers.no-cache").result == "failed"
    assert case(found, "terminal.exactly-one").result == "error"
    assert case(found, "framing.utf8").result == "skipped"
    assert not case(found, "framing.utf8").warns
    assert found.gate.outcome == "passed"
    assert found.status == "failed"


def test_a_failure_shows_the_rule_and_where_it_was_broken(tmp_path: Path) -> None:
    place = {"exchange": "cut/run", "event": 2, "note": "here"}
    found = account(tmp_path, checks=[check("framing.utf8", "fail", "a lone 0x80", evidence=[place] * 5)])
    lines = case(found, "framing.utf8").text.splitlines()
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
    account(tmp_path, ttft_ms=[1.0])
    with Results(tmp_path / "results.sqlite") as results:
        found = outcome_of(results, gate, gate.exit_code)
    one = case(found, "ttft_p95_ms")
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
def test_comparisons_that_can_tell_nothing_are_red_where_the_gate_is(tmp_path: Path, strictly: bool) -> None:
    unknown = Comparison("ttft_p50_ms", 220.0, 200.0, 0.1, None, None, "inconclusive", "too few")
    known = replace(unknown, key="ttft_p95_ms", low=-0.01, high=0.01, verdict="same")
    alone = GateReport((), (unknown,), tested=True)
    assert of_gate(tmp_path, alone, "ttft_p50_ms").result == "error"
    among = GateReport((), (unknown, known), tested=True, inconclusive_fails=strictly)
    one = of_gate(tmp_path, among, "ttft_p50_ms")
    assert (one.result, one.warns) == (("error", False) if strictly else ("skipped", True))


def of_gate(folder: Path, gate: GateReport, name: str) -> Case:
    """The case of that name in an account of a green test with that gate; red exactly if the gate is."""
    account(folder, ttft_ms=[1.0])
    with Results(folder / "results.sqlite") as results:
        found = outcome_of(results, gate, gate.exit_code)
    assert any(one.red for one in found.cases) == (gate.exit_code != 0)
    return case(found, name)


def test_violations_under_load_are_red_where_the_gate_missed_them(tmp_path: Path) -> None:
    checks = [check("framing.utf8", "pass"), check("ids.unique", "pass")]
    found = account(
        tmp_path,
        checks=checks,
        ttft_ms=[1.0],
        violated={"framing.utf8": ["first", "second"], "ids.strictly-increase": ["only"]},
        objectives={"violations": 0},
    )
    assert case(found, "framing.utf8").result == "failed"
    assert case(found, "framing.utf8").message == "violated 2 times under load, first in fresh: first"
    assert case(found, "ids.strictly-increase").result == "failed"
    assert case(found, "ids.unique").result == "passed"


def test_violations_under_load_that_are_allowed_are_a_warning(tmp_path: Path) -> None:
    found = account(
        tmp_path,
        checks=[check("framing.utf8", "pass")],
        ttft_ms=[1.0],
        violated={"framing.utf8": ["first"]},
        objectives={"violations": 5},
    )
    one = case(found, "framing.utf8")
    assert (found.status, one.result, one.warns, one.word) == ("passed", "skipped", True, "violated")
    assert one.message == "violated once under load, first in fresh: first"


def test_what_failed_in_both_says_both(tmp_path: Path) -> None:
    found = account(
        tmp_path,
        checks=[check("framing.utf8", "fail", "in the suite")],
        ttft_ms=[1.0],
        violated={"framing.utf8": ["under load"]},
    )
    assert "in the suite; violated once under load" in case(found, "framing.utf8").message


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({}, "passed"),
        ({"objectives": {"ttft_p50_ms": 1}}, "failed"),
        ({"objectives": {"resume_p50_ms": 1}}, "not measured"),
        ({"objectives": {"ttft_p50_ms": 1}, "lag_ms": 50.0}, "inconclusive"),
        ({"exit_code": 130, "problems": ("interrupted",)}, "interrupted"),
        ({"exit_code": 2, "problems": ("a part could not be done",)}, "incomplete"),
        ({"exit_code": 1, "problems": ("the load was killed",)}, "failed"),
    ],
)
def test_the_word_for_the_whole(tmp_path: Path, given: dict, word: str) -> None:
    found = account(tmp_path, ttft_ms=[100.0] * 20, **given)
    assert found.status == word
    assert any(case.red for case in found.cases) is (word != "passed")


def test_nothing_tested_is_no_pass(tmp_path: Path) -> None:
    found = account(tmp_path)
    assert (found.exit_code, found.status) == (2, "nothing tested")
    assert case(found, TEST_CASE).result == "error"
    assert "nothing was tested" in case(found, TEST_CASE).message


def test_a_saturated_harness_does_not_call_a_latency_the_servers(tmp_path: Path) -> None:
    found = account(tmp_path, ttft_ms=[100.0], lag_ms=50.0)
    assert found.status == "passed"
    assert found.ttft_p95_ms is None
    assert case(found, TEST_CASE).warns
    assert "receive lag" in case(found, TEST_CASE).message


def test_a_case_is_red_exactly_if_the_exit_code_is_not_0(tmp_path: Path) -> None:
    verdicts = ("pass", "fail", "warn", "inconclusive", "error", "known", "stale")
    seen = set()
    for verdict, limit, violated, allowed in product(verdicts, (1, 200), (0, 1), (0, 5)):
        found = account(
            tmp_path,
            checks=[check("framing.utf8", verdict)],
            ttft_ms=[100.0],
            violated={"framing.utf8": ["x"]} if violated else {},
            objectives={"ttft_p50_ms": limit, "violations": allowed},
        )
        assert any(case.red for case in found.cases) == (found.exit_code != 0)
        assert (found.status == "passed") == (found.exit_code == 0)
        seen.add(found.exit_code)
    assert seen == {0, 1}


def test_an_exit_code_that_nothing_explains_is_red_all_the_same(tmp_path: Path) -> None:
    found = account(tmp_path, ttft_ms=[100.0], exit_code=1)
    assert case(found, TEST_CASE).result == "error"
    assert "exit code 1" in case(found, TEST_CASE).message
    assert replace(found, exit_code=0).status == "passed"
