"""The verdicts that `harness check` prints when the suite has ended."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from harness.commands.suite_process import print_verdicts, suite_exit_code
from harness.config.settings import Settings
from harness.contract.verdicts import CheckOutcome, Verdict, Verdicts
from harness.suite.evidence_store import store_verdicts
from harness.terminal.output import Output

CRASH = "INTERNALERROR> SystemError: AST constructor recursion depth mismatch\n"


def verdicts(*outcomes: tuple[str, Verdict, str]) -> Verdicts:
    tests = [
        CheckOutcome(name, verdict, detail, f"test_{number}", duration_s=0.1)
        for number, (name, verdict, detail) in enumerate(outcomes)
    ]
    return Verdicts(tests)


def printed(folder: Path, stored: Verdicts | None, code: int = 1, *, interrupted: bool = False) -> str:
    """What is printed for a suite with these verdicts, or one that was killed before it stored any."""
    path = folder / "results.sqlite"
    store_verdicts(path, stored or Verdicts(), {}, interrupted=interrupted)
    (folder / "suite.log").write_text(CRASH, encoding="utf-8")
    output = Output(live=False)
    output.console = Console(file=io.StringIO(), soft_wrap=True, highlight=False)
    print_verdicts(output, path, Settings(), code, interrupted=interrupted)
    file = output.console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


FAILURE = verdicts(
    ("framing.utf8", Verdict.FAIL, "a lone 0x80"),
    ("ids.unique", Verdict.PASS, ""),
    ("resume.start", Verdict.INFO, "replay"),
)


def test_failures_and_the_table_come_from_the_results_file(tmp_path: Path) -> None:
    lines = printed(tmp_path, FAILURE).splitlines()
    assert lines[0].strip("_") == " framing.utf8 "
    assert lines[1].startswith("framing.utf8 (MUST): The stream is strict UTF-8")
    assert lines[2] == "FAIL: a lone 0x80"
    assert lines[3].startswith("How to fix it: ")
    assert "conformance by area" in lines[4]
    assert "fail: framing.utf8 (MUST): a lone 0x80" in lines
    assert "resume.start: replay" in lines
    assert lines[-2].endswith("requirements not selected or not reached")
    assert lines[-1] == "1 of 3 requirements failed: framing.utf8."
    assert CRASH.strip() not in lines


def test_an_interrupted_suite_prints_the_verdicts_it_has(tmp_path: Path) -> None:
    lines = printed(tmp_path, FAILURE, code=2, interrupted=True).splitlines()
    assert "fail: framing.utf8 (MUST): a lone 0x80" in lines
    assert lines[-1] == f"conformance was interrupted (log: {tmp_path / 'suite.log'})"


def test_a_suite_interrupted_before_its_first_verdict_prints_one_line(tmp_path: Path) -> None:
    text = printed(tmp_path, None, code=2, interrupted=True)
    assert text == f"conformance was interrupted before its first verdict (log: {tmp_path / 'suite.log'})\n"


def test_a_suite_that_crashed_prints_the_end_of_its_log(tmp_path: Path) -> None:
    assert printed(tmp_path, None, code=2) == CRASH
    text = printed(tmp_path, FAILURE, code=2)
    assert text.endswith(CRASH)
    assert "fail: framing.utf8 (MUST): a lone 0x80" in text


@pytest.mark.parametrize(
    ("pytest_code", "code"), [(0, 0), (1, 1), (130, 130), (2, 2), (3, 2), (5, 2), (-9, 2)]
)
def test_the_exit_code_of_the_suite(pytest_code: int, code: int) -> None:
    assert suite_exit_code(pytest_code) == code
