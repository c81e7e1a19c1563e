"""Reusing a key with a different body is rejected and has no other effect."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import conflict
from harness.suite.pytest_plugin import CheckFunction, decides


@decides(conflict.rejected)
def test_a_different_body_is_rejected_with_409(
    check: CheckFunction, conflicts: list[tuple[Exchange, Exchange]]
) -> None:
    check(conflicts)


@decides(conflict.error_event)
def test_the_rejection_is_an_error_event(
    check: CheckFunction, conflict_after_completion: tuple[Exchange, Exchange, Exchange, Exchange]
) -> None:
    check(*conflict_after_completion[:2])


@decides(conflict.any_field)
def test_a_change_in_any_field_is_a_conflict(
    check: CheckFunction, conflicts_by_field: tuple[Exchange, dict[str, Exchange]]
) -> None:
    check(*conflicts_by_field)


@decides(conflict.in_flight)
def test_a_different_body_conflicts_while_the_run_is_in_flight(
    check: CheckFunction, conflict_in_flight: tuple[Exchange, Exchange, Exchange]
) -> None:
    check(*conflict_in_flight[:2])


@decides(conflict.in_flight)
def test_a_different_body_conflicts_at_any_moment_of_the_run(
    check: CheckFunction, conflicts_at_moments: list[Exchange]
) -> None:
    check(*conflicts_at_moments)


@decides(conflict.after_completion)
def test_a_different_body_conflicts_after_the_run_has_ended(
    check: CheckFunction, conflict_after_completion: tuple[Exchange, Exchange, Exchange, Exchange]
) -> None:
    check(*conflict_after_completion[:2])


@decides(conflict.starts_nothing)
def test_the_rejected_request_starts_no_run(
    check: CheckFunction,
    replayed_run: tuple[Exchange, Exchange],
    conflict_after_completion: tuple[Exchange, Exchange, Exchange, Exchange],
) -> None:
    check(replayed_run, *conflict_after_completion)


@decides(conflict.original_untouched)
def test_the_first_run_continues_to_its_end(
    check: CheckFunction,
    replayed_long_run: tuple[Exchange, Exchange],
    conflict_in_flight: tuple[Exchange, Exchange, Exchange],
) -> None:
    check(replayed_long_run, *conflict_in_flight, True)


@decides(conflict.original_untouched)
def test_the_first_body_still_resumes_its_run(
    check: CheckFunction,
    replayed_run: tuple[Exchange, Exchange],
    conflict_after_completion: tuple[Exchange, Exchange, Exchange, Exchange],
) -> None:
    check(replayed_run, *conflict_after_completion[:3])


@decides(conflict.leaks_nothing)
def test_the_rejection_reveals_nothing_of_the_first_run(
    check: CheckFunction, conflict_with_secret: tuple[Exchange, Exchange, str]
) -> None:
    check(*conflict_with_secret)


@decides(conflict.form)
def test_which_form_the_409_has(
    check: CheckFunction, conflict_after_completion: tuple[Exchange, Exchange, Exchange, Exchange]
) -> None:
    check(*conflict_after_completion[:2])
