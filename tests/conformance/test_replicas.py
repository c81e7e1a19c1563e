"""The suite on the sound embedded server with two replicas: nothing is flagged."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config.settings import Settings
from harness.contract.finding import Verdict
from tests.conformance.suite import verdicts_on
from tests.mutants.kill_matrix import BUDGETS, serving


@pytest.mark.slow
def test_sound_replicas_are_not_flagged(tmp_path: Path) -> None:
    with serving(None, tmp_path / "server", shared=True) as demo:
        verdicts = verdicts_on(Settings.model_validate({**demo, "budgets": BUDGETS}))
    unmet = {
        check.requirement.id: check.detail
        for check in verdicts.checks
        if check.verdict in {Verdict.FAIL, Verdict.WARN, Verdict.ERROR}
    }
    assert unmet == {}
    replicas = {
        check.requirement.id: check.verdict
        for check in verdicts.checks
        if check.requirement.area in {"replica", "restart"}
    }
    assert set(replicas.values()) <= {Verdict.PASS, Verdict.INCONCLUSIVE}, (
        "a situation may not occur on a busy machine"
    )
    decided = {"replica.same-run", "replica.replay", "replica.conflict"}
    assert {replicas[name] for name in decided} == {Verdict.PASS}
