"""A run's stream ends with exactly one of done, error, cancelled, and then it closes."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import terminal
from harness.suite.pytest_plugin import CheckFunction, requirement


@requirement("terminal.always")
def test_no_stream_ends_without_a_terminal_event(check: CheckFunction, stream: Exchange) -> None:
    check(terminal.always, stream)


@requirement("terminal.exactly-one")
def test_a_run_ends_with_exactly_one_terminal_event(check: CheckFunction, stream: Exchange) -> None:
    check(terminal.exactly_one, stream)


@requirement("terminal.last")
def test_nothing_follows_the_terminal_event(check: CheckFunction, stream: Exchange) -> None:
    check(terminal.last, stream)


@requirement("terminal.closes")
def test_the_stream_closes_after_the_terminal_event(check: CheckFunction, stream: Exchange) -> None:
    check(terminal.closes, stream)


@requirement("terminal.failure")
def test_a_failing_action_ends_with_error(check: CheckFunction, failing_run: Exchange) -> None:
    check(terminal.failure, failing_run)


@requirement("terminal.cancelled")
def test_a_cancelled_run_ends_with_one_cancelled(check: CheckFunction, cancelled_run: Exchange) -> None:
    check(terminal.cancelled, cancelled_run)


@requirement("terminal.no-tokens")
def test_a_run_without_tokens_ends_too(check: CheckFunction, silent_run: Exchange) -> None:
    check(terminal.no_tokens, silent_run)
