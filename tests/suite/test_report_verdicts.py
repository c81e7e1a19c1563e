"""What pytest shows of a test has no token and cannot control the terminal."""

from __future__ import annotations

from typing import Any

import pytest

from harness.contract.evidence.redaction import Redactor
from harness.suite.report_verdicts import clean

TOKEN = "s3cret-value-that-is-long"
SAID = f"it said {TOKEN}\x1b[31m"


def cleaned(longrepr: Any) -> pytest.TestReport:
    report = pytest.TestReport("a.py::a", ("a.py", 1, "a"), {}, "failed", longrepr, "call")
    report.sections = [("Captured stdout call", SAID)]
    clean(report, Redactor((TOKEN,)))
    return report


@pytest.mark.parametrize("longrepr", [SAID, ("a.py", 1, SAID), None])
def test_a_report_and_its_captured_output(longrepr: Any) -> None:
    report = cleaned(longrepr)
    shown = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    for text in (shown, *(content for _, content in report.sections)):
        assert text is None or (text.startswith("it said ") and text.endswith(r"\x1b[31m"))
        assert TOKEN not in str(text)
    assert (shown is None) == (longrepr is None)


def test_a_traceback_without_them_stays_as_it_is() -> None:
    class Traceback:
        def __str__(self) -> str:
            return "plain\nlines"

    traceback = Traceback()
    assert cleaned(traceback).longrepr is traceback
