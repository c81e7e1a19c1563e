from __future__ import annotations

from pathlib import Path

import pytest

from harness.ci.artifacts import NO_ARTIFACTS
from harness.commands import publication
from harness.commands.processes import ChildProcesses
from harness.commands.publication import _exit_code, evaluate_and_publish
from harness.commands.repeats import FinishedTest
from harness.config.settings import Settings
from harness.gate.comparison import Comparison
from harness.gate.report import GateReport, GateRow
from harness.reports.html import write_report
from harness.results.writer import ResultsWriter
from harness.terminal.output import Output
from tests.reports import samples

PASSED = GateReport((GateRow("error_rate", 0.0, 0.1, "passed"),), (), tested=True)
FAILED = GateReport((GateRow("error_rate", 0.2, 0.1, "failed"),), (), tested=True)
NO_SUITE = "the conformance suite could not run; see above and out/suite.log"
NO_LOAD = "the load could not run; see above and out/load.log"
KILLED = "the load was killed by signal 9; its results until then are kept"


@pytest.mark.parametrize(
    ("gate", "codes", "code", "problems"),
    [
        (PASSED, [(0, 0)], 0, ()),
        (PASSED, [(0, 1)], 0, ()),  # the gate decides about failed streams
        (FAILED, [(0, 0)], 1, ()),
        (PASSED, [(0, 0), (1, 0)], 1, ()),
        (PASSED, [(0, 2)], 2, (NO_LOAD,)),
        (PASSED, [(0, 1), (2, 0)], 2, (NO_SUITE,)),
        (FAILED, [(2, 2)], 2, (NO_SUITE, NO_LOAD)),
        (PASSED, [(0, 2), (0, -9)], 1, (KILLED,)),
        (PASSED, [(2, -9)], 2, (KILLED, NO_SUITE)),
    ],
)
def test_the_exit_code_of_a_test_and_its_repeats(
    gate: GateReport, codes: list[tuple[int, int]], code: int, problems: tuple[str, ...]
) -> None:
    tests = [FinishedTest(Path("out/results.sqlite"), Path("out/report.html"), *pair) for pair in codes]
    assert _exit_code(gate, tests, interrupted=False) == (code, problems)


def test_an_aborted_load_has_its_own_exit_code_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path) as writer:
        writer.set_manifest(load_state="aborted", load_aborted="the load was aborted by the condition 'x'")
    reason = "the load was aborted by the condition 'x'; its results until then are kept"
    for gate, suite_code, code, problems in (
        (PASSED, 0, 3, (reason,)),
        (FAILED, 1, 3, (reason,)),
        (
            PASSED,
            2,
            2,
            (reason, f"the conformance suite could not run; see above and {tmp_path / 'suite.log'}"),
        ),
    ):
        tests = [FinishedTest(path, tmp_path / "report.html", suite_code, 3)]
        assert _exit_code(gate, tests, interrupted=False) == (code, problems)


def test_an_interrupted_test_has_its_own_exit_code() -> None:
    tests = [FinishedTest(Path("out/results.sqlite"), Path("out/report.html"), 2, -9)]
    code, problems = _exit_code(FAILED, tests, interrupted=True)
    assert code == 130
    assert problems == ("the test was interrupted; its results until then are kept",)


def test_the_report_says_what_the_gate_said_about_the_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = samples.ten_streams(tmp_path / "results.sqlite", {"ttft_p95_ms": 800})
    report = write_report(path, tmp_path / "report.html")
    assert "Passed" in report.read_text()
    worse = Comparison("ttft_p50_ms", 100.0, 20.4, 3.905, 3.0, 5.0, "worse", smallest_effect=0.05)
    gate = GateReport((GateRow("ttft_p95_ms", 100.0, 800.0, "passed"),), (worse,), tested=True)
    monkeypatch.setattr(publication, "print_evaluation", lambda *_: gate)
    test = FinishedTest(path, report, 0, 0)
    baseline = tmp_path / "baseline"
    code = evaluate_and_publish(
        "load", [test], Settings(), baseline, ChildProcesses(), Output(), NO_ARTIFACTS
    )
    assert code == 1
    html = report.read_text()
    assert "<title>Failed" in html
    assert "TTFT p50 20.4 ms to 100.0 ms (+390.5%)" in html
    assert "Passed" not in html
