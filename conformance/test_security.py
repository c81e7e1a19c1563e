"""No answer gives away what it must not."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import security
from harness.suite.pytest_plugin import CheckFunction, decides
from harness.suite.scenario import ScenarioRunner

from .scenarios.auth import GARBAGE_TOKEN


@decides(security.cors)
def test_no_foreign_page_may_use_credentials(check: CheckFunction, cors_answers: list[Exchange]) -> None:
    check(cors_answers)


@decides(security.nosniff)
def test_no_answer_may_be_sniffed(check: CheckFunction, every_answer: list[Exchange]) -> None:
    check(every_answer)


@decides(security.no_secrets)
def test_no_answer_echoes_a_token(
    check: CheckFunction, scenario_runner: ScenarioRunner, every_answer: list[Exchange]
) -> None:
    check(every_answer, (*scenario_runner.context.target.secrets, GARBAGE_TOKEN))
