"""Makes a session fixture of each scenario, with the scenario's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import harness.suite.session
from harness.contract.exchange import Exchange
from harness.suite.fixtures import check, scenario_runner
from harness.suite.scenario import ScenarioRunner
from harness.suite.selection import requirement_of
from harness.suite.session import NeededScenario

from .scenarios import every_scenario
from .scenarios.costs import COSTS


def _as_fixture(name: str, scenario: Callable[..., Any]) -> Any:
    def fixture(scenario_runner: ScenarioRunner) -> Any:
        return scenario_runner.outcome(scenario)

    return pytest.fixture(scope="session", name=name)(fixture)


__all__ = ["REPLAYS", "SCENARIOS", "STREAMS", "check", "scenario_runner"]

SCENARIOS = every_scenario()
for _name, _scenario in SCENARIOS.items():
    globals()[f"{_name}_fixture"] = _as_fixture(_name, _scenario)


def pytest_configure(config: pytest.Config) -> None:
    harness.suite.session.select_target(config)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell the session which scenarios the selected tests need, in the order of the tests."""
    needed: dict[str, list[str]] = {}
    for item in session.items:
        requirement_id = requirement_of(item)
        callspec = getattr(item, "callspec", None)
        parameters = callspec.params.values() if callspec else ()
        for name in (*getattr(item, "fixturenames", ()), *parameters):
            if name in SCENARIOS and requirement_id is not None:
                needed.setdefault(name, []).append(requirement_id)
    session.config.stash[harness.suite.session.SCENARIOS] = [
        NeededScenario(SCENARIOS[name], frozenset(requirements)) for name, requirements in needed.items()
    ]
    session.config.stash[harness.suite.session.COSTS] = COSTS


STREAMS = ("completed_run", "long_run", "failing_run", "cancelled_run", "silent_run", "quiet_run")


@pytest.fixture(params=STREAMS)
def stream(request: pytest.FixtureRequest) -> Exchange:
    """A run of each configured action in turn."""
    run: Exchange = request.getfixturevalue(request.param)
    return run


REPLAYS = (
    "replayed_run",
    "replayed_long_run",
    "replayed_silent_run",
    "replayed_cancelled_run",
)


@pytest.fixture(params=REPLAYS)
def replayed(request: pytest.FixtureRequest) -> tuple[Exchange, Exchange]:
    """A run of each configured action and its retry after the end, in turn."""
    pair: tuple[Exchange, Exchange] = request.getfixturevalue(request.param)
    return pair
