"""Several replicas of the server answer like one."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import replica
from harness.contract.rules.cancel import Cancelled
from harness.contract.rules.cuts import CutRun
from harness.contract.rules.replica import ReplayedRun
from harness.suite.pytest_plugin import CheckFunction, decides


@decides(replica.same_run)
def test_a_retry_at_another_replica_executes_nothing_again(
    check: CheckFunction, runs_replayed_elsewhere: list[ReplayedRun]
) -> None:
    check(runs_replayed_elsewhere)


@decides(replica.replay)
def test_a_retry_at_another_replica_returns_the_same_sequence(
    check: CheckFunction, runs_replayed_elsewhere: list[ReplayedRun]
) -> None:
    check(runs_replayed_elsewhere)


@decides(replica.joins)
def test_a_retry_at_another_replica_joins_the_run(
    check: CheckFunction, runs_joined_elsewhere: list[list[Exchange]]
) -> None:
    check(runs_joined_elsewhere)


@decides(replica.every_cut)
def test_nothing_is_lost_by_resuming_at_another_replica(
    check: CheckFunction, runs_cut_and_resumed_elsewhere: list[CutRun]
) -> None:
    check(runs_cut_and_resumed_elsewhere)


@decides(replica.every_cut)
def test_nothing_is_lost_by_resuming_at_another_replica_with_last_event_id(
    check: CheckFunction,
    runs_cut_and_resumed_by_id_elsewhere: list[CutRun],
    cut_after_the_end: list[CutRun],
) -> None:
    check(runs_cut_and_resumed_by_id_elsewhere, cut_after_the_end)


@decides(replica.terminal_race)
def test_a_retry_at_another_replica_that_races_the_terminal_event_loses_nothing(
    check: CheckFunction, retries_at_the_end_elsewhere: list[tuple[Exchange, Exchange]]
) -> None:
    check(retries_at_the_end_elsewhere)


@decides(replica.conflicts)
def test_a_different_body_is_rejected_at_another_replica(
    check: CheckFunction,
    conflicts_after_the_end_elsewhere: list[tuple[Exchange, Exchange]],
    conflict_after_completion: tuple[Exchange, Exchange, Exchange, Exchange],
) -> None:
    check(conflicts_after_the_end_elsewhere, conflict_after_completion[:2])


@decides(replica.conflicts)
def test_a_different_body_is_rejected_at_another_replica_in_flight(
    check: CheckFunction,
    conflicts_in_flight_elsewhere: list[tuple[Exchange, Exchange]],
    conflict_after_completion: tuple[Exchange, Exchange, Exchange, Exchange],
) -> None:
    check(conflicts_in_flight_elsewhere, conflict_after_completion[:2])


@decides(replica.conflict_form)
def test_all_replicas_reject_a_different_body_in_the_same_form(
    check: CheckFunction, conflicts_after_the_end_elsewhere: list[tuple[Exchange, Exchange]]
) -> None:
    check(conflicts_after_the_end_elsewhere)


@decides(replica.one_run)
def test_simultaneous_equal_requests_to_all_replicas_share_one_run(
    check: CheckFunction, equal_requests_at_all_replicas: list[list[Exchange]]
) -> None:
    check(equal_requests_at_all_replicas)


@decides(replica.one_winner)
def test_of_simultaneous_different_bodies_at_all_replicas_one_wins(
    check: CheckFunction, completed_run: Exchange, different_bodies_at_all_replicas: list[list[Exchange]]
) -> None:
    check(completed_run, different_bodies_at_all_replicas)


@decides(replica.cancels)
def test_a_run_cancelled_at_another_replica_ends_on_every_connection(
    check: CheckFunction,
    runs_cancelled_elsewhere: list[Cancelled],
    runs_cancelled_in_flight: list[Cancelled],
) -> None:
    check(runs_cancelled_elsewhere, runs_cancelled_in_flight)
