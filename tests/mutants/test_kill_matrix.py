"""Each MUST is proven by a mutant: the suite reports first what a fault of the embedded server violates.

Up to that requirement, in the order of the catalogue, the suite's scenarios and tests run here without pytest.
``make mutants`` runs the whole suite on each mutant, with pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest

from harness.config.settings import Settings
from harness.contract.finding import Verdict
from harness.contract.verdicts import CheckOutcome
from harness.reference.faults.base import FAULTS
from harness.reference.settings import demo_config
from tests.conformance.suite import in_advance, parameters_of, verdicts_on
from tests.forked import embedded_server
from tests.mutants.kill_matrix import BUDGETS, UNMET, uncovered

pytestmark = pytest.mark.mutants

#: While the verdict is inconclusive: on a busy machine, a situation may not occur at once. No other verdict is retried.
TRIES = 3


#: Suites at the same time, each with its own server: they mostly wait.
AT_ONCE = 3


def judged(mutant: str) -> dict[str, CheckOutcome]:
    """The outcome of each requirement up to the one that the mutant violates, by its id."""
    violated = FAULTS[mutant].breaks
    for _ in range(TRIES):
        with embedded_server([mutant]) as base_url:
            settings = Settings.model_validate({**demo_config(base_url), "budgets": BUDGETS})
            verdicts = verdicts_on(settings, up_to=violated)
        checks = {check.requirement.id: check for check in verdicts.checks}
        if checks[violated].verdict is not Verdict.INCONCLUSIVE:
            break
    return checks


@pytest.fixture(scope="module")
def checks_on(
    request: pytest.FixtureRequest, hashed_once: None
) -> Iterator[Callable[[str], Mapping[str, CheckOutcome]]]:
    """Waits for the suite's outcomes on a mutant: on all selected ones, the suite runs in advance."""
    cases = parameters_of(request, test_the_suite_reports_first_what_the_fault_violates)
    with in_advance(judged, [case["mutant"] for case in cases], AT_ONCE) as checks:
        yield checks


@pytest.mark.slow
@pytest.mark.parametrize("mutant", FAULTS)
def test_the_suite_reports_first_what_the_fault_violates(
    mutant: str, checks_on: Callable[[str], Mapping[str, CheckOutcome]]
) -> None:
    violated = FAULTS[mutant].breaks
    checks = checks_on(mutant)
    unmet = {name: check.detail for name, check in checks.items() if str(check.verdict) in UNMET}
    assert list(unmet) == [violated], unmet or checks[violated].detail


def test_no_must_is_without_a_mutant() -> None:
    assert uncovered() == []
