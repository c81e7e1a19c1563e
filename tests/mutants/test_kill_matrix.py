"""Each MUST is proven by a mutant: the suite reports first what a fault of the embedded server violates.

Up to that requirement, in the order of the catalogue, the suite's scenarios and tests run here without pytest.
``make mutants`` runs the whole suite on each mutant, with pytest.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.config.settings import Settings
from harness.contract.requirements import CATALOGUE
from harness.reference.faults.base import FAULTS
from tests.conformance.suite import (
    asked_again,
    fewer_repeats,
    in_advance,
    lighter_requests,
    parameters_of,
    verdicts_on,
)
from tests.forked import FORK_SERVER
from tests.mutants.kill_matrix import UNMET, WAITING, budgets_for, serving, uncovered

pytestmark = pytest.mark.mutants

#: While the verdict is inconclusive: on a busy machine, a situation may not occur at once. No other verdict is retried.
TRIES = 3

#: Suites at the same time: they mostly wait. Each has a process, as threads would make each other late.
AT_ONCE = 5

#: The areas of requirements that need replicas or a restart.
SHARED_AREAS = tuple({CATALOGUE[fault.breaks].area for fault in FAULTS.values() if fault.shared})

_OF_THIS_PROCESS = ExitStack()

#: Verdict and detail by requirement.
Checks = Mapping[str, tuple[str, str]]


def judged(mutant: str) -> Checks:
    """What the suite says of each requirement up to the one that the mutant violates.

    On a mutant that shows only in replicas, of the requirements about them: the others ask one replica, in which it
    does not show. The whole suite runs on the sound replicas in tests/conformance/test_replicas.py.
    """
    violated, profile = FAULTS[mutant].breaks, FAULTS[mutant].profile
    areas = SHARED_AREAS if FAULTS[mutant].shared else ()
    with (
        tempfile.TemporaryDirectory(prefix="mutant-") as folder,
        serving(mutant, Path(folder) / "server.log", profile) as demo,
        fewer_repeats(besides=violated),
    ):
        settings = Settings.model_validate({**demo, "budgets": budgets_for(mutant)})
        verdicts = verdicts_on(settings, up_to=violated, areas=areas)
        for _ in range(TRIES - 1):
            checks = {check.requirement.id: (str(check.verdict), check.detail) for check in verdicts.checks}
            if checks[violated][0] != "inconclusive":
                break
            verdicts = asked_again(verdicts, settings, {violated})
    return {check.requirement.id: (str(check.verdict), check.detail) for check in verdicts.checks}


def send_lighter_requests() -> None:
    """For the life of this process."""
    _OF_THIS_PROCESS.enter_context(lighter_requests())


@pytest.fixture(scope="module")
def checks_on(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Checks]]:
    """Waits for the suite's outcomes on a mutant: on all selected ones, the suite runs in advance."""
    cases = parameters_of(request, test_the_suite_reports_first_what_the_fault_violates)
    processes = ProcessPoolExecutor(AT_ONCE, mp_context=FORK_SERVER, initializer=send_lighter_requests)
    with in_advance(judged, [case["mutant"] for case in cases], processes) as checks:
        yield checks


@pytest.mark.slow
@pytest.mark.parametrize("mutant", FAULTS)
def test_the_suite_reports_first_what_the_fault_violates(
    mutant: str, checks_on: Callable[[str], Checks]
) -> None:
    violated = FAULTS[mutant].breaks
    checks = checks_on(mutant)
    unmet = {name: detail for name, (verdict, detail) in checks.items() if verdict in UNMET}
    assert list(unmet) == [violated], unmet or checks[violated]


def test_mutants_with_short_budgets_exist() -> None:
    assert WAITING - FAULTS.keys() == set()


def test_no_must_is_without_a_mutant() -> None:
    assert uncovered() == []
