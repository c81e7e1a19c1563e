"""The pytest plugin: command-line options, test selection, and the ``check`` and ``scenario_runner`` fixtures.

It does nothing in a session without tests that have a requirement (``decides``).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest

from harness.contract.expectations import Expectations
from harness.contract.requirements import RULES, areas
from harness.contract.rules.rule import Rule
from harness.suite.evidence_store import Evaluated
from harness.suite.scenario import ScenarioRunner
from harness.suite.selection import MARKER, add_markers, register_markers, requirement_of, select
from harness.suite.session import EVALUATED, RUNNER, select_target

CheckFunction = Callable[..., None]


def decides(rule: Rule) -> pytest.MarkDecorator:
    """Mark a test of the suite with the rule that decides it. The test's ``check`` fixture applies that rule."""
    return getattr(pytest.mark, MARKER)(rule.requirement.id)  # type: ignore[no-any-return]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("harness", "agent API conformance")
    group.addoption(
        "--harness-target", metavar="URL", help="server under test, for example http://127.0.0.1:8080"
    )
    group.addoption("--harness-path", metavar="PATH", help="path of the endpoint")
    group.addoption("--harness-organization", metavar="ORG", help="organization of the token")
    group.addoption("--harness-config", metavar="FILE", help="settings file (harness.toml)")
    group.addoption("--harness-token-file", metavar="FILE", help="file with the bearer token")
    group.addoption("--harness-json", metavar="FILE", help="write the verdicts as JSON")
    group.addoption(
        "--harness-results", metavar="FILE", help="write verdicts and evidence into a results file"
    )
    group.addoption(
        "--harness-progress", metavar="FILE", help="write the progress to this file as it changes"
    )
    group.addoption("--harness-known-failures", metavar="FILE", help="file that lists the known failures")
    group.addoption(
        "--harness-update-known-failures",
        action="store_true",
        help="write the failures of this run to that file",
    )
    group.addoption("--harness-strict", action="store_true", help="warnings and inconclusive MUSTs fail too")
    group.addoption(
        "--harness-max-concurrency",
        type=int,
        metavar="N",
        help="at most N simultaneous connections to the target",
    )
    group.addoption(
        "--harness-read-only", action="store_true", help="no races, no hostile input: for shared targets"
    )
    group.addoption(
        "--harness-level", choices=["must", "should", "info"], help="only requirements of this level"
    )
    group.addoption(
        "--harness-area",
        action="append",
        metavar="AREA",
        choices=areas(),
        help=f"only this area (may be repeated): {', '.join(areas())}",
    )


def pytest_configure(config: pytest.Config) -> None:
    register_markers(config)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, None, None]:
    """Add the markers before -m and -k select by them; then select by level and area, and sort."""
    requirements = {item: requirement_of(item) for item in items}
    for item, requirement_id in requirements.items():
        if requirement_id is not None:
            add_markers(item, requirement_id)
    yield
    if any(requirements.values()):
        select_target(config)
    select(config, items, requirements)


@pytest.fixture(scope="session")
def scenario_runner(pytestconfig: pytest.Config) -> ScenarioRunner:
    """Runs the scenarios."""
    return pytestconfig.stash[RUNNER]


@pytest.fixture(scope="session")
def expectations(scenario_runner: ScenarioRunner) -> Expectations:
    """The target's time budgets and declared behaviour."""
    return scenario_runner.context.expect


@pytest.fixture
def check(
    request: pytest.FixtureRequest, scenario_runner: ScenarioRunner, expectations: Expectations
) -> CheckFunction:
    """Applies the test's rule to its evidence. The finding becomes the test's verdict.

    Raises NotApplicable if the target does not offer what the rule needs.
    """
    rule = RULES[requirement_of(request.node) or ""]
    if rule.requirement.needs is not None:
        scenario_runner.context.require(rule.requirement.needs)

    def apply(*evidence: Any) -> None:
        if EVALUATED in request.node.stash:
            raise AssertionError("a test must apply its rule only once")
        request.node.stash[EVALUATED] = Evaluated(rule(*evidence, expect=expectations), evidence)

    return apply
