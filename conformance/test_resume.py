"""A retry with the same key and body brings the same run, whole."""

from __future__ import annotations

from harness.contract.exchange import Exchange
from harness.contract.rules import resume
from harness.suite.pytest_plugin import JudgeFunction, requirement


@requirement("resume.replay")
def test_a_retry_after_completion_brings_the_same_sequence(
    judge: JudgeFunction, replayed: tuple[Exchange, Exchange]
) -> None:
    judge(resume.replay, *replayed)


@requirement("resume.no-new-run")
def test_a_retry_executes_nothing_again(judge: JudgeFunction, replayed: tuple[Exchange, Exchange]) -> None:
    judge(resume.no_new_run, *replayed)


@requirement("resume.joins")
def test_a_retry_in_flight_joins_the_run(
    judge: JudgeFunction, joined_run: tuple[Exchange, Exchange, Exchange]
) -> None:
    judge(resume.joins, *joined_run[:2])


@requirement("resume.first-reader-kept")
def test_a_second_reader_leaves_the_first_one_whole(
    judge: JudgeFunction, joined_run: tuple[Exchange, Exchange, Exchange]
) -> None:
    judge(resume.first_reader_kept, *joined_run)


@requirement("resume.every-cut")
def test_nothing_is_lost_wherever_a_run_is_cut(judge: JudgeFunction, cut_runs: list[resume.CutRun]) -> None:
    judge(resume.every_cut, cut_runs)


@requirement("resume.every-cut")
def test_nothing_is_lost_after_a_cut_with_last_event_id(
    judge: JudgeFunction, cut_runs_by_id: list[resume.CutRun]
) -> None:
    judge(resume.every_cut, cut_runs_by_id)


@requirement("resume.every-cut")
def test_nothing_is_lost_by_resuming_a_finished_run(
    judge: JudgeFunction, cut_after_the_end: list[resume.CutRun]
) -> None:
    judge(resume.every_cut, cut_after_the_end)


@requirement("resume.survives-disconnect")
def test_a_dropped_connection_does_not_end_the_run(
    judge: JudgeFunction, runs_cut_each_way: list[resume.CutRun]
) -> None:
    judge(resume.survives_disconnect, runs_cut_each_way)


@requirement("resume.last-event-id")
def test_last_event_id_brings_exactly_what_follows(
    judge: JudgeFunction, resumed_after_each_id: tuple[Exchange, list[Exchange]]
) -> None:
    judge(resume.last_event_id, *resumed_after_each_id)


@requirement("resume.bad-last-event-id")
def test_a_bad_last_event_id_does_no_harm(
    judge: JudgeFunction, retries_with_bad_ids: tuple[Exchange, list[Exchange]]
) -> None:
    judge(resume.bad_last_event_id, *retries_with_bad_ids)


@requirement("resume.failure-replayed")
def test_the_retry_of_a_failed_run_replays_its_failure(
    judge: JudgeFunction, replayed_run: tuple[Exchange, Exchange], replayed_failure: tuple[Exchange, Exchange]
) -> None:
    judge(resume.failure_replayed, replayed_run, *replayed_failure)


@requirement("resume.terminal-race")
def test_a_retry_that_races_the_terminal_event_loses_nothing(
    judge: JudgeFunction, retries_at_the_end: list[tuple[Exchange, Exchange]]
) -> None:
    judge(resume.terminal_race, retries_at_the_end)


@requirement("resume.start")
def test_where_a_resumed_stream_starts(judge: JudgeFunction, cut_runs: list[resume.CutRun]) -> None:
    judge(resume.start, cut_runs)
