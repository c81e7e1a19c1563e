"""What a stored answer says cannot control the terminal, in a sentence of a verb or an error."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.results.schema import ResultsError

HOSTILE, SHOWN = "no\x1b[31m\u202e\r", r"no\x1b[31m\u202e\r"


@pytest.fixture(autouse=True)
def _a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.commands.output_dir.results_file", lambda path: path)
    monkeypatch.setattr("harness.suite.terminal_report.write_summary", lambda *_: None)


def test_a_changed_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    before = SimpleNamespace(test="terminal", verdict="pass")
    now = SimpleNamespace(verdict="fail", detail=HOSTILE, evidence=[{"exchange": HOSTILE, "event": 2}])
    verdicts = SimpleNamespace(checks=[], results=[])
    monkeypatch.setattr("harness.suite.recheck.recheck", lambda _: (verdicts, [(before, now)]))
    ended = CliRunner().invoke(main, ["judge", "."])
    assert ended.output == f"changed: terminal: pass -> fail: {SHOWN}\n    at {SHOWN}, event 2\n"


def test_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def recheck(_: object) -> None:
        raise ResultsError(HOSTILE)

    monkeypatch.setattr("harness.suite.recheck.recheck", recheck)
    ended = CliRunner().invoke(main, ["judge", "."])
    assert (ended.exit_code, ended.output.splitlines()[0]) == (2, f"harness: {SHOWN}")
