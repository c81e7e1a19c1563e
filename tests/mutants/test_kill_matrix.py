"""Each MUST is proven by a mutant: the suite reports first what a fault of the embedded server violates.

Up to that requirement, in the order of the catalogue, the suite's scenarios and tests run here without pytest.
``make mutants`` runs the whole suite on each mutant, with pytest.
"""

from __future__ import annotations

import pytest

from harness.config.settings import Settings
from harness.contract.finding import Verdict
from harness.reference.faults.base import FAULTS
from harness.reference.settings import demo_config
from tests.conformance.suite import verdicts_on
from tests.forked import embedded_server
from tests.mutants.kill_matrix import BUDGETS, UNMET, uncovered

pytestmark = pytest.mark.mutants

#: While the verdict is inconclusive: on a busy machine, a situation may not occur at once. No other verdict is retried.
TRIES = 3


@pytest.mark.slow
@pytest.mark.parametrize("mutant", FAULTS)
def test_the_suite_reports_first_what_the_fault_violates(mutant: str) -> None:
    violated = FAULTS[mutant].breaks
    for _ in range(TRIES):
        with embedded_server([mutant]) as base_url:
            settings = Settings.model_validate({**demo_config(base_url), "budgets": BUDGETS})
            verdicts = verdicts_on(settings, up_to=violated)
        checks = {check.requirement.id: check for check in verdicts.checks}
        if checks[violated].verdict is not Verdict.INCONCLUSIVE:
            break
    unmet = {name: check.detail for name, check in checks.items() if str(check.verdict) in UNMET}
    assert list(unmet) == [violated], unmet or checks[violated].detail


def test_no_must_is_without_a_mutant() -> None:
    assert uncovered() == []
