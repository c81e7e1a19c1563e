"""A key used again with another body is rejected, and nothing else happens."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import conflict
from harness.suite.pytest_plugin import CheckFunction, requirement


@requirement("conflict.rejected")
def test_another_body_is_rejected_with_409(
    check: CheckFunction, conflicts: list[tuple[Exchange, Exchange]]
) -> None:
    check(conflict.rejected, conflicts)


@requirement("conflict.error-event")
def test_the_rejection_is_an_error_event(
    check: CheckFunction, conflict_after_completion: tuple[Exchange, Exchange, Exchange, Exchange]
) -> None:
    check(conflict.error_event, *conflict_after_completion[:2])


@requirement("conflict.any-field")
def test_a_change_in_any_field_is_a_conflict(
    check: CheckFunction, conflicts_by_field: tuple[Exchange, dict[str, Exchange]]
) -> None:
    check(conflict.any_field, *conflicts_by_field)


@requirement("conflict.in-flight")
def test_another_body_conflicts_while_the_run_goes_on(
    check: CheckFunction, conflict_in_flight: tuple[Exchange, Exchange, Exchange]
) -> None:
    check(conflict.in_flight, *conflict_in_flight[:2])


@requirement("conflict.after-completion")
def test_another_body_conflicts_after_the_run_has_ended(
    check: CheckFunction, conflict_after_completion: tuple[Exchange, Exchange, Exchange, Exchange]
) -> None:
    check(conflict.after_completion, *conflict_after_completion[:2])


@requirement("conflict.starts-nothing")
def test_the_rejected_request_starts_no_run(
    check: CheckFunction, conflict_after_completion: tuple[Exchange, Exchange, Exchange, Exchange]
) -> None:
    check(conflict.starts_nothing, *conflict_after_completion)


@requirement("conflict.original-untouched")
def test_the_first_run_goes_on_whole(
    check: CheckFunction, conflict_in_flight: tuple[Exchange, Exchange, Exchange]
) -> None:
    check(conflict.original_untouched, *conflict_in_flight)


@requirement("conflict.original-untouched")
def test_the_first_body_still_resumes_its_run(
    check: CheckFunction, conflict_after_completion: tuple[Exchange, Exchange, Exchange, Exchange]
) -> None:
    check(conflict.original_untouched, *conflict_after_completion[:3])


@requirement("conflict.leaks-nothing")
def test_the_rejection_tells_nothing_of_the_first_run(
    check: CheckFunction, conflict_with_secret: tuple[Exchange, Exchange, str]
) -> None:
    check(conflict.leaks_nothing, *conflict_with_secret)


@requirement("conflict.form")
def test_which_form_the_409_has(
    check: CheckFunction, conflict_after_completion: tuple[Exchange, Exchange, Exchange, Exchange]
) -> None:
    check(conflict.form, *conflict_after_completion[:2])
