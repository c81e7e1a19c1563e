"""No response leaks secrets or weakens the browser's protection."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import security
from harness.suite.pytest_plugin import CheckFunction, decides
from harness.suite.scenario import ScenarioRunner

from .scenarios.auth import GARBAGE_TOKEN


@decides(security.cors)
def test_no_foreign_page_may_use_credentials(
    check: CheckFunction, cors_responses: list[Exchange], completed_run: Exchange
) -> None:
    check(cors_responses, completed_run)


@decides(security.nosniff)
def test_no_response_may_be_sniffed(check: CheckFunction, every_kind_of_response: list[Exchange]) -> None:
    check(every_kind_of_response)


@decides(security.no_secrets)
def test_no_response_echoes_a_token(
    check: CheckFunction, scenario_runner: ScenarioRunner, every_kind_of_response: list[Exchange]
) -> None:
    check(every_kind_of_response, (*scenario_runner.context.target.secrets, GARBAGE_TOKEN))
