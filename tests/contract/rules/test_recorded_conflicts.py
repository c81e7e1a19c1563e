"""Recorded answers that look like a rejected key, or are one without an error event."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.contract.exchange import Exchange
from harness.contract.finding import Verdict
from harness.contract.rules import conflict, terminal
from harness.contract.rules.stream import STREAM_RULES
from harness.load.stats.stream_metrics import CONFLICTING, RUN, outcome_of
from tests.contract.exchanges import scripted, whole_run

CASES_FOLDER = Path(__file__).resolve().parents[1] / "cases"


def recorded(name: str) -> Exchange:
    """The answer of a case, read by read."""
    data = (CASES_FOLDER / f"{name}.raw").read_bytes()
    parts = []
    for at_ms, size in json.loads((CASES_FOLDER / f"{name}.meta.json").read_text())["reads_ms_bytes"]:
        parts.append((at_ms, data[:size]))
        data = data[size:]
    assert not data
    return scripted(*parts)


@pytest.mark.parametrize("name", ["error-mentions-409", "error-code-409-of-a-tool", "error-run-id-409"])
def test_a_failed_run_stays_a_failed_run(name: str) -> None:
    run = recorded(name)
    assert run.outcome == outcome_of(run, RUN) == outcome_of(run, CONFLICTING) == "error"
    assert terminal.failure(run).verdict is Verdict.PASS
    assert conflict.rejection_form(run) is None
    assert run.started_run
    unmet = {Verdict.FAIL, Verdict.INCONCLUSIVE}
    found = {rule.requirement.id: rule(run).verdict for rule in STREAM_RULES}
    assert {name for name, verdict in found.items() if verdict in unmet} == set()


@pytest.mark.parametrize("name", ["conflict-409-text", "conflict-409-html", "conflict-409-empty"])
def test_status_409_in_any_form_is_a_rejection(name: str) -> None:
    first, rejection = whole_run(), recorded(name)
    assert conflict.rejected([(first, rejection)]).verdict is Verdict.PASS
    assert conflict.after_completion(first, rejection).verdict is Verdict.PASS
    assert conflict.error_event(first, rejection).verdict is Verdict.WARN
    assert outcome_of(rejection, CONFLICTING) == "rejected"
