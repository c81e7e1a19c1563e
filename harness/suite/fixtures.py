"""The fixtures of a suite: ``check`` and ``scenario_runner``. A suite's conftest imports them by name.

They are not part of the plugin, because a fixture of a plugin can replace one of the same name in a different project.
"""

from __future__ import annotations

from typing import Any

import pytest

from harness.contract.expectations import Expectations
from harness.contract.requirements import RULES
from harness.suite.evidence_store import Evaluated
from harness.suite.pytest_plugin import CheckFunction
from harness.suite.scenario import ScenarioRunner
from harness.suite.selection import requirement_of
from harness.suite.session import EVALUATED, RUNNER


@pytest.fixture(scope="session")
def scenario_runner(pytestconfig: pytest.Config) -> ScenarioRunner:
    """Runs the scenarios."""
    return pytestconfig.stash[RUNNER]


@pytest.fixture
def check(request: pytest.FixtureRequest, scenario_runner: ScenarioRunner) -> CheckFunction:
    """Applies the test's rule to its evidence. The finding becomes the test's verdict.

    Raises NotApplicable if the target does not offer what the rule needs.
    """
    expectations: Expectations = scenario_runner.context.expect
    rule = RULES[requirement_of(request.node) or ""]
    if rule.requirement.needs is not None:
        scenario_runner.context.require(rule.requirement.needs)

    def apply(*evidence: Any) -> None:
        if EVALUATED in request.node.stash:
            raise AssertionError("a test must apply its rule only once")
        request.node.stash[EVALUATED] = Evaluated(rule(*evidence, expect=expectations), evidence)

    return apply
