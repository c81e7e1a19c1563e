"""Turns each scenario into a fixture of its name, played once a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import harness.suite.pytest_plugin
from harness.contract.exchange import Exchange
from harness.suite.scenario import ScenarioRunner

from .scenarios import every_scenario


def _as_fixture(name: str, scenario: Callable[..., Any]) -> Any:
    def fixture(scenario_runner: ScenarioRunner) -> Any:
        return scenario_runner.outcome(scenario)

    return pytest.fixture(scope="session", name=name)(fixture)


SCENARIOS = every_scenario()
for _name, _scenario in SCENARIOS.items():
    globals()[f"{_name}_fixture"] = _as_fixture(_name, _scenario)


def pytest_configure(config: pytest.Config) -> None:
    harness.suite.pytest_plugin.select_target(config)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell the plugin what the selected tests ask for, in their order."""
    asked: dict[str, None] = {}
    for item in session.items:
        params = getattr(item, "callspec", None)
        asked.update(dict.fromkeys(getattr(item, "fixturenames", ())))
        asked.update(
            dict.fromkeys(value for value in (params.params.values() if params else ()) if value in SCENARIOS)
        )
    session.config.stash[harness.suite.pytest_plugin.SCENARIOS] = [
        SCENARIOS[name] for name in asked if name in SCENARIOS
    ]


STREAMS = ("completed_run", "long_run", "failing_run", "cancelled_run", "silent_run", "quiet_run")


@pytest.fixture(params=STREAMS)
def stream(request: pytest.FixtureRequest) -> Exchange:
    """A run of each configured action in turn: what holds for one must hold for all."""
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
    """A run of each configured action with its retry after the end."""
    pair: tuple[Exchange, Exchange] = request.getfixturevalue(request.param)
    return pair
