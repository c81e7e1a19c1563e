"""No answer gives away what it must not."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import security
from harness.suite.pytest_plugin import CheckFunction, requirement
from harness.suite.scenario import ScenarioRunner

from .scenarios.auth import GARBAGE_TOKEN


@requirement("security.cors")
def test_no_foreign_page_may_use_credentials(check: CheckFunction, cors_answers: list[Exchange]) -> None:
    check(security.cors, cors_answers)


@requirement("security.nosniff")
def test_no_answer_may_be_sniffed(check: CheckFunction, every_answer: list[Exchange]) -> None:
    check(security.nosniff, every_answer)


@requirement("security.no-secrets")
def test_no_answer_echoes_a_token(
    check: CheckFunction, stage: ScenarioRunner, every_answer: list[Exchange]
) -> None:
    check(security.no_secrets, every_answer, (*stage.world.target.secrets, GARBAGE_TOKEN))
