"""Sessions of several steps: the outputs of earlier steps."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import workflow
from harness.suite.pytest_plugin import CheckFunction, decides


@decides(workflow.no_crosstalk)
def test_simultaneous_sessions_show_their_own_outputs_only(
    check: CheckFunction, workflow_sessions: dict[str, list[Exchange]]
) -> None:
    check(workflow_sessions)


@decides(workflow.new_session)
def test_a_new_session_starts_without_outputs(
    check: CheckFunction, workflow_sessions: dict[str, list[Exchange]], session_without_outputs: Exchange
) -> None:
    check(workflow_sessions, session_without_outputs)


@decides(workflow.outputs_passed)
def test_a_step_gets_the_output_of_the_one_before(
    check: CheckFunction, workflow_sessions: dict[str, list[Exchange]]
) -> None:
    check(workflow_sessions)


@decides(workflow.all_outputs)
def test_a_step_gets_all_outputs_in_their_order(
    check: CheckFunction, workflow_sessions: dict[str, list[Exchange]]
) -> None:
    check(workflow_sessions)


@decides(workflow.outputs_whole)
def test_outputs_are_passed_on_unchanged(
    check: CheckFunction, workflow_sessions: dict[str, list[Exchange]]
) -> None:
    check(workflow_sessions)
