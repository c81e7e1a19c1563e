"""A run's stream ends with exactly one of done, error or cancelled, and then closes."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import terminal
from harness.suite.pytest_plugin import CheckFunction, decides


@decides(terminal.always)
def test_every_stream_ends_with_a_terminal_event(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(terminal.exactly_one)
def test_a_run_ends_with_exactly_one_terminal_event(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(terminal.last)
def test_nothing_follows_the_terminal_event(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(terminal.closes)
def test_the_stream_closes_after_the_terminal_event(check: CheckFunction, stream: Exchange) -> None:
    check(stream)


@decides(terminal.success)
def test_a_new_key_starts_a_run_that_ends_with_done(
    check: CheckFunction, runs_that_should_succeed: list[Exchange]
) -> None:
    check(runs_that_should_succeed)


@decides(terminal.failure)
def test_a_failing_action_ends_with_error(check: CheckFunction, failing_run: Exchange) -> None:
    check(failing_run)


@decides(terminal.cancelled)
def test_a_cancelled_run_ends_with_one_cancelled(check: CheckFunction, cancelled_run: Exchange) -> None:
    check(cancelled_run)


@decides(terminal.no_tokens)
def test_a_run_without_tokens_ends_too(check: CheckFunction, silent_run: Exchange) -> None:
    check(silent_run)
