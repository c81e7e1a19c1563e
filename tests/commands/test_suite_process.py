from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from harness.commands.check import _show_suite, verdicts_in
from harness.commands.load import load_exit_code
from harness.commands.processes import ChildProcesses
from harness.contract.verdicts import Verdicts
from harness.results.writer import ResultsWriter
from harness.suite.terminal_report import write_summary
from harness.terminal.output import Output

FALL = """\
..
INTERNALERROR> Traceback (most recent call last):
INTERNALERROR>   File "ast.py", line 50, in parse
INTERNALERROR> SystemError: AST constructor recursion depth mismatch
"""
AFTER = """
!!!!!!!!!!!!!!!!!!! KeyboardInterrupt !!!!!!!!!!!!!!!!!!!
/some/where/scenario.py:12: KeyboardInterrupt
2 passed in 1.0s
"""


class Colourful:
    """pytest's reporter on a terminal with colours."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write_sep(self, sep: str, title: str | None = None, **_: bool) -> None:
        self.lines.append(f"\x1b[1m{sep * 20} {title} {sep * 20}\x1b[0m")

    def write_line(self, line: str, **_: bool) -> None:
        self.lines.append(f"\x1b[31m{line}\x1b[0m")


def table() -> str:
    reporter = Colourful()
    write_summary(reporter, Verdicts())
    return "\n".join(reporter.lines)


def shown(log: Path, *, interrupted: bool) -> str:
    screen = Output(live=False)
    screen.console = Console(file=io.StringIO(), soft_wrap=True, highlight=False)
    _show_suite(screen, log, interrupted=interrupted)
    said = screen.console.file
    assert isinstance(said, io.StringIO)
    return said.getvalue()


def test_the_verdicts_in_what_pytest_said() -> None:
    assert verdicts_in(f"{FALL}{table()}\n{AFTER}").rstrip() == table()
    assert verdicts_in(f"..\n{table()}\n{FALL[3:]}") == table()
    assert verdicts_in(FALL) == ""
    assert verdicts_in("") == ""


def test_of_a_suite_that_was_broken_off_the_verdicts_are_shown(tmp_path: Path) -> None:
    log = tmp_path / "suite.log"
    log.write_text(f"{FALL}{table()}\n{AFTER}", encoding="utf-8")
    said = shown(log, interrupted=True)
    assert "conformance by area" in said
    assert "requirements were not selected, or not reached" in said
    assert str(log) in said
    assert "INTERNALERROR" not in said
    assert "!!!" not in said
    whole = shown(log, interrupted=False)
    assert "INTERNALERROR" in whole
    assert "2 passed in 1.0s" in whole


def test_of_a_suite_that_fell_before_it_had_verdicts_one_line_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "suite.log"
    log.write_text(FALL, encoding="utf-8")
    said = shown(log, interrupted=True)
    assert said == f"conformance was broken off before it had a verdict (log: {log})\n"


@pytest.mark.parametrize(
    ("scheduled", "code", "interrupted", "means"),
    [
        (0, 0, False, 2),
        (0, 1, False, 2),
        (0, 2, False, 2),
        (0, -9, False, -9),
        (0, 130, True, 130),
        (1, 0, False, 0),
        (1, 1, False, 1),
        (1, 2, False, 2),
    ],
)
def test_a_load_that_scheduled_nothing_could_not_be_done(
    tmp_path: Path, scheduled: int, code: int, interrupted: bool, means: int
) -> None:
    path = tmp_path / "results.sqlite"
    with ResultsWriter(path) as writer:
        if scheduled:
            writer.add_ledger("w", 1, "fresh", "scheduled", scheduled)
    children = ChildProcesses()
    children.interrupted = interrupted
    assert load_exit_code(code, path, children) == means
