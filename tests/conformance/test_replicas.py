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
    wrong = [
        (check.requirement.id, check.verdict, check.detail)
        for check in verdicts.checks
        if check.verdict not in {Verdict.PASS, Verdict.INFO, Verdict.NOT_APPLICABLE}
    ]
    assert wrong == []
    replicas = [check.verdict for check in verdicts.checks if check.requirement.area == "replica"]
    assert set(replicas) == {Verdict.PASS}
