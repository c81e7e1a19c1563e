"""A run that is cancelled in flight ends with one cancelled event on every connection, and stays so."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import cancel
from harness.contract.rules.cancel import Cancelled, UsualRun
from harness.suite.pytest_plugin import CheckFunction, decides


@decides(cancel.accepted)
def test_a_run_in_flight_can_be_cancelled(
    check: CheckFunction, runs_cancelled_in_flight: list[Cancelled]
) -> None:
    check(runs_cancelled_in_flight)


@decides(cancel.ends)
def test_every_stream_of_a_cancelled_run_ends(
    check: CheckFunction, runs_cancelled_in_flight: list[Cancelled]
) -> None:
    check(runs_cancelled_in_flight)


@decides(cancel.one_outcome)
def test_a_cancelled_run_ends_with_one_cancelled_event(
    check: CheckFunction, runs_cancelled_in_flight: list[Cancelled], long_run: Exchange
) -> None:
    check(runs_cancelled_in_flight, UsualRun.of(long_run))


@decides(cancel.last)
def test_nothing_follows_the_cancelled_event(
    check: CheckFunction, runs_cancelled_in_flight: list[Cancelled]
) -> None:
    check(runs_cancelled_in_flight)


@decides(cancel.replayed)
def test_a_cancelled_run_is_replayed(
    check: CheckFunction,
    runs_cancelled_in_flight: list[Cancelled],
    undisturbed_long_run: tuple[Exchange, Exchange] | None,
) -> None:
    check(runs_cancelled_in_flight, undisturbed_long_run)


@decides(cancel.outcome)
def test_a_cancelled_run_is_reported_as_cancelled(
    check: CheckFunction, runs_cancelled_in_flight: list[Cancelled]
) -> None:
    check(runs_cancelled_in_flight)


@decides(cancel.harmless)
def test_cancelling_what_is_not_in_flight_changes_nothing(
    check: CheckFunction,
    cancels_without_effect: list[tuple[Exchange | None, Exchange, Exchange | None]],
    undisturbed_run: tuple[Exchange, Exchange] | None,
) -> None:
    check(cancels_without_effect, undisturbed_run)


@decides(cancel.other_organization)
def test_another_organization_cannot_cancel_a_run(
    check: CheckFunction,
    run_cancelled_by_another_organization: tuple[Exchange, Exchange],
    runs_cancelled_in_flight: list[Cancelled],
) -> None:
    check(*run_cancelled_by_another_organization, runs_cancelled_in_flight)
