"""A retry with the same key and body brings the same run, whole."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import resume
from harness.suite.pytest_plugin import CheckFunction, requirement


@requirement("resume.replay")
def test_a_retry_after_completion_brings_the_same_sequence(
    check: CheckFunction, replayed: tuple[Exchange, Exchange]
) -> None:
    check(resume.replay, *replayed)


@requirement("resume.no-new-run")
def test_a_retry_executes_nothing_again(check: CheckFunction, replayed: tuple[Exchange, Exchange]) -> None:
    check(resume.no_new_run, *replayed)


@requirement("resume.joins")
def test_a_retry_in_flight_joins_the_run(
    check: CheckFunction, joined_run: tuple[Exchange, Exchange, Exchange]
) -> None:
    check(resume.joins, *joined_run[:2])


@requirement("resume.first-reader-kept")
def test_a_second_reader_leaves_the_first_one_whole(
    check: CheckFunction, joined_run: tuple[Exchange, Exchange, Exchange]
) -> None:
    check(resume.first_reader_kept, *joined_run)


@requirement("resume.every-cut")
def test_nothing_is_lost_wherever_a_run_is_cut(check: CheckFunction, cut_runs: list[resume.CutRun]) -> None:
    check(resume.every_cut, cut_runs)


@requirement("resume.every-cut")
def test_nothing_is_lost_after_a_cut_with_last_event_id(
    check: CheckFunction, cut_runs_by_id: list[resume.CutRun]
) -> None:
    check(resume.every_cut, cut_runs_by_id)


@requirement("resume.every-cut")
def test_nothing_is_lost_by_resuming_a_finished_run(
    check: CheckFunction, cut_after_the_end: list[resume.CutRun]
) -> None:
    check(resume.every_cut, cut_after_the_end)


@requirement("resume.survives-disconnect")
def test_a_dropped_connection_does_not_end_the_run(
    check: CheckFunction, runs_cut_each_way: list[resume.CutRun]
) -> None:
    check(resume.survives_disconnect, runs_cut_each_way)


@requirement("resume.last-event-id")
def test_last_event_id_brings_exactly_what_follows(
    check: CheckFunction, resumed_after_each_id: tuple[Exchange, list[Exchange]]
) -> None:
    check(resume.last_event_id, *resumed_after_each_id)


@requirement("resume.bad-last-event-id")
def test_a_bad_last_event_id_does_no_harm(
    check: CheckFunction, retries_with_bad_ids: tuple[Exchange, list[Exchange]]
) -> None:
    check(resume.bad_last_event_id, *retries_with_bad_ids)


@requirement("resume.failure-replayed")
def test_the_retry_of_a_failed_run_replays_its_failure(
    check: CheckFunction, replayed_run: tuple[Exchange, Exchange], replayed_failure: tuple[Exchange, Exchange]
) -> None:
    check(resume.failure_replayed, replayed_run, *replayed_failure)


@requirement("resume.terminal-race")
def test_a_retry_that_races_the_terminal_event_loses_nothing(
    check: CheckFunction, retries_at_the_end: list[tuple[Exchange, Exchange]]
) -> None:
    check(resume.terminal_race, retries_at_the_end)


@requirement("resume.start")
def test_where_a_resumed_stream_starts(check: CheckFunction, cut_runs: list[resume.CutRun]) -> None:
    check(resume.start, cut_runs)
