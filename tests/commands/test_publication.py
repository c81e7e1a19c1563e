from __future__ import annotations

from pathlib import Path

import pytest

from harness.commands.publication import _exit_code
from harness.commands.repeats import FinishedTest
from harness.gate.report import GateReport, GateRow

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


def test_an_interrupted_test_has_its_own_exit_code() -> None:
    tests = [FinishedTest(Path("out/results.sqlite"), Path("out/report.html"), 2, -9)]
    code, problems = _exit_code(FAILED, tests, interrupted=True)
    assert code == 130
    assert problems == ("the test was interrupted; its results until then are kept",)
