"""A restart of the server loses no run and no key."""

from __future__ import annotations

from harness.contract.rules import restart
from harness.suite.pytest_plugin import CheckFunction, decides

from .scenarios.restart import Restart


@decides(restart.serves_again)
def test_new_runs_are_accepted_after_a_restart(check: CheckFunction, restart_of_the_target: Restart) -> None:
    check(restart_of_the_target.tries)


@decides(restart.no_new_run)
def test_a_retry_after_a_restart_executes_nothing_again(
    check: CheckFunction, restart_of_the_target: Restart
) -> None:
    seen = restart_of_the_target
    check(seen.ended, seen.interrupted, seen.tries)


@decides(restart.replay)
def test_an_ended_run_is_replayed_after_a_restart(
    check: CheckFunction, restart_of_the_target: Restart
) -> None:
    seen = restart_of_the_target
    check(seen.ended, seen.interrupted, seen.tries)


@decides(restart.ends)
def test_a_run_in_flight_at_a_restart_ends_once(check: CheckFunction, restart_of_the_target: Restart) -> None:
    check(restart_of_the_target.interrupted, restart_of_the_target.tries)


@decides(restart.same_events)
def test_a_run_in_flight_at_a_restart_has_the_same_events_on_every_connection(
    check: CheckFunction, restart_of_the_target: Restart
) -> None:
    check(restart_of_the_target.interrupted, restart_of_the_target.tries)


@decides(restart.conflicts)
def test_a_key_still_conflicts_after_a_restart(check: CheckFunction, restart_of_the_target: Restart) -> None:
    seen = restart_of_the_target
    check(seen.conflicts, seen.interrupted, seen.tries)
